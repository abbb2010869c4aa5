"""ONNX models as a checkpoint: initializers and Constant nodes by name, each read alone, and the graph without them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from deepcompression.checkpoint.checkpoint import Opened, check_inside
from deepcompression.checkpoint.onnx.graph import (
    DATA,
    DTYPES,
    FORMAT,
    MAX_BYTES,
    Place,
    import_onnx,
    mark,
    marked,
    names_of,
    parse_model,
    places_of,
)
from deepcompression.checkpoint.onnx.protobuf import LENGTH_DELIMITED, Field, Piece, Source, fields, rewrite
from deepcompression.common.binary import MAX_DIMENSIONS, FormatError, text, varint
from deepcompression.common.files import ByteFile
from deepcompression.tensors.dtypes import STORAGE, Array, size_bytes
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

if TYPE_CHECKING:
    from onnx import TensorProto

# elements of a tensor that is taken out of the graph; smaller ones are shapes and the like
LEAST_ELEMENTS = 32

# of tensors whose data are not even parsed: the others are held in memory while the checkpoint is open
_LARGE_BYTES = 4096

# fields of a TensorProto whose bytes are those of its elements, if it has but one: packed floats and doubles, raw data
_PLAIN_FIELDS = (4, 10, 9)
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


class OnnxCheckpoint(Opened):
    """A model in one file, or with external data in files of its folder.

    Opening reads the graph and what is small. Raises FormatError, naming file and tensor, for what is damaged or
    missing, ValueError without the package onnx.
    """

    graph: bytes

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = dict(FORMAT)
        self.entries: dict[str, TensorEntry] = {}
        self._in_files: dict[str, tuple[ByteFile, int]] = {}
        self._in_memory: dict[str, Array] = {}
        self._open_files: dict[str, ByteFile] = {}
        onnx = import_onnx()
        with ExitStack() as stack:
            self._stack = stack
            try:
                self._open(onnx)
            except FormatError as error:
                named = "" if str(error).startswith(str(path)) else f"{path}: not a sound ONNX model: "
                raise FormatError(f"{named}{error}") from None
            self._stack = stack.pop_all()

    def _open(self, onnx: ModuleType) -> None:
        file = self._file("")
        if file.size > MAX_BYTES:
            raise FormatError(
                f"it takes {file.size} bytes, an ONNX file at most {MAX_BYTES}: larger models have their data in files "
                "beside it (onnx.save with save_as_external_data)"
            )
        source = Source(file)
        thin = rewrite(source, lambda *span: _thin(source, *span), _LARGE_BYTES)
        model = parse_model(onnx, b"".join(map(_whole, thin)))
        places = places_of(model)
        taken: list[Place] = []
        for place in places:
            if marked(place.tensor) is not None:
                raise FormatError(f"{place.name} has its data taken out: it is the graph of a .dcz file, not a model")
            if place.name is not None and _can_be_taken(place.tensor):
                taken.append(place)
            elif place.tensor.data_location == place.tensor.EXTERNAL:
                self._put_into_graph(place.tensor)
        for place, name in zip(taken, names_of(taken), strict=True):
            try:
                self._take(onnx, place.tensor, name)
            except FormatError as error:
                raise FormatError(f"tensor {name!r}: {error}") from None
            mark(place.tensor, name)
        self.graph = model.SerializeToString()

    def _take(self, onnx: ModuleType, tensor: TensorProto, name: str) -> None:
        entry = TensorEntry(name, DTYPES[tensor.data_type], tuple(tensor.dims))
        if tensor.data_location == tensor.EXTERNAL:
            file, offset, length = self._place(tensor)
            if length != entry.nbytes:
                raise FormatError(f"it has {length} bytes, expected {entry.nbytes} for {_described(entry)}")
            self._in_files[name] = file, offset
        else:
            self._in_memory[name] = _parsed(onnx, tensor, entry)
        self.entries[name] = entry

    def _put_into_graph(self, tensor: TensorProto) -> None:
        file, offset, length = self._place(tensor)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = file.read(offset, length).tobytes()

    def _place(self, tensor: TensorProto) -> tuple[ByteFile, int, int]:
        """File, offset and length of data that are not in the parsed model."""
        keys = {entry.key: entry.value for entry in tensor.external_data}
        file = self._file(keys.get("location", ""))
        try:
            offset = int(keys.get("offset", "0"))
            length = int(keys.get("length", str(file.size - offset)))
        except ValueError:
            raise FormatError(f"the place of its data is no number: {keys}") from None
        if offset < 0 or length < 0 or offset + length > file.size:
            raise FormatError(
                f"its {length} bytes at offset {offset} are not in {file.path}, which has {file.size}: it is cut off, "
                "or of another model"
            )
        return file, offset, length

    def _file(self, location: str) -> ByteFile:
        """The model itself, or a file beside it."""
        if location not in self._open_files:
            path = check_inside(location, self.path) if location else self.path
            try:
                file = ByteFile(path)
            except FileNotFoundError:
                if not location:
                    raise
                raise FormatError(f"{self.path}: {path}, which holds data of the model, is missing") from None
            self._stack.callback(file.close)
            self._open_files[location] = file
        return self._open_files[location]

    def read(self, name: str) -> DenseTensor:
        entry = self.entries[name]
        if name in self._in_memory:
            return DenseTensor(entry.dtype, self._in_memory[name].copy())
        file, offset = self._in_files[name]
        elements = file.read(offset, entry.nbytes).view(STORAGE[entry.dtype])
        return DenseTensor(entry.dtype, elements.reshape(entry.shape))

    def close(self) -> None:
        self._stack.close()


def _whole(piece: Piece) -> bytes:
    assert isinstance(piece, bytes)
    return piece


def _thin(source: Source, begin: int, end: int) -> list[Piece] | None:
    """A TensorProto with its data told by their place in the file; None where they are not in one piece."""
    found = list(fields(source, begin, end))
    data = [field for field in found if field.number in _PLAIN_FIELDS]
    if len(data) != 1 or data[0].wire != LENGTH_DELIMITED or any(field.number == _DATA_LOCATION for field in found):
        return None
    kept: list[Piece] = [source.bytes(field.begin, field.end) for field in found if field.number not in _PLAIN_FIELDS]
    return [*kept, varint(_DATA_LOCATION << 3) + b"\1", *map(_told, _place_of(data[0]).items())]


def _place_of(data: Field) -> dict[str, str]:
    return {"offset": str(data.value), "length": str(data.end - data.value)}


def _told(pair: tuple[str, str]) -> bytes:
    """A StringStringEntryProto in `external_data`."""
    key, value = pair
    return varint(_EXTERNAL_DATA << 3 | LENGTH_DELIMITED) + text(b"\x0a" + text(key) + b"\x12" + text(value))


def _can_be_taken(tensor: TensorProto) -> bool:
    shape = tuple(tensor.dims)
    if tensor.data_type not in DTYPES or tensor.HasField("segment") or len(shape) > MAX_DIMENSIONS:
        return False
    return min(shape, default=0) >= 0 and LEAST_ELEMENTS <= math.prod(shape) < 1 << 60


def _parsed(onnx: ModuleType, tensor: TensorProto, entry: TensorEntry) -> Array:
    """The elements of a tensor in whichever field they are."""
    if not any(len(getattr(tensor, field)) for field in DATA):
        raise FormatError("it has no data")
    try:
        values = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"its data are not {_described(entry)}: {error}") from None
    if values.nbytes != size_bytes(entry.dtype, entry.shape):
        raise FormatError(f"it has {values.nbytes} bytes, expected {entry.nbytes} for {_described(entry)}")
    return values.reshape(-1).view(STORAGE[entry.dtype]).reshape(entry.shape)


def _described(entry: TensorEntry) -> str:
    return f"{list(entry.shape)} of {entry.dtype}"
