"""The coder `raw`: the elements as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deepcompression.coding.coder import Account, Part
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.tensor import DenseTensor, Encodable, Tensor


def encode_raw(tensor: Encodable) -> Iterator[Part]:
    flat = np.ascontiguousarray(tensor.dense().elements).reshape(-1)
    yield flat.view(np.uint8).data


def decode_raw(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    data = cursor.rest()
    expected = math.prod(shape) * STORAGE[dtype].itemsize
    if len(data) != expected:
        raise FormatError(f"{len(data)} bytes are stored for shape {list(shape)} of {dtype}, which takes {expected}")
    elements = np.frombuffer(data, STORAGE[dtype]).reshape(shape)
    return DenseTensor(dtype, elements), Account({"values": len(data)})
