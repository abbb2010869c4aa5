"""Products with packed weights, and rows of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.packed.packing import Floats, Packed, check_activations, header


def matmul(
    packed: Packed,
    x: NDArray[Any],
    out: Floats | None = None,
    bias: Floats | None = None,
    activations: str = "float32",
    threads: int = 1,
) -> Floats:
    """x W^T + bias, straight from packed weights.

    x     float32 (..., columns); a copy is made if it is not C-contiguous
    out   float32 (..., rows), C-contiguous, apart from x; made if None
    bias  float32 (rows,)

    With `activations="int8"` each vector of x is rounded to 255 steps between -max|x| and max|x|. So are centroids that
    are not on the int8 grid. The forms `panel` and `factored` compute in float32 all the same, which is more exact. The
    result does not depend on `threads`. Raises ValueError or TypeError for arrays that do not fit.
    """
    check_activations(activations)
    facts = header(packed)
    if x.dtype != np.float32:
        raise TypeError(f"x is float32; found {x.dtype}")
    if x.ndim < 1 or x.shape[-1] != facts.columns:
        raise ValueError(f"x has {facts.columns} columns; found shape {list(x.shape)}")
    shape = (*x.shape[:-1], facts.rows)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out is float32, C-contiguous, of shape {list(shape)}; found {out.dtype}, {list(out.shape)}")
    if bias is not None and (bias.shape != (facts.rows,) or bias.dtype != np.float32):
        raise ValueError(f"bias is float32 of shape [{facts.rows}]; found {bias.dtype}, {list(bias.shape)}")
    x = np.ascontiguousarray(x)
    if np.may_share_memory(x, out):
        raise ValueError("out must not share memory with x")
    bias = None if bias is None else np.ascontiguousarray(bias)
    vectors = math.prod(shape[:-1])
    _core.multiply(
        packed.ctypes.data,
        packed.nbytes,
        x.ctypes.data,
        vectors,
        0 if bias is None else bias.ctypes.data,
        out.ctypes.data,
        activations == "int8",
        threads,
    )
    return out


def rows(packed: Packed, first: int, count: int, out: Floats | None = None, threads: int = 1) -> Floats:
    """Dense rows `first` to `first + count - 1` of packed weights of the form `tile`: float32 (count, columns).

    out  where they are written to, C-contiguous; made if None

    Raises IndexError for rows that there are not, ValueError for another form and an `out` that does not fit.
    """
    facts = header(packed)
    if first < 0 or count < 0 or first + count > facts.rows:
        raise IndexError(f"rows {first} to {first + count - 1} of packed weights with {facts.rows} rows")
    shape = (count, facts.columns)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out is float32, C-contiguous, of shape {list(shape)}; found {out.dtype}, {list(out.shape)}")
    _core.decode_rows(packed.ctypes.data, packed.nbytes, first, count, out.ctypes.data, threads)
    return out


def gather(packed: Packed, indices: NDArray[Any], threads: int = 1) -> Floats:
    """The dense rows of these numbers, any shape of integers: float32 (*indices.shape, columns).

    Raises TypeError for what are no integers, IndexError for numbers of no row, ValueError for another form than
    `tile`.
    """
    facts = header(packed)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices are integers; found {indices.dtype}")
    if indices.size and not 0 <= indices.min() <= indices.max() < facts.rows:
        raise IndexError(f"indices lie within 0 to {facts.rows - 1}; found {indices.min()} to {indices.max()}")
    numbers = np.ascontiguousarray(indices, np.int64)
    out = np.empty((*indices.shape, facts.columns), np.float32)
    _core.gather_rows(packed.ctypes.data, packed.nbytes, numbers.ctypes.data, numbers.size, out.ctypes.data, threads)
    return out
