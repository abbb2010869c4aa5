"""Checkpoint files of others <-> named tensors: safetensors, every dtype bit for bit, without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, TensorSpec, safe_open, serialize_file

from deepcompression.file import atomic_path
from deepcompression.tensor import STORAGE, DenseTensor
from deepcompression.wire import FormatError

_HEADER_LENGTH_BYTES = 8

# The names that safetensors wants when writing.
_WRITTEN = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, DenseTensor], dict[str, str]]:
    """The tensors of a safetensors file, in the order of their bytes, and its metadata.

    Raises FormatError for a file that is damaged or holds a dtype unknown here, ValueError for another kind of file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: checkpoints are read from .safetensors files; convert it first (safetensors.torch.save_file)"
        )
    try:
        with safe_open(path, framework="numpy") as checked:
            metadata = checked.metadata() or {}
    except SafetensorError as error:
        raise FormatError(f"{path}: not a sound safetensors file: {error}") from None
    tensors = {}
    with path.open("rb") as file:
        start = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
        header = json.loads(file.read(start))
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if entry["dtype"] not in STORAGE:
                raise FormatError(
                    f"{path}: tensor {name!r} is of dtype {entry['dtype']}, known are {', '.join(STORAGE)}"
                )
            first, end = entry["data_offsets"]
            file.seek(_HEADER_LENGTH_BYTES + start + first)
            elements = np.frombuffer(file.read(end - first), STORAGE[entry["dtype"]])
            tensors[name] = DenseTensor(entry["dtype"], elements.reshape(entry["shape"]))
    return tensors, metadata


def write_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, DenseTensor], metadata: Mapping[str, str]
) -> None:
    """Writes a safetensors file, which appears only when it is complete."""
    content = {
        name: TensorSpec(
            dtype=_WRITTEN[tensor.dtype],
            shape=tensor.shape,
            data_ptr=tensor.elements.ctypes.data,
            data_len=tensor.elements.nbytes,
        )
        for name, tensor in tensors.items()
    }
    with atomic_path(path) as partial:
        serialize_file(content, str(partial), dict(metadata) or None)
