"""The coder `fast`: a mask without waste, and codes or values in lanes that decode at full speed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.values import (
    SHARED,
    VALUES,
    Bitmap,
    Head,
    as_stored,
    bits_or_none,
    check_holds_codes,
    decode_values,
    encode_either,
    read_kind,
    with_codes,
)
from deepcompression.common.binary import Cursor
from deepcompression.tensors.dtypes import STORAGE, Array, ordered_bits, unordered_bits
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


def encode_fast(tensor: Tensor) -> Iterator[Part]:
    """The payload of docs/format.md, "fast", in parts."""
    bitmap, tensor = as_stored(tensor)
    mask = _core.encode_mask(bitmap.bits, np.array(tensor.shape, np.uint64))

    def values_head() -> bytes:
        return bytes([VALUES]) + mask

    def shared_parts(tensor: CompressedTensor) -> list[Part]:
        return [bytes([SHARED]) + mask + _encode_codebook(tensor), _core.encode_block(tensor.codes)]

    yield from encode_either(tensor, bitmap, values_head, shared_parts)


def _encode_codebook(tensor: CompressedTensor) -> bytes:
    """The number of centroids and the centroids; nothing if no weight survives."""
    if not len(tensor.codebook):
        return b""
    packed = _core.pack_ascending(ordered_bits(tensor.codebook, tensor.dtype), 8 * tensor.codebook.itemsize)
    return bytes([len(tensor.codebook) - 1]) + packed


def _decode_codebook(cursor: Cursor, dtype: str, survivors: int) -> Array:
    check_holds_codes(dtype)
    if not survivors:
        return np.zeros(0, STORAGE[dtype])
    centroids = cursor.u8("number of centroids") + 1
    return unordered_bits(cursor.core(_core.unpack_ascending, centroids, 8 * STORAGE[dtype].itemsize), dtype)


def _read_head(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> Head:
    kind = read_kind(cursor)
    start = cursor.at
    bits, survivors = cursor.core(_core.decode_mask, np.array(shape, np.uint64), threads)
    parts = {"fields": 1, "mask": cursor.at - start}
    codebook = np.zeros(0, STORAGE[dtype])
    if kind == SHARED:
        start = cursor.at
        codebook = _decode_codebook(cursor, dtype, survivors)
        parts["codebook"] = cursor.at - start
    return Head(kind, Bitmap(bits, survivors), codebook, parts)


def decode_fast(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> tuple[Tensor, Account]:
    """The tensor in the form it is stored in."""
    head = _read_head(cursor, dtype, shape, threads)
    if head.kind == VALUES:
        return decode_values(cursor, dtype, shape, head, threads)
    start, codes = cursor.at, np.zeros(0, np.uint8)
    if head.bitmap.survivors:
        codes = cursor.core(_core.decode_block, head.bitmap.survivors, len(head.codebook), threads)
    return with_codes(dtype, shape, head, codes, head.parts | {"codes": cursor.at - start})


def decode_fast_dense(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> DenseTensor:
    """The dense tensor, without any larger form in between."""
    head = _read_head(cursor, dtype, shape, threads)
    if head.kind == VALUES:
        return decode_values(cursor, dtype, shape, head, threads)[0]
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    if head.bitmap.survivors:
        dense, bits = elements.view(np.uint8), bits_or_none(head.bitmap, len(elements))
        cursor.core(_core.decode_codes, bits, head.codebook.view(np.uint8), elements.itemsize, dense, threads)
    return DenseTensor(dtype, elements.reshape(shape))
