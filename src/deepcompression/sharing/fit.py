"""One weight fitted to its layer's inputs: zeros and centroids are chosen to change the layer's outputs least.

The error E of a weight costs, in each group of its columns, sum_r rows[r] * E[r] H E[r]^T, where H are the second
moments of the inputs. With H = U D U^T, U unit upper triangular, that is a sum over columns j of D[j] * (E U)[:, j]^2.
So columns are rounded one by one, and each first corrects the errors of those before it (Optimal Brain Surgeon's update
for a whole column: OBQ, GPTQ, LDLQ).
"""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.pruning.criteria import largest, survivor_count
from deepcompression.sharing.error_cost import Metric
from deepcompression.tensors.dtypes import Array, Floats, Shape, narrow
from deepcompression.tensors.slices import Weights, unpacked
from deepcompression.tensors.tensor import MAX_CENTROIDS, CompressedTensor

# The distance between centroids, in units of sqrt(penalty / importance). At high rates an entropy-coded uniform
# quantizer with distance d has the error d^2 / 12, and one bit is worth 2 ln 2 of that: d^2 = 6 / ln 2 penalties.
STEP = (6 / np.log(2)) ** 0.5

# The exponents of ordinary weights: sums of their squares fit in float32, and so do the inverses of these.
_ORDINARY = 40

_BLOCK = 64
_SWEEPS = 3
_MAX_SIDE = (MAX_CENTROIDS - 2) // 2
_SAMPLE = 1 << 16
_LLOYD = 30


def exponent_of(largest: float) -> int:
    """The power of two to divide weights by, so that float32 can hold their squares: 0 unless they are very large or
    small.

    largest  the largest magnitude, finite
    """
    exponent = math.frexp(largest)[1]
    return exponent if abs(exponent) > _ORDINARY else 0


def times_power(values: Array, exponent: int) -> Array:
    """Values times a power of two: floats as they are for 0, else float64."""
    return np.ldexp(values.astype(np.float64), exponent) if exponent else values


class Fitted(NamedTuple):
    """Codes int16 (groups, rows, columns) into centroids float32, ascending; the code of 0; the cost of the errors."""

    codes: NDArray[np.int16]
    centroids: Floats
    zero: int
    cost: float

    def values(self) -> Floats:
        return self.centroids[self.codes]

    def compressed(
        self, shape: Shape, dtype: str, flat: NDArray[np.int16] | None = None, exponent: int = 0
    ) -> CompressedTensor:
        """The tensor of these codes.

        flat      has them in the tensor's own layout if that differs
        exponent  of `exponent_of`, if the weights were divided by that power of two
        """
        codes = (self.codes if flat is None else flat).reshape(-1)
        positions = np.flatnonzero(codes != self.zero)
        found, number = np.unique(codes[positions], return_inverse=True)
        codebook = narrow(times_power(self.centroids[found], exponent), dtype)
        # canonical: centroids may become equal when rounded to a narrow dtype
        return CompressedTensor(shape, positions, codebook, number.astype(np.uint8), dtype).canonical()


class _Sweep(NamedTuple):
    """The result of a sweep: codes, in the order of rounding; the cost of their errors; for each code its number of
    weights, and the mean of the values rounded to it, weighted by importance.
    """

    codes: NDArray[np.int16]
    cost: float
    counts: NDArray[np.float64]
    means: Floats


def _prices(counts: NDArray[np.float64], zero: int, price: float) -> Floats:
    """The price of each code by its number of weights."""
    # smoothed over neighbours: rare codes would otherwise die out by chance
    smooth = np.convolve(np.pad(counts, 1, mode="edge"), [0.25, 0.5, 0.25], "valid") + 0.5
    smooth[zero] = counts[zero] + 0.5
    prices: Floats = (price * -np.log2(smooth / smooth.sum())).astype(np.float32)
    return prices


def _sweep(
    ordered: Floats,
    metric: Metric,
    centroids: Floats,
    zero: int,
    prices: Floats | None,
    survives: NDArray[np.bool_] | None,
) -> _Sweep:
    """Rounds all columns, in order, each corrected for the errors before it: to the code of the least cost and price
    or, without prices, to the nearest centroid other than zero, which is reserved for pruned weights.
    """
    columns, upper = ordered.shape[2], metric.upper
    codes = np.empty(ordered.shape, np.int16)
    errors = np.empty(ordered.shape, np.float32)
    counts, weights, sums = np.zeros((3, len(centroids)))
    width = _BLOCK if upper is not None else max(1, columns)
    cost = 0.0
    for start in range(0, columns, width):
        end = min(columns, start + width)
        targets = ordered[:, :, start:end].copy()
        if upper is not None and start:
            targets = targets + errors[:, :, :start] @ upper[:, :start, start:end]
        cost += _core.round_columns(
            centroids=centroids,
            zero=zero,
            prices=prices,
            first=start,
            weights=ordered,
            upper=upper,
            importance=metric.importance,
            row_weights=metric.rows,
            survives=survives,
            targets=targets,
            codes=codes,
            errors=errors,
            counts=counts,
            sums_of_weights=weights,
            sums=sums,
            threads=os.cpu_count() or 1,
        )
    means = np.where(weights > 0, sums / np.where(weights > 0, weights, 1), centroids).astype(np.float32)
    return _Sweep(codes, cost, counts, means)


def fit_penalty(weight: Floats, metric: Metric, penalty: float, survives: NDArray[np.bool_] | None = None) -> Fitted:
    """The fit with the least sum of its cost and of `penalty` units for each bit of entropy-coded codes, zeros
    included.

    weight    float32 (groups, rows, columns), finite
    penalty   in units of `Metric.unit`; at high rates, dividing it by 4 adds a bit to each weight
    survives  bool like the weight: the weights that may be other than zero
    """
    price = penalty * metric.unit(weight)
    if not price or not weight.size:
        return Fitted(np.zeros(weight.shape, np.int16), np.zeros(1, np.float32), 0, 0.0)
    ordered = _ordered(weight, metric)
    centroids, zero = _lattice(ordered, metric, price)
    return _settle(ordered, metric, centroids, zero, price, None if survives is None else _ordered(survives, metric))


def fit_share(weight: Floats, metric: Metric, bits: int, survives: NDArray[np.bool_] | None = None) -> Fitted:
    """The survivors shared among at most 2^bits centroids; all other weights are zero.

    weight    float32 (groups, rows, columns), finite
    bits      1 to 8
    survives  bool like the weight; None for all
    """
    ordered = _ordered(weight, metric)
    kept = np.ones(ordered.shape, np.bool_) if survives is None else _ordered(survives, metric)
    importance = np.broadcast_to(metric.weights(), ordered.shape)[kept]
    side = _weighted_centroids(ordered[kept], importance, 1 << bits)
    zero = int(np.searchsorted(side, 0))
    return _settle(ordered, metric, np.insert(side, zero, np.float32(0)), zero, 0.0, kept)


def prune_mask(weight: Floats, metric: Metric, density: float) -> NDArray[np.bool_]:
    """The survivors at a density: the largest w^2 / [H^-1]_jj (Optimal Brain Surgeon), the first on ties."""
    saliency = np.square(weight, dtype=np.float64) * metric.rows[:, :, None] / metric.inverse_diagonal()[:, None, :]
    survives = largest(Weights.of(saliency), survivor_count(weight.size, density))
    return unpacked(survives, slice(0, weight.size)).reshape(weight.shape)


def _ordered(part: Any, metric: Metric) -> Any:
    return np.take_along_axis(part, metric.order[:, None, :], 2)


def _weighted_centroids(values: Floats, weights: Floats, count: int) -> Floats:
    """Lloyd's k-means of values with weights, from centroids at equal heights of the cumulative weights^(1/3)."""
    distinct = np.unique(values)
    if len(distinct) <= count:
        few: Floats = distinct[distinct != 0]
        return few
    by_value = np.argsort(values, kind="stable")[:: max(1, len(values) // _SAMPLE)]
    values, weights = values[by_value].astype(np.float64), weights[by_value].astype(np.float64)
    # the best density of centroids is proportional to the cube root of that of the weighted values
    density = np.cbrt(np.maximum(weights, 1e-30))
    heights = np.cumsum(density) / density.sum()
    centroids = values[np.minimum(np.searchsorted(heights, (np.arange(count) + 0.5) / count), len(values) - 1)]
    for _ in range(_LLOYD):
        codes = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        total = np.bincount(codes, weights, count)
        sums = np.bincount(codes, weights * values, count)
        centroids = np.where(total > 0, sums / np.maximum(total, 1e-300), centroids)
    centroids = np.unique(centroids.astype(np.float32))
    nonzero: Floats = centroids[centroids != 0]
    return nonzero


def _settle(
    ordered: Floats, metric: Metric, centroids: Floats, zero: int, price: float, survives: NDArray[np.bool_] | None
) -> Fitted:
    """The best of several sweeps; after each, centroids move to the mean of the values rounded to them."""
    nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, ordered.reshape(-1))
    counts = np.bincount(nearest, minlength=len(centroids)).astype(np.float64)
    best: tuple[float, _Sweep, Floats, int] | None = None
    for _ in range(_SWEEPS):
        swept = _sweep(ordered, metric, centroids, zero, _prices(counts, zero, price) if price else None, survives)
        counts = swept.counts
        used = counts[counts > 0]
        cost = swept.cost + price * float(-(used * np.log2(used / used.sum())).sum())
        if best is None or cost < best[0]:
            best = cost, swept, centroids, zero
        centroids = swept.means
        centroids[zero] = 0
        centroids.sort()
        zero = int(np.searchsorted(centroids, 0))
    assert best is not None
    _, swept, centroids, zero = best
    back = np.empty_like(swept.codes)
    np.put_along_axis(back, np.broadcast_to(metric.order[:, None, :], back.shape), swept.codes, 2)
    return Fitted(back, centroids, zero, swept.cost)


def _lattice(ordered: Floats, metric: Metric, price: float) -> tuple[Floats, int]:
    """Centroids outward from zero, at distances by the importance of weights of each size; the code of zero."""
    weights = np.broadcast_to(metric.weights(), ordered.shape).reshape(-1)
    sizes = np.abs(ordered).reshape(-1)
    step, largest_size = max(1, len(sizes) // _SAMPLE), sizes.max(initial=0)
    sizes, weights = sizes[::step], weights[::step]
    parts = _by_size(np.argsort(sizes, kind="stable"))
    limits = np.array([sizes[part[-1]] for part in parts], np.float64)
    limits[-1] = largest_size
    distances = np.array([STEP * (price / max(float(weights[part].mean()), 1e-30)) ** 0.5 for part in parts])
    widths = np.diff(limits, prepend=0)
    counts = np.array([len(part) for part in parts])
    # the number of centroids below each limit
    heights = np.concatenate([[0], np.cumsum(widths * _densities(1 / distances, widths, counts))])
    at = np.arange(1, max(1, round(heights[-1])) + 1)
    side = np.interp(at, heights, np.concatenate([[0], limits]))
    side = np.unique(side[side > 0].astype(np.float32))
    return np.concatenate([-side[::-1], np.zeros(1, np.float32), side]), len(side)


def _by_size(order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of weights, the smallest first, in equal parts; the last is halved down to one, for few large weights."""
    parts = np.array_split(order, min(32, len(order)))
    while len(parts[-1]) > 1:
        parts[-1:] = np.array_split(parts[-1], 2)
    return parts


def _densities(
    wanted: NDArray[np.float64], widths: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The density of centroids in parts with these counts of weights: as wanted, or the best with at most `_MAX_SIDE`
    centroids. With a price k for each centroid, that has k * width / count * density^3 + density^2 = wanted^2.
    """
    if wanted @ widths <= _MAX_SIDE:
        return wanted
    thinness = widths / counts

    def at(k: float) -> NDArray[np.float64]:
        found = wanted.copy()
        # Newton's method, from above; each step divides by at least 3/2 until it is near
        for _ in range(50):
            cube = k * thinness * found
            found -= (found * found * (cube + 1) - wanted * wanted) / (found * (3 * cube + 2))
        return found

    scale = 1 / float(wanted @ thinness)
    low, high = -40.0, 80.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at(scale * np.exp(middle)) @ widths > _MAX_SIDE else (low, middle)
    return at(scale * np.exp(high))
