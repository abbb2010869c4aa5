"""The coder `small`: positions and codes by adaptive arithmetic coding, for the smallest file."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.account import Account
from deepcompression.fast import (
    SHARED,
    VALUES,
    Bitmap,
    as_stored,
    bits_or_none,
    decode_codebook,
    decode_values,
    encode_codebook,
    encode_values,
    read_kind,
    values_may_pay,
)
from deepcompression.tensor import STORAGE, Array, CompressedTensor, DenseTensor, Tensor, below_zero
from deepcompression.wire import Cursor, FormatError, varint


def encode_small(tensor: Tensor) -> bytes:
    """The payload of docs/format.md, "small"."""
    bitmap, tensor = as_stored(tensor)
    count = varint(bitmap.survivors)
    ways = []
    if isinstance(tensor, CompressedTensor):
        codes = np.ascontiguousarray(tensor.codes)
        mixed = _mix(tensor.shape, bitmap, len(tensor.codebook), below_zero(tensor.codebook, tensor.dtype), codes)
        ways.append(bytes([SHARED]) + count + encode_codebook(tensor) + mixed)
    if values_may_pay(tensor, bitmap):
        mixed = _mix(tensor.shape, bitmap, 0, 0, np.zeros(0, np.uint8))
        ways.append(bytes([VALUES]) + count + varint(len(mixed)) + mixed + encode_values(tensor, bitmap))
    return min(ways, key=len)


def _mix(shape: tuple[int, ...], bitmap: Bitmap, centroids: int, negative: int, codes: NDArray[np.uint8]) -> bytes:
    """Nothing where all is known."""
    if not bitmap.survivors or (not centroids and bitmap.survivors == math.prod(shape)):
        return b""
    return _core.mix_encode(list(shape), bitmap.survivors, centroids, negative, bitmap.bits, codes)


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
    codebook, codebook_bytes = np.zeros(0, STORAGE[dtype]), 0
    if kind == SHARED:
        codebook, codebook_bytes = decode_codebook(cursor, dtype, survivors)
        mixed = cursor.rest()
    else:
        mixed = cursor.take(cursor.varint("length of the mask"), "mask")
    bits, codes = _unmix(mixed, shape, survivors, codebook, dtype)
    parts = {"fields": cursor.at - codebook_bytes - len(mixed)}
    parts |= {"codebook": codebook_bytes, "mask and codes": len(mixed)} if kind == SHARED else {"mask": len(mixed)}
    return _Mixed(kind, Bitmap(bits, survivors), codebook, codes, parts)


def _unmix(
    mixed: memoryview, shape: tuple[int, ...], survivors: int, codebook: Array, dtype: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    size = math.prod(shape)
    if not survivors or (not len(codebook) and survivors == size):
        if len(mixed):
            raise FormatError(f"{len(mixed)} bytes of mask and codes are stored where all is known without them")
        bits = np.packbits(np.full(size, survivors > 0), bitorder="little")
        return bits, np.zeros(0, np.uint8)
    bits, codes = _core.mix_decode(mixed, list(shape), survivors, len(codebook), below_zero(codebook, dtype))
    return bits, codes


def decode_small(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    """The tensor in the form it is stored in."""
    found = _read(cursor, dtype, shape)
    survivors = found.bitmap.survivors
    if found.kind == VALUES:
        start = cursor.at
        elements = decode_values(cursor, dtype, shape, found.bitmap, 1)
        parts = found.parts | {"values": cursor.at - start}
        return DenseTensor(dtype, elements), Account(parts, survivors, survivors)
    positions = _core.positions_of(found.bitmap.bits, math.prod(shape))
    tensor = CompressedTensor(shape, positions, found.codebook, found.codes, dtype)
    return tensor, Account(found.parts, survivors, survivors, len(found.codebook))


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
