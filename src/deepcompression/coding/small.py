"""The coder `small`: codebook, mask and codes by adaptive arithmetic coding, for the smallest file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.values import SHARED, VALUES, Bitmap, Head, as_stored, encode_either, read_kind
from deepcompression.common.binary import Cursor, FormatError, varint
from deepcompression.tensors.dtypes import STORAGE, Shape, ordered_bits, unordered_bits
from deepcompression.tensors.tensor import CompressedTensor, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NO_CODES = np.zeros(0, np.uint8)
_NO_CENTROIDS = np.zeros(0, np.uint64)


def encode_small(tensor: Tensor, gap_bits: int | None) -> Iterator[Part]:
    """The payload of docs/format.md, "small", in parts."""
    bitmap, tensor = as_stored(tensor)
    count = varint(bitmap.survivors)

    def values_head() -> bytes:
        mask = _encode_adaptive(tensor.shape, bitmap, _NO_CENTROIDS, 0, _NO_CODES)
        return bytes([VALUES]) + count + varint(len(mask)) + mask

    def shared_parts(tensor: CompressedTensor) -> list[Part]:
        ordered, width = ordered_bits(tensor.codebook, tensor.dtype), 8 * tensor.codebook.itemsize
        centroids = bytes([len(ordered) - 1]) if len(ordered) else b""
        coded = _encode_adaptive(tensor.shape, bitmap, ordered, width, tensor.codes)
        return [bytes([SHARED]) + count + centroids, coded]

    yield from encode_either(tensor, bitmap, values_head, shared_parts)


def _encode_adaptive(
    shape: Shape, bitmap: Bitmap, ordered: NDArray[np.uint64], width: int, codes: NDArray[np.uint8]
) -> bytes:
    if _is_known(shape, bitmap.survivors, len(ordered)):
        return b""
    return _core.encode_adaptive(list(shape), bitmap.survivors, ordered, width, bitmap.bits, codes)


def _is_known(shape: Shape, survivors: int, centroids: int) -> bool:
    """Whether nothing is left to code: no element survives, or all do and there are no codes."""
    return not survivors or (not centroids and survivors == math.prod(shape))


def _decode_adaptive(
    coded: memoryview, shape: Shape, survivors: int, centroids: int, width: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Centroids as ascending integers, bitmap and codes."""
    if not _is_known(shape, survivors, centroids):
        return _core.decode_adaptive(coded, list(shape), survivors, centroids, width)
    if len(coded):
        raise FormatError(f"{len(coded)} bytes of mask and codes are stored where all is known without them")
    size = math.prod(shape)
    bits = np.full((size + 7) // 8, 255 if survivors else 0, np.uint8)
    if survivors and size % 8:
        bits[-1] = (1 << size % 8) - 1
    return _NO_CENTROIDS, bits, _NO_CODES


def decode_small(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[Tensor, Account]:
    """The tensor as it is stored, dense or shared."""
    kind = read_kind(cursor, dtype)
    survivors = cursor.varint("number of survivors")
    if survivors > (size := math.prod(shape)):
        raise FormatError(f"{survivors} survivors are claimed for a tensor of {size} elements")
    centroids = 0
    if kind == SHARED:
        centroids = cursor.u8("number of centroids") + 1 if survivors else 0
        coded = cursor.rest()
    else:
        coded = cursor.take(cursor.varint("length of the mask"), "mask")
    ordered, bits, codes = _decode_adaptive(coded, shape, survivors, centroids, 8 * STORAGE[dtype].itemsize)
    what = "codebook, mask and codes" if kind == SHARED else "mask"
    parts = {"fields": cursor.at - len(coded), what: len(coded)}
    head = Head(kind, Bitmap(bits, survivors), unordered_bits(ordered, dtype), parts)
    if kind == VALUES:
        return head.read_values(cursor, dtype, shape, threads)
    return head.with_codes(dtype, shape, codes)
