"""The coder `raw`: the elements as they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deepcompression.coding.coder import Account, Part
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE, Shape, size_bytes
from deepcompression.tensors.tensor import DenseTensor, Tensor, raw_bytes


def encode_raw(tensor: Tensor, gap_bits: int | None) -> Iterator[Part]:
    yield raw_bytes(tensor.dense())


def decode_raw(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[DenseTensor, Account]:
    data = cursor.rest()
    if len(data) != (expected := size_bytes(dtype, shape)):
        raise FormatError(f"{len(data)} bytes are stored for shape {list(shape)} of {dtype}, which takes {expected}")
    elements = np.frombuffer(data, STORAGE[dtype]).reshape(shape)
    return DenseTensor(dtype, elements), Account({"values": len(data)}, elements.size, elements.size)
