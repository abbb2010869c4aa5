"""One weight fitted to its layer's inputs: which weights become zero and which centroid the others get, so that the
layer's outputs change least.

The error E of a weight costs, in each group of its columns, sum_r rows[r] * E[r] H E[r]^T, where H are the second
moments of the inputs. With H = U D U^T, U unit upper triangular, that is a sum over columns j of D[j] * (E U)[:, j]^2:
columns are rounded one by one, each after it has taken over what those before it did wrong (Optimal Brain Surgeon's
update for a whole column: OBQ, GPTQ, LDLQ).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.criteria import largest, survivor_count
from deepcompression.metric import Floats, Metric
from deepcompression.slices import Weights, unpacked
from deepcompression.tensor import MAX_CENTROIDS, CompressedTensor, narrow

# The distance between centroids, in units of sqrt(penalty / importance): at high rates the entropy-coded uniform
# quantizer with distance d errs by d^2 / 12 and pays 2 ln 2 of that for a bit, so that d^2 = 6 / ln 2 penalties.
STEP = (6 / np.log(2)) ** 0.5

_BLOCK = 64
_SWEEPS = 3
_MAX_SIDE = (MAX_CENTROIDS - 2) // 2
_SAMPLE = 1 << 16
_LLOYD = 30


class Fitted(NamedTuple):
    """Codes int16 (groups, rows, columns) into centroids float32, ascending, of which number `zero` is 0."""

    codes: NDArray[np.int16]
    centroids: Floats
    zero: int

    def values(self) -> Floats:
        return self.centroids[self.codes]

    def compressed(self, shape: tuple[int, ...], dtype: str, flat: NDArray[np.int16] | None = None) -> CompressedTensor:
        """The tensor of these codes; `flat` are they in the tensor's own layout, where that is another."""
        codes = (self.codes if flat is None else flat).reshape(-1)
        positions = np.flatnonzero(codes != self.zero)
        found, number = np.unique(codes[positions], return_inverse=True)
        codebook = narrow(self.centroids[found], dtype)
        # canonical, since rounded to a narrow dtype, centroids may fall together
        return CompressedTensor(shape, positions, codebook, number.astype(np.uint8), dtype).canonical()


class _Rounding:
    """Values -> codes: those of the least cost, a value's importance times its squared error plus `price` a bit.

    Without a price the nearest centroid but for zero, which is kept for what is pruned.
    """

    def __init__(self, centroids: Floats, zero: int, price: float, counts: NDArray[np.float64]) -> None:
        self.centroids, self.zero, self.priced = centroids, zero, price > 0
        self.numbers = np.arange(len(centroids), dtype=np.int16)
        if not self.priced:
            self.numbers = np.delete(self.numbers, zero)
        near = centroids[self.numbers]
        self.middles = (near[1:] + near[:-1]) / 2
        self.inward = (self.numbers - np.sign(self.numbers - zero)).astype(np.int16)
        # what lies between neighbours is as frequent as they are: rare codes would otherwise die out by chance
        smooth = np.convolve(np.pad(counts, 1, mode="edge"), [0.25, 0.5, 0.25], "valid") + 0.5
        smooth[zero] = counts[zero] + 0.5
        self.prices = (price * -np.log2(smooth / smooth.sum())).astype(np.float32)

    def __call__(self, values: Floats, importance: Floats) -> NDArray[np.int16]:
        codes = (
            self.numbers[np.searchsorted(self.middles, values)]
            if len(self.numbers)
            else np.full_like(values, self.zero, np.int16)
        )
        if not self.priced:
            return codes
        best = importance * np.square(values - self.centroids[codes]) + self.prices[codes]
        inward = self.inward[codes]
        cost = importance * np.square(values - self.centroids[inward]) + self.prices[inward]
        codes = np.where(cost < best, inward, codes)
        zeroed = importance * np.square(values) + self.prices[self.zero]
        return np.where(zeroed < np.minimum(best, cost), np.int16(self.zero), codes)


class _Sums:
    """By code: how many, and the weighted mean of what was rounded to it."""

    def __init__(self, count: int) -> None:
        self.counts, self.weights, self.values = np.zeros((3, count))

    def add(self, codes: NDArray[np.int16], values: Floats, importance: Floats) -> None:
        flat, n = codes.reshape(-1), len(self.counts)
        weight = np.broadcast_to(importance, values.shape).reshape(-1)
        self.counts += np.bincount(flat, minlength=n)
        self.weights += np.bincount(flat, weight, n)
        self.values += np.bincount(flat, weight * values.reshape(-1), n)

    def means(self, centroids: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.weights > 0, self.values / self.weights, centroids).astype(np.float32)


def _sweep(
    ordered: Floats, metric: Metric, rounding: _Rounding, survives: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int16], _Sums]:
    """Rounds all columns, in order, each after it has taken over the errors before it."""
    groups, rows, columns = ordered.shape
    codes = np.empty((groups, rows, columns), np.int16)
    sums = _Sums(len(rounding.centroids))
    width = _BLOCK if metric.upper is not None else columns
    errors = np.zeros((groups, rows, columns), np.float32) if metric.upper is not None else None
    for start in range(0, columns, width):
        end = min(columns, start + width)
        targets = ordered[:, :, start:end].copy()
        importance = metric.rows[:, :, None] * metric.importance[:, None, start:end]
        if errors is None or metric.upper is None:
            codes[:, :, start:end] = rounding(targets, importance)
        else:
            if start:
                targets += errors[:, :, :start] @ metric.upper[:, :start, start:end]
            inside = metric.upper[:, start:end, start:end]
            for j in range(end - start):
                column = targets[:, :, j]
                code = rounding(column, importance[:, :, j])
                if survives is not None:
                    code = np.where(survives[:, :, start + j], code, np.int16(rounding.zero))
                codes[:, :, start + j] = code
                # by rounding, and by what this column took over
                error = ordered[:, :, start + j] - rounding.centroids[code]
                errors[:, :, start + j] = error
                if j + 1 < end - start:
                    targets[:, :, j + 1 :] += error[:, :, None] * inside[:, None, j, j + 1 :]
        if survives is not None and errors is None:
            codes[:, :, start:end][~survives[:, :, start:end]] = rounding.zero
        sums.add(codes[:, :, start:end], targets, importance)
    return codes, sums


def fit_penalty(weight: Floats, metric: Metric, penalty: float, survives: NDArray[np.bool_] | None = None) -> Fitted:
    """The weight with the least sum of its cost and of `penalty` units a bit of entropy-coded codes, zeros included.

    weight    float32 (groups, rows, columns), finite
    penalty   in units of `Metric.unit`; at high rates a bit more each time it is divided by 4
    survives  what may be other than zero, bool like the weight
    """
    price = penalty * metric.unit(weight)
    ordered = _ordered(weight, metric)
    if not price or not weight.size:
        return Fitted(np.zeros(weight.shape, np.int16), np.zeros(1, np.float32), 0)
    centroids, zero = _lattice(ordered, metric, price)
    return _settle(ordered, metric, centroids, zero, price, None if survives is None else _ordered(survives, metric))


def fit_share(
    weight: Floats, metric: Metric, bits: int, density: float = 1.0, survives: NDArray[np.bool_] | None = None
) -> Fitted:
    """The weight pruned to a density by the saliency of Optimal Brain Surgeon, one threshold for all of it, and shared
    among at most 2^bits centroids.

    weight    float32 (groups, rows, columns), finite
    bits      1 to 8
    survives  in place of the density: which weights do, bool like the weight
    """
    ordered = _ordered(weight, metric)
    kept = prune_mask(weight, metric, density) if survives is None else survives
    kept = _ordered(kept, metric)
    importance = np.broadcast_to(metric.weights(), ordered.shape)[kept]
    side = _weighted_centroids(ordered[kept], importance, 1 << bits)
    zero = int(np.searchsorted(side, 0))
    return _settle(ordered, metric, np.insert(side, zero, np.float32(0)), zero, 0.0, kept)


def prune_mask(weight: Floats, metric: Metric, density: float) -> NDArray[np.bool_]:
    """Which weights survive: those with the largest w^2 / [H^-1]_jj, an exact count, the first of equals."""
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
    step = max(1, len(values) // _SAMPLE)
    by_value = np.argsort(values, kind="stable")[::step]
    values, weights = values[by_value].astype(np.float64), weights[by_value].astype(np.float64)
    # the best density of centroids goes with the cube root of that of the weighted values
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
    ordered: Floats,
    metric: Metric,
    centroids: Floats,
    zero: int,
    price: float,
    survives: NDArray[np.bool_] | None,
) -> Fitted:
    """Sweeps; after each, centroids move to the mean of what was rounded to them. The best of all sweeps."""
    nearest = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, ordered)
    counts = np.bincount(nearest.reshape(-1), minlength=len(centroids)).astype(np.float64)
    best: tuple[float, NDArray[np.int16], Floats, int] | None = None
    for _ in range(_SWEEPS):
        rounding = _Rounding(centroids, zero, price, counts)
        codes, sums = _sweep(ordered, metric, rounding, survives)
        counts = sums.counts
        error = ordered - centroids[codes]
        through = error if metric.upper is None else error @ metric.upper
        cost = float(np.einsum("grc,gr,gc->", np.square(through, dtype=np.float64), metric.rows, metric.importance))
        used = counts[counts > 0]
        cost += price * float(-(used * np.log2(used / used.sum())).sum())
        if best is None or cost < best[0]:
            best = cost, codes, centroids, zero
        centroids = sums.means(centroids)
        centroids[zero] = 0
        centroids.sort()
        zero = int(np.searchsorted(centroids, 0))
    assert best is not None
    back = np.empty_like(best[1])
    np.put_along_axis(back, np.broadcast_to(metric.order[:, None, :], back.shape), best[1], 2)
    return Fitted(back, best[2], best[3])


def _lattice(ordered: Floats, metric: Metric, price: float) -> tuple[Floats, int]:
    """Centroids outward from zero, at each size as far apart as the importance of weights of that size allows."""
    weights = np.broadcast_to(metric.weights(), ordered.shape).reshape(-1)
    sizes = np.abs(ordered).reshape(-1)
    step = max(1, len(sizes) // _SAMPLE)
    sizes, weights = sizes[::step], weights[::step]
    by_size = np.argsort(sizes, kind="stable")
    parts = np.array_split(by_size, min(32, len(by_size)))
    limits = np.array([sizes[part[-1]] for part in parts], np.float64)
    distances = np.array([STEP * (price / max(float(weights[part].mean()), 1e-30)) ** 0.5 for part in parts])
    largest = float(np.abs(ordered).max(initial=0))
    limits[-1] = largest
    # so many steps lie below each limit
    widths = np.diff(limits, prepend=0)
    heights = np.concatenate([[0], np.cumsum(widths * _densities(1 / distances, widths))])
    at = np.arange(1, max(1, round(heights[-1])) + 1)
    side = np.interp(at, heights, np.concatenate([[0], limits]))
    side = np.unique(side[side > 0].astype(np.float32))
    return np.concatenate([-side[::-1], np.zeros(1, np.float32), side]), len(side)


def _densities(wanted: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of centroids, in parts of so many weights each: what is wanted, or, where that takes too many centroids, the best
    that there is room for: with a price k of each centroid, k * width * density^3 + density^2 = wanted^2.
    """
    if wanted @ widths <= _MAX_SIDE:
        return wanted

    def at(k: float) -> NDArray[np.float64]:
        found = wanted.copy()
        # by Newton's method, from above; each step divides by 3/2 at least until it is near
        for _ in range(50):
            cube = k * widths * found
            found -= (found * found * (cube + 1) - wanted * wanted) / (found * (3 * cube + 2))
        return found

    scale = 1 / float(wanted @ widths)
    low, high = -40.0, 80.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at(scale * np.exp(middle)) @ widths > _MAX_SIDE else (low, middle)
    return at(scale * np.exp(high))
