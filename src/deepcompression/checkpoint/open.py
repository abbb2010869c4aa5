"""Checkpoint files, opened by their kinds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepcompression.checkpoint import safetensors
from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.folder import MODEL, Folder
from deepcompression.checkpoint.kinds import INDEX, ONNX, PICKLES, SAFETENSORS, SUFFIXES, TORCH, kind_of
from deepcompression.checkpoint.onnx import graph
from deepcompression.checkpoint.onnx.graph import GRAPH
from deepcompression.checkpoint.onnx.read import OnnxCheckpoint
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.checkpoint.safetensors import SafetensorsCheckpoint
from deepcompression.checkpoint.torch_save import StateDictCheckpoint
from deepcompression.checkpoint.write import head_of
from deepcompression.common.messages import some
from deepcompression.tensors.tensor import DenseTensor

# kind -> reader
_READERS: dict[str, Callable[[Path], Checkpoint]] = {
    SAFETENSORS: SafetensorsCheckpoint,
    INDEX: lambda path: SafetensorsCheckpoint(path, index=True),
    ONNX: OnnxCheckpoint,
    TORCH: StateDictCheckpoint,
}


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a safetensors file, an index of shards, a Hugging Face folder with either, a state_dict of torch or an ONNX
    model. The file's bytes say its kind; where they do not, its suffix.

    Raises FormatError for a damaged or incomplete file, ValueError for another kind of file and for pickled code,
    OSError if the system refuses.
    """
    path, folder = Path(path), None
    if not os.path.lexists(path):
        raise FileNotFoundError(errno.ENOENT, _missing(path), str(path))
    if path.is_dir():
        if path.name.endswith(tuple(SUFFIXES)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        folder, path = path, _within(path)
    kind = kind_of(path)
    if kind is None:
        raise ValueError(
            f"{path}: checkpoints are read from folders and from {', '.join(SUFFIXES)} files; convert it first "
            "(safetensors.torch.save_file)"
        )
    source = _READERS[kind](path)
    return source if folder is None else _with_folder(source, folder)


def _missing(path: Path) -> str:
    """The reason why nothing is there, with the remedy for what may be the name of a model on a hub."""
    reason = os.strerror(errno.ENOENT)
    if path.is_absolute() or len(path.parts) > 2 or path.name.endswith((*SUFFIXES, ".dcz")):
        return reason
    return f"{reason}; a model of Hugging Face is downloaded first: hf download {path.as_posix()} --local-dir FOLDER"


def tensors_of(source: Checkpoint) -> dict[str, DenseTensor]:
    """All tensors by name, tied ones in the same memory; the graph of an ONNX model as the uint8 tensor `GRAPH`."""
    tensors: dict[str, DenseTensor] = {}
    for name, entry in source.entries.items():
        tensors[name] = tensors[entry.tied_to] if entry.tied_to else source.read(name)
    if source.graph is not None:
        tensors[GRAPH] = DenseTensor("U8", np.frombuffer(source.graph, np.uint8))
    return tensors


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, DenseTensor], dict[str, str]]:
    """The tensors of a file as `tensors_of` returns them, with unfinished pruning finished, and its metadata."""
    with recognise(open_checkpoint(path)) as source:
        return tensors_of(source), dict(source.metadata)


def _with_folder(source: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint with its folder, unless the file of its tensors alone says all."""
    if not isinstance(source, SafetensorsCheckpoint):
        return source
    folder = Folder.around(path, source.heads)
    source.notes = (*source.notes, *folder.notes)
    if folder.files or folder.heads != {MODEL: head_of(source.entries, source.metadata)}:
        source.folder, more = folder.around_tensors(source.entries)
        source.notes += more
    return source


def _within(folder: Path) -> Path:
    """The one checkpoint of a Hugging Face folder."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    indexes = [name for name in names if name.endswith(safetensors.INDEX_SUFFIX)]
    files = [name for name in names if name.endswith(safetensors.SUFFIX)]
    # other files beside these are variants
    preferred = [name for name in ("model.safetensors.index.json", "model.safetensors") if name in names]
    found = preferred or indexes or files
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise ValueError(f"{folder}: holds several checkpoints, {some(found)}: name one of them")
    if indexes := [name for name in names if name.endswith(".bin.index.json")]:
        raise ValueError(
            f"{folder}: has no safetensors files, but shards of torch.save ({some(indexes)}), which are not "
            "read: save it anew by save_pretrained, which writes safetensors"
        )
    if others := [name for name in names if name.endswith((*PICKLES, graph.SUFFIX))]:
        raise ValueError(f"{folder}: has no safetensors files, but {some(others)}: name one of them")
    raise ValueError(f"{folder}: there is no checkpoint in it; expected model.safetensors, or shards with their index")
