"""Codebooks on a grid: every centroid is an int8 or int16 digit times one scale (docs/method.md defines it)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepcompression.tensors.dtypes import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

# name of a grid -> its largest digit. Kernels hold an int16 digit as 256 * high + low, both int8: 256 * 127 + 127.
LIMITS = {"int8": 127, "int16": 32639}

_FLOAT32 = (24, 2.0**-149, (2 - 2.0**-23) * 2.0**127)

# dtype -> bits of a significand, the smallest positive value, the largest value. For F64 too, the multiples of a scale
# are exact in float32: kernels need nothing wider.
_FORMATS = {
    "F64": _FLOAT32,
    "F32": _FLOAT32,
    "F16": (11, 2.0**-24, 65504.0),
    "BF16": (8, 2.0**-133, (2 - 2.0**-7) * 2.0**127),
}


class Grid(NamedTuple):
    """A grid within a dtype.

    limit          the largest digit
    scale_bits     the most significant bits of a scale whose multiples are all exact
    least_scale    the smallest scale: all scales are multiples of it
    largest_scale  the largest scale whose multiples are finite
    """

    limit: int
    scale_bits: int
    least_scale: float
    largest_scale: float

    @property
    def excess(self) -> int:
        """The bits of a float64 that must be zero in a scale."""
        return (1 << (53 - self.scale_bits)) - 1


def grid_of(name: str, dtype: str = "F32") -> Grid:
    """A grid for weights of a dtype. Raises ValueError for an unknown name, or a dtype that cannot hold the grid."""
    if name not in LIMITS:
        raise ValueError(f"unknown grid {name!r}; known are {', '.join(LIMITS)}")
    limit, (significand, least, largest) = LIMITS[name], _FORMATS[dtype]
    grid = Grid(limit, significand - limit.bit_length(), least, largest / limit)
    if grid.scale_bits < 1:
        raise ValueError(
            f"{dtype} has {significand} significant bits, too few for a codebook on the {name} grid: "
            "use int8, or make the weights F32"
        )
    return grid._replace(largest_scale=float(_clear(np.float64(grid.largest_scale), grid.excess)))


def _clear(value: np.float64, excess: int) -> np.float64:
    return (value.view(np.int64) & ~np.int64(excess)).view(np.float64)


def grid_scale(codebook: Array, grid: str, dtype: str = "F32") -> float:
    """The smallest scale by which all digits are within the limit, or the largest scale; for finite centroids."""
    limits = grid_of(grid, dtype)
    largest = np.abs(codebook.astype(np.float32)).max(initial=0)
    scale = min(np.float64(largest) / limits.limit, np.float64(limits.largest_scale))
    # both quotients are exact, and neither of the two roundings undoes the other
    scale = np.maximum(np.ceil(scale / limits.least_scale), 1) * limits.least_scale
    return float(_clear((scale.view(np.int64) + limits.excess).view(np.float64), limits.excess))


def to_grid(codebook: Array, grid: str, dtype: str = "F32") -> Array:
    """The centroids on the grid: the nearest digits (the even one on ties) times `grid_scale`. The largest centroids by
    magnitude are rounded away from zero, so a codebook on the grid does not change.

    codebook  floats (centroids,); returned unchanged unless all are finite as float32
    dtype     of the weights; every result is exact in it

    No result is a negative zero. Equal to `parametrizations.Codebook` bit for bit. Raises ValueError as `grid_of` does.
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
    """A codebook on a grid: the grid's name, its scale (exact in float32) and the int16 digit of each centroid."""

    grid: str
    scale: float
    digits: NDArray[np.int16]


def digits_on_grid(codebook: Array) -> OnGrid | None:
    """Recognises a codebook on a grid, int8 before int16, by the largest scale that explains it; None if it is on
    neither.

    codebook  floats (centroids,) of any width, as `widen` returns them

    Exact: each centroid is the float32 of its digit times the scale. A negative zero has the digit 0.
    """
    with np.errstate(over="ignore"):
        if not np.isfinite(codebook.astype(np.float32)).all():
            return None
    ratios = [value.as_integer_ratio() for value in codebook.astype(np.float64).tolist()]
    # all denominators are powers of two: the largest is a multiple of the others
    denominator = max((below for _, below in ratios), default=1)
    numerators = [above * (denominator // below) for above, below in ratios]
    divisor = math.gcd(*numerators)
    if divisor == 0:
        return OnGrid("int8", 1.0, np.zeros(len(codebook), np.int16))
    quotients = [numerator // divisor for numerator in numerators]
    for name in LIMITS:
        grid = grid_of(name)
        parts = _parts(divisor, grid.limit // max(map(abs, quotients)), grid.scale_bits)
        if parts is not None:
            # the scale is above / below, in whole numbers: the module fractions takes long to import
            above, below = divisor, parts * denominator
            least_above, least_below = grid.least_scale.as_integer_ratio()
            if above * least_below % (below * least_above) == 0:
                return OnGrid(name, above / below, np.array([parts * q for q in quotients], np.int16))
    return None


def _parts(divisor: int, most: int, bits: int) -> int | None:
    """The least odd number of equal parts, at most `most`, of at most `bits` significant bits each, or None."""
    odd = divisor // (divisor & -divisor)
    fewest = odd >> bits | 1
    return next((p for p in range(fewest, most + 1, 2) if odd % p == 0 and (odd // p).bit_length() <= bits), None)
