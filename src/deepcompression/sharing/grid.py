"""Codebooks on a grid: every centroid is an integer of int8 or int16 times one scale (defined in docs/method.md)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

# name of a grid -> its largest digit. Kernels hold an int16 digit as 256 * high + low, both of int8: 256 * 127 + 127.
LIMITS = {"int8": 127, "int16": 32639}


class _Format(NamedTuple):
    """Of floats: bits of a significand, the smallest positive value, the largest value."""

    significand: int
    least: float
    largest: float


_FLOAT32 = _Format(24, 2.0**-149, (2 - 2.0**-23) * 2.0**127)

# The multiples of a scale are exact in float32 for F64, too, so that kernels need nothing wider.
_FORMATS = {
    "F64": _FLOAT32,
    "F32": _FLOAT32,
    "F16": _Format(11, 2.0**-24, 65504.0),
    "BF16": _Format(8, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
}


class Grid(NamedTuple):
    """A grid within a dtype.

    name           of `LIMITS`
    limit          the largest digit
    scale_bits     how many significant bits a scale may have, so that its multiples are exact
    least_scale    the smallest scale: all scales are multiples of it
    largest_scale  the largest scale whose multiples are finite
    """

    name: str
    limit: int
    scale_bits: int
    least_scale: float
    largest_scale: float

    @property
    def excess(self) -> int:
        """The bits of a float64 that must be zero in a scale."""
        return (1 << (53 - self.scale_bits)) - 1


def grid_of(name: str, dtype: str = "F32") -> Grid:
    """A grid by its name, for weights of a dtype of `WEIGHT_DTYPES`. Raises ValueError for a dtype that cannot hold it
    and for an unknown name.
    """
    if name not in LIMITS:
        raise ValueError(f"unknown grid {name!r}; known are {', '.join(LIMITS)}")
    limit, floats = LIMITS[name], _FORMATS[dtype]
    grid = Grid(name, limit, floats.significand - limit.bit_length(), floats.least, floats.largest / limit)
    if grid.scale_bits < 1:
        raise ValueError(
            f"{dtype} has {floats.significand} significant bits, too few for a codebook on the {name} grid: "
            "use int8, or make the weights F32"
        )
    return grid._replace(largest_scale=float(_clear(np.float64(grid.largest_scale), grid.excess)))


def _clear(value: np.float64, excess: int) -> np.float64:
    return (value.view(np.int64) & ~np.int64(excess)).view(np.float64)


def grid_scale(codebook: Floats, grid: str, dtype: str = "F32") -> float:
    """The smallest scale of the grid by which no centroid has a digit above the limit; the largest scale, if none is
    large enough.

    codebook  floats (centroids,), finite as float32
    dtype     of the weights

    Raises ValueError as `grid_of` does.
    """
    limits = grid_of(grid, dtype)
    largest = np.abs(codebook.astype(np.float32)).max(initial=0)
    scale = min(np.float64(largest) / limits.limit, np.float64(limits.largest_scale))
    # both quotients are exact, and neither rounding up undoes the other
    scale = np.maximum(np.ceil(scale / limits.least_scale), 1) * limits.least_scale
    return float(_clear((scale.view(np.int64) + limits.excess).view(np.float64), limits.excess))


def to_grid(codebook: Floats, grid: str, dtype: str = "F32") -> Floats:
    """The centroids on the grid: the nearest digits (of two equally near the even one) times `grid_scale`; but the
    largest centroids by magnitude are rounded away from zero, so that a codebook on the grid stays as it is.

    codebook  floats (centroids,); what is not finite as float32 is given back as it is, all of it
    dtype     of the weights, in which every result is exact

    No result is a negative zero. The slow twin of `parametrize.Codebook`, bit for bit. Raises ValueError as `grid_of`
    does.
    """
    limit = grid_of(grid, dtype).limit
    with np.errstate(over="ignore"):
        centroids = codebook.astype(np.float32).astype(np.float64)
    if not np.isfinite(centroids).all():
        return codebook
    scale = grid_scale(codebook, grid, dtype)
    sizes = np.abs(centroids)
    digits = np.where(sizes == sizes.max(initial=0), np.ceil(sizes / scale), np.rint(sizes / scale))
    digits = np.minimum(digits, limit)
    return np.where(digits > 0, np.copysign(digits * scale, centroids), 0.0).astype(codebook.dtype)


class OnGrid(NamedTuple):
    """What a codebook on a grid is: the grid's name, its scale (exact in float32) and the int16 digit of each
    centroid.
    """

    grid: str
    scale: float
    digits: NDArray[np.int16]


def digits_on_grid(codebook: Floats) -> OnGrid | None:
    """Recognises a codebook that is on a grid, int8 before int16, by the largest scale that explains it; None if it
    is on none.

    codebook  ordinary floats (centroids,) of any width, as `widen` gives them

    Exact: each centroid is the float32 of its digit times the scale. A negative zero has the digit 0.
    """
    with np.errstate(over="ignore"):
        if not np.isfinite(codebook.astype(np.float32)).all():
            return None
    ratios = [Fraction(value) for value in codebook.astype(np.float64).tolist()]
    # all denominators are powers of two: the largest is a multiple of the others
    denominator = max((ratio.denominator for ratio in ratios), default=1)
    numerators = [int(ratio * denominator) for ratio in ratios]
    divisor = math.gcd(*numerators)
    if divisor == 0:
        return OnGrid("int8", 1.0, np.zeros(len(codebook), np.int16))
    quotients = [numerator // divisor for numerator in numerators]
    for name in LIMITS:
        grid = grid_of(name)
        parts = _parts(divisor, grid.limit // max(map(abs, quotients)), grid.scale_bits)
        if parts is not None:
            scale = Fraction(divisor, parts * denominator)
            if (scale / Fraction(grid.least_scale)).denominator == 1:
                return OnGrid(name, float(scale), np.array([parts * q for q in quotients], np.int16))
    return None


def _parts(divisor: int, most: int, bits: int) -> int | None:
    """The least odd number of equal parts, at most `most`, into which an integer is cut so that each has so few
    significant bits.
    """
    odd = divisor // (divisor & -divisor)
    fewest = odd >> bits | 1
    return next((p for p in range(fewest, most + 1, 2) if odd % p == 0 and (odd // p).bit_length() <= bits), None)
