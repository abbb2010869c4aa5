"""Checkpoint files of others <-> named tensors: safetensors, every dtype bit for bit, without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from deepcompression.file import atomic_path
from deepcompression.tensor import STORAGE, DenseTensor
from deepcompression.wire import FormatError

_HEADER_LENGTH_BYTES = 8
_METADATA = "__metadata__"


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, DenseTensor], dict[str, str]]:
    """The tensors of a safetensors file, in the order of their bytes, and its metadata.

    Raises FormatError for a file that is damaged or holds a dtype unknown here, ValueError for another kind of file.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: checkpoints are read from .safetensors files; convert it first (safetensors.torch.save_file)"
        )
    tensors = {}
    with path.open("rb") as file:
        try:
            with safe_open(path, framework="numpy") as checked:
                metadata = checked.metadata() or {}
        except SafetensorError as error:
            raise FormatError(f"{path}: not a sound safetensors file: {error}") from None
        start = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
        header = json.loads(file.read(start))
        header.pop(_METADATA, None)
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
    """Writes a safetensors file, which appears only when it is complete; the same tensors always give the same bytes.

    Raises ValueError for a tensor with the name that safetensors keeps for metadata.
    """
    if _METADATA in tensors:
        raise ValueError(f"safetensors files cannot hold a tensor named {_METADATA}")
    # widest elements first: none of them straddles its alignment
    ordered = sorted(tensors.items(), key=lambda item: -item[1].elements.itemsize)
    header: dict[str, object] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.elements.nbytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (begin, end)}
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(len(head).to_bytes(_HEADER_LENGTH_BYTES, "little") + head)
        for _, tensor in ordered:
            file.write(tensor.elements.tobytes())
