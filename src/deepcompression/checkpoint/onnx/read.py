"""ONNX models as checkpoints: initializers and Constant nodes by name, and the graph without their data."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepcompression.checkpoint.checkpoint import Checkpoint, check_inside
from deepcompression.checkpoint.onnx.graph import (
    DATA,
    DTYPES,
    FORMAT,
    MAX_BYTES,
    fill,
    import_onnx,
    mark,
    marked,
    names_of,
    parse_model,
    places_of,
)
from deepcompression.checkpoint.onnx.quantized import elementwise_by_nodes
from deepcompression.common.binary import MAX_DIMENSIONS, FormatError
from deepcompression.common.files import ByteFile
from deepcompression.tensors.dtypes import ROW_BITS
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

# smaller tensors are shapes and the like, and stay in the graph
LEAST_ELEMENTS = 32


class OnnxCheckpoint(Checkpoint):
    """A model in one file, or with external data in files of its folder.

    Opening reads the model's file and holds its tensors in memory. External data are read one tensor at a time. Raises
    FormatError, naming file and tensor, for damaged or missing data, ValueError without the package onnx.
    """

    graph: bytes

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = dict(FORMAT)
        self.entries: dict[str, TensorEntry] = {}
        self._in_memory: dict[str, NDArray[np.uint8]] = {}
        self._in_files: dict[str, tuple[ByteFile, int]] = {}
        self._files: dict[str, ByteFile] = {}
        onnx = import_onnx()
        with ExitStack() as self._stack:
            try:
                model = self._model(onnx)
                self._take_all(onnx, model)
                self.graph = model.SerializeToString()
                elementwise = elementwise_by_nodes(self.graph)
                for name, entry in self.entries.items():
                    self.entries[name] = replace(entry, elementwise=name in elementwise)
            except FormatError as error:
                named = "" if str(error).startswith(str(path)) else f"{path}: not a sound ONNX model: "
                raise FormatError(f"{named}{error}") from None
            self._stack = self._stack.pop_all()

    def _model(self, onnx: ModuleType) -> ModelProto:
        if (size := self.path.stat().st_size) > MAX_BYTES:
            raise FormatError(
                f"it takes {size} bytes, an ONNX file at most {MAX_BYTES}: larger models have their data in files "
                "beside it (onnx.save with save_as_external_data)"
            )
        return parse_model(onnx, self.path.read_bytes())

    def _take_all(self, onnx: ModuleType, model: ModelProto) -> None:
        """Moves the data of named tensors out of the model, and the external data of other tensors into it."""
        taken = []
        for place in places_of(model):
            if marked(place.tensor) is not None:
                raise FormatError(f"{place.name} has its data taken out: it is the graph of a .dcz file, not a model")
            if place.name is not None and _can_be_taken(place.tensor):
                taken.append(place)
            elif place.tensor.data_location == place.tensor.EXTERNAL:
                file, offset, length = self._place(place.tensor)
                fill(place.tensor, file.read(offset, length).tobytes())
        for place, name in zip(taken, names_of(taken), strict=True):
            try:
                self._take(onnx, place.tensor, name)
            except FormatError as error:
                raise FormatError(f"tensor {name!r}: {error}") from None
            mark(place.tensor, name)

    def _take(self, onnx: ModuleType, tensor: TensorProto, name: str) -> None:
        entry = TensorEntry(name, DTYPES[tensor.data_type], tuple(tensor.dims))
        if tensor.data_location == tensor.EXTERNAL:
            file, offset, length = self._place(tensor)
            _check_length(length, entry)
            self._in_files[name] = file, offset
        else:
            self._in_memory[name] = _parsed(onnx, tensor, entry)
        self.entries[name] = entry

    def _place(self, tensor: TensorProto) -> tuple[ByteFile, int, int]:
        """File, offset and length of a tensor's external data."""
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
        """A file of external data, opened once."""
        if location not in self._files:
            # beside the model, or, if that is a link, beside the file it leads to
            beside = [check_inside(location, model) for model in (self.path, self.path.resolve())]
            path = next((each for each in beside if each.exists()), beside[0])
            try:
                file = ByteFile(path)
            except FileNotFoundError:
                raise FormatError(f"{self.path}: {path}, which holds data of the model, is missing") from None
            except IsADirectoryError:
                raise FormatError(f"{self.path}: {path}, which should hold data of the model, is a folder") from None
            self._stack.callback(file.close)
            self._files[location] = file
        return self._files[location]

    def read(self, name: str) -> DenseTensor:
        entry = self.entries[name]
        if name in self._in_memory:
            data = self._in_memory[name].copy()
        else:
            file, offset = self._in_files[name]
            data = file.read(offset, entry.nbytes)
        return DenseTensor.of_bytes(entry.dtype, entry.shape, data)

    def close(self) -> None:
        self._stack.close()


def _can_be_taken(tensor: TensorProto) -> bool:
    shape = tuple(tensor.dims)
    if tensor.data_type not in DTYPES or tensor.HasField("segment") or len(shape) > MAX_DIMENSIONS:
        return False
    return min(shape, default=0) >= 0 and LEAST_ELEMENTS <= math.prod(shape) < 1 << 60


def _parsed(onnx: ModuleType, tensor: TensorProto, entry: TensorEntry) -> NDArray[np.uint8]:
    """The bytes of a tensor's elements, which lie in one of several fields."""
    if not any(len(getattr(tensor, field)) for field in DATA):
        raise FormatError("it has no data")
    try:
        if tensor.HasField("raw_data"):
            found = np.frombuffer(tensor.raw_data, np.uint8)
        elif ROW_BITS.get(entry.dtype, 8) < 8:
            # bytes of packed elements, but a whole one for each element of 6 bits
            found = np.array(tensor.int32_data, np.int32).astype(np.uint8)
            if ROW_BITS[entry.dtype] == 6:
                bits = np.unpackbits(found[:, None], axis=1, count=6, bitorder="little")
                found = np.packbits(bits.reshape(-1), bitorder="little")
        else:
            found = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)).reshape(-1).view(np.uint8)
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"its data are not {_described(entry)}: {error}") from None
    _check_length(len(found), entry)
    return found


def _check_length(found: int, entry: TensorEntry) -> None:
    if found != entry.nbytes:
        raise FormatError(f"it has {found} bytes, expected {entry.nbytes} for {_described(entry)}")


def _described(entry: TensorEntry) -> str:
    return f"{list(entry.shape)} of {entry.dtype}"
