"""The parts that the coders `fast` and `small` share: bitmaps of survivors, and values that no codebook holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.coding.coder import Part
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array
from deepcompression.tensors.slices import count_bits, stored_bits
from deepcompression.tensors.tensor import BitmapTensor, DenseTensor, Encodable

VALUES, SHARED = range(2)

_SURVIVORS_PER_CENTROID = 4


class Bitmap(NamedTuple):
    """Which elements survive, element i as bit i % 8 of byte i // 8, and how many."""

    bits: NDArray[np.uint8]
    survivors: int


def as_stored(tensor: Encodable) -> tuple[Bitmap, BitmapTensor | DenseTensor]:
    """The bitmap, and the tensor as it is best stored: a canonical `BitmapTensor` if it is shared."""
    if isinstance(tensor, DenseTensor):
        found = BitmapTensor.from_dense(tensor)
        if found is None:
            bits = stored_bits(tensor.elements)
            return Bitmap(bits, count_bits(bits)), tensor
    else:
        found = (tensor if isinstance(tensor, BitmapTensor) else BitmapTensor.of(tensor)).canonical()
    return Bitmap(found.bits, len(found.codes)), found


def values_may_pay(tensor: BitmapTensor) -> bool:
    """Where most survivors have a value of their own, a codebook need not pay."""
    return len(tensor.codes) < _SURVIVORS_PER_CENTROID * len(tensor.codebook)


def shorter(first: list[Part], second: list[Part]) -> list[Part]:
    """The payload of fewer bytes, the first of equals."""
    return min(first, second, key=lambda way: sum(memoryview(part).nbytes for part in way))


def encode_values(tensor: BitmapTensor | DenseTensor, bitmap: Bitmap) -> Iterator[Part]:
    """The elements of the survivors, byte plane by byte plane."""
    elements = tensor.dense().elements.reshape(-1)
    dense, bits = elements.view(np.uint8), bits_or_none(bitmap, len(elements))
    for byte in reversed(range(elements.itemsize)):
        yield _core.encode_plane(dense, bits, elements.itemsize, byte, tensor.dtype in WEIGHT_DTYPES).data


def read_kind(cursor: Cursor) -> int:
    """`VALUES` or `SHARED`."""
    kind = cursor.u8("kind of content")
    if kind not in (VALUES, SHARED):
        raise FormatError(f"the kind of content at offset {cursor.offset - 1} is 0 or 1; found {kind}")
    return kind


def decode_values(cursor: Cursor, dtype: str, shape: tuple[int, ...], bitmap: Bitmap, threads: int) -> Array:
    """The values at their places, zeros elsewhere."""
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    dense, bits = elements.view(np.uint8), bits_or_none(bitmap, len(elements))
    cursor.core(_core.decode_planes, bits, elements.itemsize, dtype in WEIGHT_DTYPES, dense, threads)
    return elements.reshape(shape)


def bits_or_none(bitmap: Bitmap, size: int) -> NDArray[np.uint8]:
    """No bits where all elements survive: the core takes that so, and is faster."""
    return bitmap.bits if bitmap.survivors < size else np.zeros(0, np.uint8)
