"""Named tensors -> a checkpoint file, one tensor at a time, atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from deepcompression.checkpoint.onnx.graph import GRAPH, holds_graph
from deepcompression.checkpoint.onnx.graph import SUFFIX as ONNX_SUFFIX
from deepcompression.checkpoint.onnx.write import Read, write_onnx
from deepcompression.checkpoint.safetensors import DTYPES, LENGTH_BYTES, METADATA, PAIRED, PAIRS, SUFFIX
from deepcompression.common.files import atomic_path
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor, raw_bytes


def write_checkpoint(
    path: str | os.PathLike[str],
    entries: Mapping[str, TensorEntry],
    read: Read,
    metadata: Mapping[str, str],
    graph: bytes | None = None,
) -> None:
    """Writes a .safetensors file, or, with the graph of an ONNX model, an .onnx file; it appears only when complete.

    `read` is called for one tensor at a time; none is held longer. Tied tensors are written in full: neither kind of
    file has ties. Complex numbers that safetensors does not have are written as pairs, and the metadata name them. The
    same tensors always give the same bytes. `metadata` is not written into an .onnx file, whose
    graph has its own. Raises ValueError for another kind of file, and for tensors that it cannot hold.
    """
    path = Path(path)

    def checked(name: str) -> DenseTensor:
        entry = entries[name]
        tensor = read(entry.tied_to or name)
        if (tensor.dtype, tensor.shape) != (entry.dtype, entry.shape):
            raise ValueError(
                f"{name} is {list(tensor.shape)} of {tensor.dtype}, its entry says {list(entry.shape)} of {entry.dtype}"
            )
        return tensor

    if path.suffix == SUFFIX:
        if graph is not None:
            raise ValueError(f"{path}: a {SUFFIX} file cannot hold the graph of an ONNX model; write an .onnx file")
        _write_safetensors(path, entries, checked, metadata)
    elif path.suffix == ONNX_SUFFIX:
        if graph is None:
            raise ValueError(f"{path}: these tensors have no graph, they are of no ONNX model; write a {SUFFIX} file")
        write_onnx(path, entries, checked, graph)
    else:
        raise ValueError(f"{path}: checkpoints are written as {SUFFIX} or {ONNX_SUFFIX} files")


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, DenseTensor], metadata: Mapping[str, str]
) -> None:
    """Writes tensors in memory, as `write_checkpoint` does; `GRAPH` among them is the graph of an ONNX model."""
    entries = {name: TensorEntry(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    graph = entries.pop(GRAPH) if holds_graph(entries, metadata) else None
    write_checkpoint(path, entries, tensors.__getitem__, metadata, tensors[GRAPH].elements.tobytes() if graph else None)


def as_safetensors(entry: TensorEntry) -> TensorEntry:
    """The entry under which a safetensors file holds a tensor: complex numbers that it does not have become pairs of
    their parts. Raises ValueError for other dtypes that it does not have.
    """
    if entry.dtype in PAIRS:
        return TensorEntry(entry.name, PAIRS[entry.dtype], (*entry.shape, 2))
    if entry.dtype not in DTYPES:
        raise ValueError(f"{entry.name} is of {entry.dtype}, which {SUFFIX} files do not have")
    return entry


def head_of(entries: Mapping[str, TensorEntry], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file before the data of its tensors, as `write_checkpoint` writes them."""
    if pairs := {name: entry.dtype for name, entry in sorted(entries.items()) if entry.dtype in PAIRS}:
        metadata = {**metadata, PAIRED: json.dumps(pairs, ensure_ascii=False)}
    header: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for entry in _ordered(entries):
        begin, end = end, end + entry.nbytes
        header[entry.name] = {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": (begin, end)}
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(LENGTH_BYTES, "little") + head


def _ordered(entries: Mapping[str, TensorEntry]) -> list[TensorEntry]:
    # widest elements first: all are aligned
    return sorted(map(as_safetensors, entries.values()), key=lambda entry: -STORAGE[entry.dtype].itemsize)


def _write_safetensors(path: Path, entries: Mapping[str, TensorEntry], read: Read, metadata: Mapping[str, str]) -> None:
    if METADATA in entries:
        raise ValueError(f"safetensors files cannot hold a tensor named {METADATA}")
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(head_of(entries, metadata))
        for entry in _ordered(entries):
            file.write(raw_bytes(read(entry.name)))
