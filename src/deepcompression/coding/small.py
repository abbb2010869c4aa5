"""The coder `small`: codebook, positions and codes by adaptive arithmetic coding, for the smallest file."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.values import (
    SHARED,
    VALUES,
    Bitmap,
    Head,
    as_stored,
    check_holds_codes,
    decode_values,
    encode_either,
    read_kind,
    with_codes,
)
from deepcompression.common.binary import Cursor, FormatError, varint
from deepcompression.tensors.dtypes import STORAGE, ordered_bits, unordered_bits
from deepcompression.tensors.tensor import CompressedTensor, Tensor

_NO_CODES = np.zeros(0, np.uint8)
_NO_CENTROIDS = np.zeros(0, np.uint64)


def encode_small(tensor: Tensor) -> Iterator[Part]:
    """The payload of docs/format.md, "small", in parts."""
    bitmap, tensor = as_stored(tensor)
    count = varint(bitmap.survivors)

    def values_head() -> bytes:
        mixed = _mix(tensor.shape, bitmap, _NO_CENTROIDS, 0, _NO_CODES)
        return bytes([VALUES]) + count + varint(len(mixed)) + mixed

    def shared_parts(tensor: CompressedTensor) -> list[Part]:
        ordered, width = ordered_bits(tensor.codebook, tensor.dtype), 8 * tensor.codebook.itemsize
        centroids = bytes([len(ordered) - 1]) if len(ordered) else b""
        return [bytes([SHARED]) + count + centroids, _mix(tensor.shape, bitmap, ordered, width, tensor.codes)]

    yield from encode_either(tensor, bitmap, values_head, shared_parts)


def _mix(
    shape: tuple[int, ...], bitmap: Bitmap, ordered: NDArray[np.uint64], width: int, codes: NDArray[np.uint8]
) -> bytes:
    if _is_known(shape, bitmap.survivors, len(ordered)):
        return b""
    return _core.encode_adaptive(list(shape), bitmap.survivors, ordered, width, bitmap.bits, codes)


def _is_known(shape: tuple[int, ...], survivors: int, centroids: int) -> bool:
    """Whether nothing is left to be coded: none survives, or all do and there are no codes."""
    return not survivors or (not centroids and survivors == math.prod(shape))


def _unmix(
    mixed: memoryview, shape: tuple[int, ...], survivors: int, centroids: int, width: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]]:
    if not _is_known(shape, survivors, centroids):
        return _core.decode_adaptive(mixed, list(shape), survivors, centroids, width)
    if len(mixed):
        raise FormatError(f"{len(mixed)} bytes of mask and codes are stored where all is known without them")
    size = math.prod(shape)
    bits = np.full((size + 7) // 8, 255 if survivors else 0, np.uint8)
    if survivors and size % 8:
        bits[-1] = (1 << size % 8) - 1
    return _NO_CENTROIDS, bits, _NO_CODES


def decode_small(cursor: Cursor, dtype: str, shape: tuple[int, ...], threads: int) -> tuple[Tensor, Account]:
    """The tensor in the form it is stored in."""
    kind = read_kind(cursor)
    survivors = cursor.varint("number of survivors")
    if survivors > (size := math.prod(shape)):
        raise FormatError(f"{survivors} survivors are claimed for a tensor of {size} elements")
    centroids = 0
    if kind == SHARED:
        check_holds_codes(dtype)
        centroids = cursor.u8("number of centroids") + 1 if survivors else 0
        mixed = cursor.rest()
    else:
        mixed = cursor.take(cursor.varint("length of the mask"), "mask")
    ordered, bits, codes = _unmix(mixed, shape, survivors, centroids, 8 * STORAGE[dtype].itemsize)
    codebook = unordered_bits(ordered, dtype) if kind == SHARED else np.zeros(0, STORAGE[dtype])
    what = "codebook, mask and codes" if kind == SHARED else "mask"
    head = Head(kind, Bitmap(bits, survivors), codebook, {"fields": cursor.at - len(mixed), what: len(mixed)})
    if kind == VALUES:
        return decode_values(cursor, dtype, shape, head, threads)
    return with_codes(dtype, shape, head, codes, head.parts)
