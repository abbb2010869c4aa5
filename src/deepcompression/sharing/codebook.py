"""Stage 2: survivors -> codebook and codes, by 1-D k-means (the paper's section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.tensors.dtypes import Floats
from deepcompression.tensors.grid import to_grid
from deepcompression.tensors.slices import Weights

Counts = NDArray[np.uint64]

# Up to so many values are sorted; more are counted in bins.
_MOST_SORTED = 1 << 19
_MOST_BINS = 1 << 18
_DIGIT_BITS = 16
# Bits after the first 16 of a float32 that can be set in values of a dtype.
_LOW_BITS = {"F64": 16, "F32": 16, "F16": 3, "BF16": 0}


def linear(ordered: Floats, count: int, seed: int, times: Counts | None = None) -> Floats:
    """Centroids at even distances over all survivors: the paper's choice, since it keeps the few large weights."""
    return np.linspace(ordered[0], ordered[-1], count, dtype=np.float64).astype(np.float32)


def density(ordered: Floats, count: int, seed: int, times: Counts | None = None) -> Floats:
    """Centroids at evenly spaced heights of the cumulative distribution."""
    total = len(ordered) if times is None else int(times.sum())
    at = ((np.arange(count) + 0.5) * total / count).astype(np.int64)
    return ordered[at if times is None else np.searchsorted(np.cumsum(times), at, side="right")]


def random(ordered: Floats, count: int, seed: int, times: Counts | None = None) -> Floats:
    """Survivors drawn at random, no value twice (Forgy)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = rng.choice(np.unique(ordered), count, replace=False)
    return np.sort(chosen)


def optimal(ordered: Floats, count: int, seed: int, times: Counts | None = None) -> Floats:
    """The centroids of the least possible squared error; Lloyd's rounds do not change them."""
    return _core.optimal_centroids(ordered, count, times)


# (values ascending, number of centroids, seed, number of times that each value occurs) -> initial centroids, unordered
CODEBOOKS: dict[str, Callable[[Floats, int, int, Counts | None], Floats]] = {
    "linear": linear,
    "density": density,
    "random": random,
    "optimal": optimal,
}


class Shared(NamedTuple):
    """A codebook of float32 centroids, ascending, and the uint8 code of each value."""

    codebook: Floats
    codes: NDArray[np.uint8]


def share_values(
    values: Weights, bits: int, init: str = "linear", seed: int = 0, grid: str | None = None, dtype: str = "F32"
) -> Shared:
    """Shares values among at most 2^bits centroids: initial centroids by `init`, then Lloyd's k-means until nothing
    changes.

    values  the survivors, float32 and finite, in any order
    bits    1 to 8
    init    a name of `CODEBOOKS`
    grid    a name of `grid.LIMITS`: the centroids are rounded to it, and values go to the nearest rounded one
    dtype   of the weights, for the grid

    Every centroid has a value. If there are no more distinct values than centroids, those values are the codebook, and
    without a grid nothing is lost. Above 2^19 values of F32 or F64, only about 18 bits of each count. Deterministic
    for a seed. Raises ValueError for a grid that the dtype cannot hold.
    """
    codebook = _codebook(values, 1 << bits, init, seed, dtype)
    codes = np.zeros(values.size, np.uint8)
    while len(codebook):
        if grid is not None:
            codebook = np.unique(to_grid(codebook, grid, dtype))
        used = _assign(values, codebook, codes)
        if used.all():
            break
        # on a grid the scale may change without the largest centroid
        codebook = codebook[used]
    return Shared(codebook, codes)


def _assign(values: Weights, codebook: Floats, codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Fills in the codes, and returns a bool for each centroid: whether it is used."""
    used = np.zeros(len(codebook), bool)
    at = 0
    for part in values.slices():
        found = codes[at : at + len(part)]
        found[:] = _core.assign(part, codebook)
        used |= np.bincount(found, minlength=len(codebook)) > 0
        at += len(part)
    return used


def _codebook(values: Weights, count: int, init: str, seed: int, dtype: str) -> Floats:
    if values.size <= _MOST_SORTED:
        ordered, times = np.sort(np.concatenate([np.zeros(0, np.float32), *values.slices()])), None
        steps = np.flatnonzero(ordered[1:] != ordered[:-1])
        if len(steps) < count:
            return ordered[np.concatenate([[0], steps + 1])] if len(ordered) else ordered
    else:
        ordered, times = _bins(values, dtype)
        if len(ordered) <= count:
            ordered, times = _distinct(values)
        if len(ordered) <= count:
            return ordered
    return _core.lloyd(ordered, np.sort(CODEBOOKS[init](ordered, count, seed, times)), times)


def _bins(values: Weights, dtype: str) -> tuple[Floats, Counts]:
    """Means and counts of bins of values, ascending. F16 and BF16 have a bin for each distinct value; other dtypes have
    bins of one width wherever there are many values, as narrow as `_MOST_BINS` allows.
    """
    digits = np.zeros(1 << _DIGIT_BITS, np.uint64)
    for part in values.slices():
        _core.count_digits(part, digits)
    occupied = np.flatnonzero(digits)
    # a digit is a sign, an exponent and 7 more bits; digits of negative values are inverted, and below 2^15
    exponent = np.where(occupied < 1 << 15, (1 << 16) - 1 - occupied, occupied) >> 7 & 255
    width = np.maximum(exponent, 1)
    # few values need few bins
    most = np.minimum(_LOW_BITS[dtype], 2 + np.ceil(np.log2(digits[occupied].astype(np.float64))).astype(np.int64))
    split = most
    for narrowest in range(1 - _DIGIT_BITS, 256):
        split = np.clip(width - narrowest, 0, most)
        if int((1 << split).sum()) <= _MOST_BINS:
            break
    ends = np.cumsum(1 << split)
    first, splits = np.zeros(len(digits), np.uint64), np.zeros(len(digits), np.uint8)
    first[occupied], splits[occupied] = ends - (1 << split), split
    counts, sums = np.zeros(ends[-1], np.uint64), np.zeros(ends[-1], np.float64)
    for part in values.slices():
        _core.add_to_bins(part, first, splits, counts, sums)
    full = counts > 0
    return (sums[full] / counts[full]).astype(np.float32), counts[full]


def _distinct(values: Weights) -> tuple[Floats, Counts]:
    """The distinct values, ascending, and their counts."""
    ordered = np.zeros(0, np.float32)
    for part in values.slices():
        ordered = np.union1d(ordered, part)
    counts = np.zeros(len(ordered), np.uint64)
    for part in values.slices():
        counts += np.bincount(np.searchsorted(ordered, part), minlength=len(ordered)).astype(np.uint64)
    return ordered, counts
