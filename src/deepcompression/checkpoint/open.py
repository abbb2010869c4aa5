"""Checkpoint files, opened by their suffixes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepcompression.checkpoint import safetensors
from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.folder import MODEL, Folder
from deepcompression.checkpoint.onnx import graph
from deepcompression.checkpoint.onnx.graph import GRAPH
from deepcompression.checkpoint.onnx.read import OnnxCheckpoint
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.checkpoint.safetensors import SafetensorsCheckpoint
from deepcompression.checkpoint.torch_save import StateDictCheckpoint
from deepcompression.checkpoint.write import head_of
from deepcompression.common.messages import some
from deepcompression.tensors.tensor import DenseTensor

_PICKLES = (".pt", ".pth", ".bin", ".ckpt")

# suffix -> reader
_KINDS: dict[str, Callable[[Path], Checkpoint]] = {
    safetensors.SUFFIX: SafetensorsCheckpoint,
    safetensors.INDEX_SUFFIX: SafetensorsCheckpoint,
    graph.SUFFIX: OnnxCheckpoint,
    **dict.fromkeys(_PICKLES, StateDictCheckpoint),
}


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Opens a safetensors file, an index of shards, a Hugging Face folder with either, a state_dict of torch or an ONNX
    model, by its suffix.

    Raises FormatError for a damaged or incomplete file, ValueError for another kind of file and for pickled code,
    OSError if the system refuses.
    """
    path = Path(path)
    if path.is_dir():
        if path.name.endswith(tuple(_KINDS)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return _with_folder(SafetensorsCheckpoint(_within(path)), path)
    for suffix, kind in _KINDS.items():
        if path.name.endswith(suffix):
            return kind(path)
    raise ValueError(
        f"{path}: checkpoints are read from folders and from {', '.join(_KINDS)} files; convert it first "
        "(safetensors.torch.save_file)"
    )


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


def _with_folder(source: SafetensorsCheckpoint, path: Path) -> SafetensorsCheckpoint:
    """The checkpoint with its folder, unless the file of its tensors alone says all."""
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
    if others := [name for name in names if name.endswith((*_PICKLES, graph.SUFFIX))]:
        raise ValueError(f"{folder}: has no safetensors files, but {some(others)}: name one of them")
    raise ValueError(f"{folder}: there is no checkpoint in it; expected model.safetensors, or shards with their index")
