"""Products with packed weights, and rows of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompression import _core
from deepcompression.packed.packing import Packed, check_activations, header
from deepcompression.tensors.dtypes import Floats

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _result(shape: tuple[int, ...], out: Floats | None) -> Floats:
    """`out`, or a new array if it is None. Raises ValueError for an `out` that does not fit."""
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out is float32, C-contiguous, of shape {list(shape)}; found {out.dtype}, {list(out.shape)}")
    return out


def matmul(
    packed: Packed,
    x: NDArray[Any],
    out: Floats | None = None,
    bias: Floats | None = None,
    activations: str = "float32",
    threads: int = 1,
) -> Floats:
    """x W^T + bias, computed from packed weights.

    x     float32 (..., columns), copied if it is not C-contiguous
    out   float32 (..., rows), C-contiguous, sharing no memory with x; allocated if None
    bias  float32 (rows,)

    With `activations="int8"` each vector of x is rounded to 255 steps between -max|x| and max|x|. Centroids off the
    int8 grid are rounded to it. The forms `panel`, `factored` and `word` compute in float32 all the same, which is more
    exact.
    The result does not depend on `threads`. Raises ValueError or TypeError for arrays that do not fit.
    """
    check_activations(activations)
    facts = header(packed)
    if x.dtype != np.float32:
        raise TypeError(f"x is float32; found {x.dtype}")
    if x.ndim < 1 or x.shape[-1] != facts.columns:
        raise ValueError(f"x has {facts.columns} columns; found shape {list(x.shape)}")
    shape = (*x.shape[:-1], facts.rows)
    out = _result(shape, out)
    if bias is not None and (bias.shape != (facts.rows,) or bias.dtype != np.float32):
        raise ValueError(f"bias is float32 of shape [{facts.rows}]; found {bias.dtype}, {list(bias.shape)}")
    x = np.ascontiguousarray(x)
    if np.may_share_memory(x, out):
        raise ValueError("out must not share memory with x")
    bias = None if bias is None else np.ascontiguousarray(bias)
    vectors = math.prod(shape[:-1])
    bias_at, int8 = 0 if bias is None else bias.ctypes.data, activations == "int8"
    _core.multiply(packed.ctypes.data, packed.nbytes, x.ctypes.data, vectors, bias_at, out.ctypes.data, int8, threads)
    return out


def rows(packed: Packed, first: int, count: int, out: Floats | None = None, threads: int = 1) -> Floats:
    """Dense rows `first` to `first + count - 1`: float32 (count, columns).

    packed  of the form `tile` or `word`
    out     float32 (count, columns), C-contiguous; allocated if None

    Raises IndexError for rows out of range, ValueError for another form and for an `out` that does not fit.
    """
    facts = header(packed)
    if first < 0 or count < 0 or first + count > facts.rows:
        raise IndexError(f"rows {first} to {first + count - 1} of packed weights with {facts.rows} rows")
    out = _result((count, facts.columns), out)
    _core.decode_rows(packed.ctypes.data, packed.nbytes, first, count, out.ctypes.data, threads)
    return out


def gather(packed: Packed, indices: NDArray[Any], threads: int = 1) -> Floats:
    """Dense rows by their numbers: float32 (*indices.shape, columns).

    packed   of the form `tile` or `word`
    indices  integers of any shape

    Raises TypeError for other indices, IndexError for numbers out of range, ValueError for another form.
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
