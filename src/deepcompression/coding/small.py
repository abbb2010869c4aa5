"""The coder `small`: codebook, positions and codes by adaptive arithmetic coding, for the smallest file."""

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
from deepcompression.common.binary import Cursor, FormatError, varint
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array, ordered_bits, unordered_bits
from deepcompression.tensors.tensor import BitmapTensor, DenseTensor, Encodable


def encode_small(tensor: Encodable) -> Iterator[Part]:
    """The payload of docs/format.md, "small", in parts."""
    bitmap, tensor = as_stored(tensor)
    count = varint(bitmap.survivors)

    def head_of_values() -> bytes:
        mixed = _mix(tensor.shape, bitmap, np.zeros(0, np.uint64), 0, np.zeros(0, np.uint8))
        return bytes([VALUES]) + count + varint(len(mixed)) + mixed

    if isinstance(tensor, DenseTensor):
        yield head_of_values()
        yield from encode_values(tensor, bitmap)
        return
    ordered, width = ordered_bits(tensor.codebook, tensor.dtype), 8 * tensor.codebook.itemsize
    centroids = bytes([len(ordered) - 1]) if len(ordered) else b""
    mixed = _mix(tensor.shape, bitmap, ordered, width, np.ascontiguousarray(tensor.codes))
    way: list[Part] = [bytes([SHARED]) + count + centroids, mixed]
    if values_may_pay(tensor):
        way = shorter(way, [head_of_values(), *encode_values(tensor, bitmap)])
    yield from way


def _mix(
    shape: tuple[int, ...], bitmap: Bitmap, ordered: NDArray[np.uint64], width: int, codes: NDArray[np.uint8]
) -> bytes:
    """Nothing where all is known."""
    if not bitmap.survivors or (not len(ordered) and bitmap.survivors == math.prod(shape)):
        return b""
    return _core.encode_adaptive(list(shape), bitmap.survivors, ordered, width, bitmap.bits, codes)


class _Mixed(NamedTuple):
    """A payload up to its values."""

    kind: int
    bitmap: Bitmap
    codebook: Array
    codes: NDArray[np.uint8]
    parts: dict[str, int]


def _read(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> _Mixed:
    size = math.prod(shape)
    kind = read_kind(cursor)
    survivors = cursor.varint("number of survivors")
    if survivors > size:
        raise FormatError(f"{survivors} survivors are claimed for a tensor of {size} elements")
    centroids = 0
    if kind == SHARED:
        if dtype not in WEIGHT_DTYPES:
            raise FormatError(f"codebooks are of {', '.join(WEIGHT_DTYPES)}; found {dtype}")
        if survivors:
            centroids = cursor.u8("number of centroids") + 1
        mixed = cursor.rest()
    else:
        mixed = cursor.take(cursor.varint("length of the mask"), "mask")
    ordered, bits, codes = _unmix(mixed, shape, survivors, centroids, 8 * STORAGE[dtype].itemsize)
    codebook = unordered_bits(ordered, dtype) if kind == SHARED else np.zeros(0, STORAGE[dtype])
    what = "codebook, mask and codes" if kind == SHARED else "mask"
    parts = {"fields": cursor.at - len(mixed), what: len(mixed)}
    return _Mixed(kind, Bitmap(bits, survivors), codebook, codes, parts)


def _unmix(
    mixed: memoryview, shape: tuple[int, ...], survivors: int, centroids: int, width: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]]:
    size = math.prod(shape)
    if not survivors or (not centroids and survivors == size):
        if len(mixed):
            raise FormatError(f"{len(mixed)} bytes of mask and codes are stored where all is known without them")
        bits = np.full((size + 7) // 8, 255 if survivors else 0, np.uint8)
        if survivors and size % 8:
            bits[-1] = (1 << size % 8) - 1
        return np.zeros(0, np.uint64), bits, np.zeros(0, np.uint8)
    return _core.decode_adaptive(mixed, list(shape), survivors, centroids, width)


def decode_small(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Encodable, Account]:
    """The tensor in the form it is stored in."""
    found = _read(cursor, dtype, shape)
    survivors = found.bitmap.survivors
    if found.kind == VALUES:
        start = cursor.at
        elements = decode_values(cursor, dtype, shape, found.bitmap, 1)
        parts = found.parts | {"values": cursor.at - start}
        return DenseTensor(dtype, elements), Account(parts, survivors, survivors)
    tensor = BitmapTensor(shape, found.bitmap.bits, found.codebook, found.codes, dtype)
    return tensor, Account(found.parts, survivors, survivors, len(found.codebook))


def decode_small_bitmap(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> BitmapTensor | None:
    """A shared tensor without its positions; None for one that is stored by its values."""
    found = _read(cursor, dtype, shape)
    if found.kind == VALUES:
        return None
    return BitmapTensor(shape, found.bitmap.bits, found.codebook, found.codes, dtype)


def decode_small_dense(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> Array:
    """The dense elements."""
    found = _read(cursor, dtype, shape)
    if found.kind == VALUES:
        return decode_values(cursor, dtype, shape, found.bitmap, threads)
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    if found.bitmap.survivors:
        bits, codebook = bits_or_none(found.bitmap, len(elements)), found.codebook.view(np.uint8)
        _core.place_codes(found.codes, bits, codebook, elements.itemsize, elements.view(np.uint8))
    return elements.reshape(shape)
