"""A `.dcz` file -> a checkpoint, or checked and compared with one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.folder import Folder, write_folder
from deepcompression.checkpoint.folder_names import PREFIX
from deepcompression.checkpoint.onnx.graph import GRAPH, holds_graph
from deepcompression.checkpoint.onnx.graph import SUFFIX as ONNX_SUFFIX
from deepcompression.checkpoint.open import open_checkpoint
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.checkpoint.safetensors import PAIRS, SUFFIX
from deepcompression.checkpoint.write import write_checkpoint
from deepcompression.common.binary import LIMIT_BYTES, FormatError
from deepcompression.common.messages import some
from deepcompression.file.reader import DczFile
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

CHECKPOINT_SUFFIXES = (SUFFIX, ONNX_SUFFIX)


def suffixes_for(path: Path) -> tuple[str, ...]:
    """The suffix of the checkpoint that a file holds: of an ONNX model if it has a graph. Raises FormatError."""
    with DczFile(path) as source:
        return (ONNX_SUFFIX,) if holds_graph(source.entries, source.metadata) else (SUFFIX,)


def decompress_file(
    path: Path,
    output: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> int:
    """Writes the dense tensors of a file, bit for bit as saved, as .safetensors or .onnx, and returns their number.
    With another suffix it writes the whole Hugging Face folder that the file was made of, with all its files.

    progress  is called with the bytes of the finished tensors and of all
    note      is called with a sentence for people about tensors that are written in another dtype

    Raises FormatError for a bad file and for tensors beyond `limit_bytes`, and the errors of `write_checkpoint`.
    """
    with DczFile(path, limit_bytes) as source:
        total = sum(entry.nbytes for entry in source.entries.values())
        if total > limit_bytes:
            raise FormatError(f"{path}: with its ties in full it takes {total} bytes, the limit is {limit_bytes}")
        entries: dict[str, TensorEntry] = dict(source.entries)
        graph = None
        if holds_graph(source.entries, source.metadata):
            del entries[GRAPH]
            graph = source.read_dense(GRAPH).elements.tobytes()
        done = 0
        held: dict[str, DenseTensor] = {}

        def read(name: str) -> DenseTensor:
            nonlocal done
            if progress is not None:
                progress(done, total)
            done += entries[name].nbytes
            if name not in held:
                # keeps the last tensor for its ties, and frees it before the next is decoded
                held.clear()
                held[name] = source.read_dense(name, os.cpu_count() or 1)
            return held[name]

        if output.suffix in CHECKPOINT_SUFFIXES or not source.folder:
            write_checkpoint(output, entries, read, source.metadata, graph)
        else:
            heads = {name: source.read_file(name) for name in source.weights}
            files = {name: partial(source.read_file, name) for name in source.folder.keys() - source.weights}
            try:
                write_folder(output, heads, files, entries, read)
            except FormatError as error:
                raise FormatError(f"{path}: {error}") from None
        pairs = [name for name, entry in entries.items() if entry.dtype in PAIRS]
        if pairs and graph is None and note is not None:
            note(f"{some(pairs)} are of complex dtypes that safetensors does not have: written as pairs of floats")
        return len(entries)


def holds_folder(path: Path, limit_bytes: int = LIMIT_BYTES) -> bool:
    """Whether a file was made of a Hugging Face folder with more than its tensors."""
    with DczFile(path, limit_bytes) as source:
        return bool(source.folder)


def verify_file(path: Path, against: Path | None = None, *, limit_bytes: int = LIMIT_BYTES) -> tuple[int, list[str]]:
    """Checks every checksum, decodes every tensor, and compares them bit for bit with a checkpoint if one is given.
    Returns the number of tensors and the differences, one line each, sorted.

    Raises FormatError for a bad file, and the errors of `open_checkpoint`.
    """
    with DczFile(path, limit_bytes) as source:
        # the graph is no tensor
        count = len(source.entries) - holds_graph(source.entries, source.metadata)
        if against is None:
            for name, entry in source.entries.items():
                if not entry.tied_to:
                    source.read_dense(name)
            return count, []
        with recognise(open_checkpoint(against)) as other:
            return count, sorted(_differences(source, path, other, against))


def _differences(source: DczFile, path: Path, other: Checkpoint, against: Path) -> Iterator[str]:
    for name, entry in source.entries.items():
        if name in other.entries:
            theirs = other.read(other.entries[name].tied_to or name)
            if difference := _difference(source.read_dense(name), theirs):
                yield f"{name} {difference}"
        elif name == GRAPH and other.graph is not None:
            if source.read_dense(name).elements.tobytes() != other.graph:
                yield f"{name} has other elements"
        else:
            if not entry.tied_to:
                source.read_dense(name)
            yield f"{name} is only in {path}"
    yield from (f"{name} is only in {against}" for name in other.entries.keys() - source.entries.keys())
    if other.folder is not None:
        yield from _different_files(source, path, other.folder, against)


def _different_files(source: DczFile, path: Path, folder: Folder, against: Path) -> Iterator[str]:
    """The differences of the other files of a folder."""
    for name, theirs in folder.tensors():
        name = name.removeprefix(PREFIX)
        if name not in source.folder:
            yield f"the file {name} is only in {against}"
        elif source.read_file(name) != theirs.elements.tobytes():
            yield f"the file {name} has other bytes"
    names = {*folder.heads, *folder.files}
    yield from (f"the file {name} is only in {path}" for name in source.folder.keys() - names)


def _difference(ours: DenseTensor, theirs: DenseTensor) -> str | None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"is {list(ours.shape)} of {ours.dtype}, expected {list(theirs.shape)} of {theirs.dtype}"
    return "has other elements" if ours.elements.tobytes() != theirs.elements.tobytes() else None
