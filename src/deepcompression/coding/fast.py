"""The coder `fast`: a mask without waste, and codes or values in lanes that decode at full speed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.values import (
    SHARED,
    VALUES,
    Bitmap,
    as_stored,
    bits_or_none,
    decode_values,
    encode_values,
    read_kind,
    shorter,
    values_may_pay,
)
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array, ordered_bits, unordered_bits
from deepcompression.tensors.tensor import BitmapTensor, DenseTensor, Encodable


def encode_fast(tensor: Encodable) -> Iterator[Part]:
    """The payload of docs/format.md, "fast", in parts."""
    bitmap, tensor = as_stored(tensor)
    mask = _core.encode_mask(bitmap.bits, np.array(tensor.shape, np.uint64))
    if isinstance(tensor, DenseTensor):
        yield bytes([VALUES]) + mask
        yield from encode_values(tensor, bitmap)
        return
    way: list[Part] = [bytes([SHARED]) + mask + encode_codebook(tensor), _core.encode_block(tensor.codes)]
    if values_may_pay(tensor):
        way = shorter(way, [bytes([VALUES]) + mask, *encode_values(tensor, bitmap)])
    yield from way


def encode_codebook(tensor: BitmapTensor) -> bytes:
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


def decode_fast(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Encodable, Account]:
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
    parts = head.parts | {"codes": cursor.at - start}
    tensor = BitmapTensor(shape, head.bitmap.bits, head.codebook, codes, dtype)
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
