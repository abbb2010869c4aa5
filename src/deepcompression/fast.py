"""The coder `fast`: a mask without waste, and codes or values in lanes that decode at full speed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.account import Account
from deepcompression.tensor import (
    STORAGE,
    WEIGHT_DTYPES,
    Array,
    BitmapTensor,
    CompressedTensor,
    DenseTensor,
    Tensor,
    nonzero_bits,
    ordered_bits,
    unordered_bits,
)
from deepcompression.wire import Cursor, FormatError

VALUES, SHARED = range(2)

_SURVIVORS_PER_CENTROID = 4


class Bitmap(NamedTuple):
    """Which elements survive, element i as bit i % 8 of byte i // 8, and how many."""

    bits: NDArray[np.uint8]
    survivors: int


def as_stored(tensor: Tensor) -> tuple[Bitmap, Tensor]:
    """The bitmap, and the tensor as it is best stored: compressed and canonical if it is shared."""
    if isinstance(tensor, DenseTensor):
        tensor = CompressedTensor.from_dense(tensor) or tensor
    if isinstance(tensor, CompressedTensor):
        tensor = tensor.canonical()
        return Bitmap(_core.bitmap_of(tensor.positions, tensor.size), len(tensor.positions)), tensor
    survives = nonzero_bits(tensor.elements).reshape(-1)
    return Bitmap(np.packbits(survives, bitorder="little"), int(np.count_nonzero(survives))), tensor


def encode_fast(tensor: Tensor) -> bytes:
    """The payload of docs/format.md, "fast"."""
    bitmap, tensor = as_stored(tensor)
    mask = _core.encode_mask(bitmap.bits, np.array(tensor.shape, np.uint64))
    ways = []
    if isinstance(tensor, CompressedTensor):
        ways.append(bytes([SHARED]) + mask + encode_codebook(tensor) + _core.encode_block(tensor.codes))
    if values_may_pay(tensor, bitmap):
        ways.append(bytes([VALUES]) + mask + encode_values(tensor, bitmap))
    return min(ways, key=len)


def values_may_pay(tensor: Tensor, bitmap: Bitmap) -> bool:
    """Where most survivors have a value of their own, a codebook need not pay."""
    return isinstance(tensor, DenseTensor) or bitmap.survivors < _SURVIVORS_PER_CENTROID * len(tensor.codebook)


def encode_values(tensor: Tensor, bitmap: Bitmap) -> bytes:
    """The elements of the survivors, byte plane by byte plane."""
    if isinstance(tensor, CompressedTensor):
        values = tensor.codebook[tensor.codes]
    else:
        flat = tensor.elements.reshape(-1)
        values = flat if bitmap.survivors == len(flat) else flat[nonzero_bits(flat)]
    return _core.encode_planes(values.view(np.uint8), values.itemsize, tensor.dtype in WEIGHT_DTYPES)


def encode_codebook(tensor: CompressedTensor) -> bytes:
    """The number of centroids and the centroids; nothing if no weight survives."""
    if not len(tensor.codebook):
        return b""
    packed = _core.pack_ascending(ordered_bits(tensor.codebook, tensor.dtype), 8 * tensor.codebook.itemsize)
    return bytes([len(tensor.codebook) - 1]) + packed


def decode_codebook(cursor: Cursor, dtype: str, survivors: int) -> tuple[Array, int]:
    """The codebook and the bytes it took."""
    if dtype not in WEIGHT_DTYPES:
        raise FormatError(f"codebooks are of {', '.join(WEIGHT_DTYPES)}; found {dtype}")
    if not survivors:
        return np.zeros(0, STORAGE[dtype]), 0
    start = cursor.at
    centroids = cursor.u8("number of centroids") + 1
    ordered = cursor.core(_core.unpack_ascending, centroids, 8 * STORAGE[dtype].itemsize)
    return unordered_bits(ordered, dtype), cursor.at - start


def read_kind(cursor: Cursor) -> int:
    """`VALUES` or `SHARED`."""
    kind = cursor.u8("kind of content")
    if kind not in (VALUES, SHARED):
        raise FormatError(f"the kind of content at offset {cursor.offset - 1} is 0 or 1; found {kind}")
    return kind


class _Head(NamedTuple):
    """The first parts of a payload, as far as both ways of decoding share them."""

    kind: int
    bitmap: Bitmap
    codebook: Array
    parts: dict[str, int]


def _read_head(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> _Head:
    kind = read_kind(cursor)
    start = cursor.at
    bits, survivors = cursor.core(_core.decode_mask, np.array(shape, np.uint64), threads)
    parts = {"fields": 1, "mask": cursor.at - start}
    codebook = np.zeros(0, STORAGE[dtype])
    if kind == SHARED:
        codebook, parts["codebook"] = decode_codebook(cursor, dtype, survivors)
    return _Head(kind, Bitmap(bits, survivors), codebook, parts)


def decode_fast(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    """The tensor in the form it is stored in."""
    head = _read_head(cursor, dtype, shape, 1)
    count = head.bitmap.survivors
    if head.kind == VALUES:
        start = cursor.at
        elements = decode_values(cursor, dtype, shape, head.bitmap, 1)
        parts = head.parts | {"values": cursor.at - start}
        return DenseTensor(dtype, elements), Account(parts, count, count)
    start = cursor.at
    codes = _read_codes(cursor, head)
    positions = _core.positions_of(head.bitmap.bits, math.prod(shape))
    parts = head.parts | {"codes": cursor.at - start}
    tensor = CompressedTensor(shape, positions, head.codebook, codes, dtype)
    return tensor, Account(parts, count, count, len(head.codebook))


def decode_fast_bitmap(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> BitmapTensor | None:
    """A shared tensor without its positions; None for one that is stored by its values."""
    head = _read_head(cursor, dtype, shape, 1)
    if head.kind == VALUES:
        return None
    return BitmapTensor(shape, head.bitmap.bits, head.codebook, _read_codes(cursor, head), dtype)


def _read_codes(cursor: Cursor, head: _Head) -> NDArray[np.uint8]:
    if not head.bitmap.survivors:
        return np.zeros(0, np.uint8)
    codes: NDArray[np.uint8] = cursor.core(_core.decode_block, head.bitmap.survivors, len(head.codebook))
    return codes


def decode_fast_dense(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> Array:
    """The dense elements, without any larger form in between."""
    head = _read_head(cursor, dtype, shape, threads)
    if head.kind == VALUES:
        return decode_values(cursor, dtype, shape, head.bitmap, threads)
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    if head.bitmap.survivors:
        cursor.core(
            _core.decode_codes,
            bits_or_none(head.bitmap, len(elements)),
            head.codebook.view(np.uint8),
            elements.itemsize,
            elements.view(np.uint8),
            threads,
        )
    return elements.reshape(shape)


def decode_values(cursor: Cursor, dtype: str, shape: tuple[int, ...], bitmap: Bitmap, threads: int) -> Array:
    """The values at their places, zeros elsewhere."""
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    dense, bits = elements.view(np.uint8), bits_or_none(bitmap, len(elements))
    cursor.core(_core.decode_planes, bits, elements.itemsize, dtype in WEIGHT_DTYPES, dense, threads)
    return elements.reshape(shape)


def bits_or_none(bitmap: Bitmap, size: int) -> NDArray[np.uint8]:
    """No bits where all elements survive: the core takes that so, and is faster."""
    return bitmap.bits if bitmap.survivors < size else np.zeros(0, np.uint8)
