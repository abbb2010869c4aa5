"""Dtypes of stored tensors: their names, their elements in NumPy, their bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# `NDArray` by its meaning: the module numpy.typing takes long to import
Array = np.ndarray[Any, np.dtype[Any]]

Floats = np.ndarray[Any, np.dtype[np.float32]]

Shape = tuple[int, ...]

# The name of a dtype, as in safetensors where that has it -> the NumPy dtype that holds its elements. NumPy has no
# bfloat16, no 8-bit floats and no C32: unsigned integers with the same bits hold those. Bytes hold BOOL: a NumPy bool
# other than 0 or 1 is undefined.
STORAGE: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F8_E4M3": np.dtype("u1"),
    "F8_E5M2": np.dtype("u1"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
    "C64": np.dtype("<c8"),
    "C128": np.dtype("<u8"),
    "C32": np.dtype("<u4"),
    "F8_E8M0": np.dtype("u1"),
    "F8_E4M3FNUZ": np.dtype("u1"),
    "F8_E5M2FNUZ": np.dtype("u1"),
    "F6_E2M3": np.dtype("u1"),
    "F6_E3M2": np.dtype("u1"),
    "F4": np.dtype("u1"),
    "I4": np.dtype("u1"),
    "U4": np.dtype("u1"),
    "I2": np.dtype("u1"),
    "U2": np.dtype("u1"),
}

# The bits of an element, for dtypes whose elements do not take 1, 2, 4 or 8 bytes. A tensor of these is held and coded
# as one row of bytes, C128 of 8-byte integers (docs/format.md, "Rows").
ROW_BITS = {"C128": 128, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "I4": 4, "U4": 4, "I2": 2, "U2": 2}

# The dtypes that can be pruned and shared.
WEIGHT_DTYPES = ("F64", "F32", "F16", "BF16")


def size_bytes(dtype: str, shape: Shape) -> int:
    """Bytes of a dense tensor, without overflow for any shape."""
    return -(-math.prod(shape) * item_bits(dtype) // 8)


def item_bits(dtype: str) -> int:
    """Bits of an element."""
    return ROW_BITS.get(dtype, 8 * STORAGE[dtype].itemsize)


def row_of(dtype: str, shape: Shape) -> tuple[str, Shape]:
    """Dtype and shape of the row that holds a tensor, if its dtype is one of `ROW_BITS`; else its own."""
    if dtype not in ROW_BITS:
        return dtype, shape
    storage = STORAGE[dtype].itemsize
    return f"U{8 * storage}", (size_bytes(dtype, shape) // storage,)


def widen(elements: Array, dtype: str) -> Array:
    """Stored elements -> an ordinary NumPy array of the same values (BF16 as float32; F8 and C32 as their bits,
    unsigned integers).
    """
    # asarray: NumPy computes a scalar from an array without axes
    if dtype == "BF16":
        return np.asarray(elements.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(elements != 0) if dtype == "BOOL" else elements


def unpacked_row(row: Array, dtype: str, shape: Shape) -> Array:
    """The row of a dtype of `ROW_BITS` -> complex numbers, or the bits of each element in uint8."""
    if dtype == "C128":
        return row.view(np.complex128).reshape(shape)
    count, bits = math.prod(shape), ROW_BITS[dtype]
    every = np.unpackbits(row, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(every, axis=1, bitorder="little").reshape(shape)


def narrow(values: Array, dtype: str) -> Array:
    """Float values -> stored elements, rounded to nearest even; the inverse of `widen` for `WEIGHT_DTYPES`."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return values.astype(STORAGE[dtype])


def nonzero_bits(elements: Array) -> NDArray[np.bool_]:
    """Whether any bit of each element is set; unlike `!= 0`, true for a negative zero."""
    # ascontiguousarray would make a scalar one-dimensional
    unsigned = np.array(elements, copy=None, order="C").view(f"u{elements.dtype.itemsize}")
    return unsigned.astype(np.bool_)


def ordered_bits(elements: Array, dtype: str) -> NDArray[np.uint64]:
    """Elements of a weight dtype -> integers in the order of their values (IEEE 754's totalOrder): -0 comes before +0,
    NaN at both ends.
    """
    width = 8 * STORAGE[dtype].itemsize
    bits = elements.view(f"u{elements.itemsize}").astype(np.uint64)
    sign = np.uint64(1 << (width - 1))
    return np.where(bits & sign, np.uint64((1 << width) - 1) - bits, bits | sign)


def unordered_bits(ordered: NDArray[np.uint64], dtype: str) -> Array:
    """The inverse of `ordered_bits`."""
    storage = STORAGE[dtype]
    width = 8 * storage.itemsize
    sign = np.uint64(1 << (width - 1))
    bits = np.where(ordered & sign, ordered ^ sign, np.uint64((1 << width) - 1) - ordered)
    return bits.astype(f"<u{storage.itemsize}").view(storage)
