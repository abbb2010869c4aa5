"""The coder `fast`: a compact mask, and codes or values in lanes that decode at full speed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.values import SHARED, VALUES, Bitmap, Head, as_stored, encode_either, read_kind
from deepcompression.common.binary import Cursor
from deepcompression.tensors.dtypes import STORAGE, Shape, ordered_bits, unordered_bits
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


def encode_fast(tensor: Tensor, gap_bits: int | None) -> Iterator[Part]:
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


def _read_head(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> Head:
    kind = read_kind(cursor, dtype)
    start = cursor.at
    bits, survivors = cursor.core(_core.decode_mask, np.array(shape, np.uint64), threads)
    parts = {"fields": 1, "mask": cursor.at - start}
    codebook = np.zeros(0, STORAGE[dtype])
    if kind == SHARED:
        start = cursor.at
        if survivors:
            centroids = cursor.u8("number of centroids") + 1
            codebook = unordered_bits(cursor.core(_core.unpack_ascending, centroids, 8 * codebook.itemsize), dtype)
        parts["codebook"] = cursor.at - start
    return Head(kind, Bitmap(bits, survivors), codebook, parts)


def decode_fast(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[Tensor, Account]:
    """The tensor as it is stored, dense or shared."""
    head = _read_head(cursor, dtype, shape, threads)
    if head.kind == VALUES:
        return head.read_values(cursor, dtype, shape, threads)
    start, codes = cursor.at, np.zeros(0, np.uint8)
    if head.bitmap.survivors:
        codes = cursor.core(_core.decode_block, head.bitmap.survivors, len(head.codebook), threads)
    head.parts["codes"] = cursor.at - start
    return head.with_codes(dtype, shape, codes)


def decode_fast_dense(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> DenseTensor:
    """The dense tensor, decoded in place."""
    head = _read_head(cursor, dtype, shape, threads)
    if head.kind == VALUES:
        return head.read_values(cursor, dtype, shape, threads)[0]
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    if head.bitmap.survivors:
        dense, bits = elements.view(np.uint8), head.bitmap.bits_or_none(len(elements))
        cursor.core(_core.decode_codes, bits, head.codebook.view(np.uint8), elements.itemsize, dense, threads)
    return DenseTensor(dtype, elements.reshape(shape))
