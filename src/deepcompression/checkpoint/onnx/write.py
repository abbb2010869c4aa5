"""The graph of an ONNX model and its tensors -> a model file, beyond 2 GB with a file of data beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompression.checkpoint.onnx.graph import DTYPES, MAX_BYTES, fill, import_onnx, marked, parse_model, places_of
from deepcompression.common.binary import FormatError
from deepcompression.common.files import atomic_path
from deepcompression.common.messages import some
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor, raw_bytes

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

Read = Callable[[str], DenseTensor]

# each tensor's data in the file beside the model begin at a multiple, for memory mapping
_ALIGNMENT = 4096


def write_onnx(path: Path, entries: Mapping[str, TensorEntry], read: Read, graph: bytes) -> None:
    """Replaces each mark by its tensor's raw data. No ONNX file can hold more than 2 GB: a larger model gets external
    data in `path`.data, written one tensor at a time.

    Raises FormatError for bytes that are no graph, ValueError for other tensors than the graph's.
    """
    onnx = import_onnx()
    try:
        model = parse_model(onnx, graph)
    except FormatError as error:
        raise FormatError(f"not the graph of an ONNX model: {error}") from None
    tensors = [(name, place.tensor) for place in places_of(model) if (name := marked(place.tensor)) is not None]
    _check(entries, {name: (DTYPES.get(t.data_type), tuple(t.dims)) for name, t in tensors})
    # a bound: each mark is longer than the header of its data
    if len(graph) + sum(entries[name].nbytes for name, _ in tensors) > MAX_BYTES:
        _write_beside(path, model, tensors, read)
    else:
        _write_within(path, model, tensors, read)


def _check(entries: Mapping[str, TensorEntry], expected: Mapping[str, tuple[str | None, tuple[int, ...]]]) -> None:
    if missing := expected.keys() - entries.keys():
        raise ValueError(f"the graph has a place for {some(missing)}, but there are no such tensors")
    if unknown := entries.keys() - expected.keys():
        raise ValueError(f"the graph has no place for {some(unknown)}")
    for name, (dtype, shape) in expected.items():
        entry = entries[name]
        if (entry.dtype, entry.shape) != (dtype, shape):
            raise ValueError(f"{name} is {list(entry.shape)} of {entry.dtype}, in the graph {list(shape)} of {dtype}")


def _write_within(path: Path, model: ModelProto, tensors: list[tuple[str, TensorProto]], read: Read) -> None:
    with atomic_path(path) as partial:
        for name, tensor in tensors:
            fill(tensor, bytes(raw_bytes(read(name))))
        partial.write_bytes(model.SerializeToString())


def _write_beside(path: Path, model: ModelProto, tensors: list[tuple[str, TensorProto]], read: Read) -> None:
    # behind a link, the data lie beside the model itself
    path = path.resolve()
    data = path.with_name(f"{path.name}.data")
    # the data appear before the model that names them
    with atomic_path(path) as partial, atomic_path(data) as partial_data:
        with partial_data.open("wb") as file:
            for name, tensor in tensors:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                elements = raw_bytes(read(name))
                place = {"location": data.name, "offset": str(file.tell()), "length": str(len(elements))}
                file.write(elements)
                tensor.ClearField("external_data")
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=value)
        partial.write_bytes(model.SerializeToString())
