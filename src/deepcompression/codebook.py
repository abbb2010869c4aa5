"""Stage 2: survivors -> codebook and codes, by 1-D k-means (the paper's section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.grid import to_grid

Floats = NDArray[np.float32]


def linear(ordered: Floats, count: int, seed: int) -> Floats:
    """Centroids spaced evenly between the smallest and the largest survivor: the paper's choice, since it keeps the
    few large weights.
    """
    return np.linspace(ordered[0], ordered[-1], count, dtype=np.float64).astype(np.float32)


def density(ordered: Floats, count: int, seed: int) -> Floats:
    """Centroids at evenly spaced heights of the cumulative distribution."""
    at = (np.arange(count) + 0.5) * len(ordered) / count
    return ordered[at.astype(np.int64)]


def random(ordered: Floats, count: int, seed: int) -> Floats:
    """Survivors drawn at random, no value twice (Forgy)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    chosen = rng.choice(np.unique(ordered), count, replace=False)
    return np.sort(chosen)


def optimal(ordered: Floats, count: int, seed: int) -> Floats:
    """The centroids of the smallest possible squared error; Lloyd's rounds leave them as they are."""
    return _core.optimal_centroids(ordered, count)


CODEBOOKS: dict[str, Callable[[Floats, int, int], Floats]] = {
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
    values: Floats, bits: int, init: str = "linear", seed: int = 0, grid: str | None = None, dtype: str = "F32"
) -> Shared:
    """Shares values among at most 2^bits centroids: initial centroids by `init`, then Lloyd's k-means until nothing
    changes.

    values  float32 (survivors,), finite, in any order
    bits    1 to 8
    init    a name of `CODEBOOKS`
    grid    a name of `grid.LIMITS`: the centroids are rounded to it, and values go to the nearest rounded one
    dtype   of the weights, for the grid

    No centroid stays without a value. Where there are no more distinct values than centroids, the codebook is those
    values, and without a grid nothing is lost. Deterministic for a seed. Raises ValueError for a grid that the dtype
    cannot hold.
    """
    ordered = np.sort(values)
    count = 1 << bits
    # distinct values, counted no further than needed to know that there are enough
    steps = np.flatnonzero(ordered[1:] != ordered[:-1])
    if len(steps) < count:
        codebook = ordered[np.concatenate([[0], steps + 1])] if len(ordered) else ordered
    else:
        codebook = _core.lloyd(ordered, np.sort(CODEBOOKS[init](ordered, count, seed)))
    if not len(codebook):
        return Shared(codebook, np.zeros(0, np.uint8))
    if grid is not None:
        return _share_on_grid(values, codebook, grid, dtype)
    return Shared(codebook, _core.assign(values, codebook))


def _share_on_grid(values: Floats, codebook: Floats, grid: str, dtype: str) -> Shared:
    while True:
        codebook = np.unique(to_grid(codebook, grid, dtype))
        codes = _core.assign(values, codebook)
        used = np.bincount(codes, minlength=len(codebook)) > 0
        if used.all():
            return Shared(codebook, codes)
        # without the largest centroid the scale is another
        codebook = codebook[used]
