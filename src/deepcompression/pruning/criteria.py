"""Stage 1: weights -> masks, by the criteria of the paper (section 2) and of its companion (NIPS 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from deepcompression import _core
from deepcompression.common.one_of import one_of
from deepcompression.common.settings import RecipePart
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.slices import Bits, Weights, packed, spans, unpacked

# Weights -> the bitmap of the survivors.
Select = Callable[[Weights], Bits]

_DIGIT_BITS = 16


def survivor_count(size: int, density: float) -> int:
    """The number of survivors among `size` weights at a density: the nearest count, halves rounded up."""
    return math.floor(size * density + 0.5)


def _integers(values: Array) -> Array:
    """Magnitudes as unsigned integers of the same order: the bits of each float without its sign."""
    bits = values.view(f"u{values.itemsize}")
    magnitudes: Array = bits & bits.dtype.type((1 << (8 * values.itemsize - 1)) - 1)
    return magnitudes


class _Cut(NamedTuple):
    """Survivors have magnitudes, as in `_integers`, above `bound`, or are the first `equal` that equal it."""

    bound: int
    equal: int

    def bits(self, weights: Weights) -> Bits:
        left = self.equal

        def masks() -> Iterator[NDArray[np.bool_]]:
            nonlocal left
            for values in weights.slices():
                magnitudes = _integers(values)
                mask = magnitudes > self.bound
                if left > 0:
                    chosen = np.flatnonzero(magnitudes == self.bound)[:left]
                    mask[chosen] = True
                    left -= len(chosen)
                yield mask

        return packed(masks(), weights.size)


def _cut(group: Sequence[Weights], count: int) -> tuple[_Cut, int]:
    """The cut that leaves exactly the `count` largest magnitudes of a group, and the number that equal its bound.

    A radix selection: each pass over the weights finds 16 more bits of the bound.
    """
    width = 8 * group[0].dtype.itemsize
    if count == 0:
        return _Cut((1 << width) - 1, 0), 0
    if count == sum(weights.size for weights in group):
        return _Cut(-1, 0), 0
    bound, left = 0, count
    counts = np.zeros(1 << _DIGIT_BITS, np.uint64)
    for shift in range(width - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts[:] = 0
        for weights in group:
            for values in weights.slices():
                _core.count_magnitudes(values.view(np.uint8), width // 8, bound, shift, counts)
        from_above = np.cumsum(counts[::-1])
        digit = len(counts) - 1 - int(np.searchsorted(from_above, left))
        left -= int(from_above[len(counts) - 1 - digit] - counts[digit])
        bound = bound << _DIGIT_BITS | digit
    return _Cut(bound, left), int(counts[digit])


def largest(weights: Weights, count: int) -> Bits:
    """Exactly the `count` largest magnitudes survive, the first on ties."""
    return _cut([weights], count)[0].bits(weights)


def magnitude(group: Sequence[Weights], density: float, seed: int) -> list[Select]:
    """The largest weights of each tensor survive, an exact count."""
    return [lambda weights: largest(weights, survivor_count(weights.size, density))] * len(group)


def global_magnitude(group: Sequence[Weights], density: float, seed: int) -> list[Select]:
    """The largest weights of all tensors together survive, an exact count: one threshold for all."""
    common = np.result_type(*(weights.dtype for weights in group))

    def alike(weights: Weights) -> Weights:
        return Weights(weights.size, common, lambda: (v.astype(common, copy=False) for v in weights.slices()))

    def above(cut: _Cut) -> Select:
        return lambda weights: cut.bits(alike(weights))

    count = survivor_count(sum(weights.size for weights in group), density)
    cut, equal = _cut([alike(weights) for weights in group], count)
    left = cut.equal
    selects: list[Select] = []
    for weights in group:
        here = left
        if 0 < left < equal:
            here = sum(int(np.count_nonzero(_integers(v) == cut.bound)) for v in alike(weights).slices())
        own = _Cut(cut.bound, min(left, here))
        selects.append(above(own))
        left -= own.equal if left < equal else 0
    return selects


def threshold(group: Sequence[Weights], quality: float, seed: int) -> list[Select]:
    """Weights larger than quality x the standard deviation of their tensor survive (the companion paper's rule).

    Weights that are zero, pruned by an earlier round, do not count towards the deviation.
    """

    def select(weights: Weights) -> Bits:
        def left() -> Iterator[NDArray[np.float64]]:
            return (values[values != 0].astype(np.float64) for values in weights.slices())

        count = max(1, sum(map(len, left())))
        mean = sum(float(values.sum()) for values in left()) / count
        # a NumPy float64: weights are compared as float64
        bound = np.float64(quality * math.sqrt(sum(float(((v - mean) ** 2).sum()) for v in left()) / count))
        return packed(((v != 0) & (np.abs(v) > bound) for v in weights.slices()), weights.size)

    return [select] * len(group)


def random(group: Sequence[Weights], density: float, seed: int) -> list[Select]:
    """A random choice of each tensor survives, an exact count, whatever the weights are: the control.

    For one seed, the survivors at a lower density are among those at a higher one.
    """

    def drawn(size: int, before: int) -> Weights:
        """The draws for one tensor, after `before` draws for earlier ones."""

        def slices() -> Iterator[Array]:
            rng = np.random.Generator(np.random.PCG64(seed).advance(before))
            return (rng.random(span.stop - span.start) for span in spans(size))

        return Weights(size, np.dtype(np.float64), slices)

    def after(before: int) -> Select:
        return lambda weights: largest(drawn(weights.size, before), survivor_count(weights.size, density))

    ends = list(accumulate((weights.size for weights in group), initial=0))
    return [after(before) for before in ends[:-1]]


class Criterion(NamedTuple):
    """A choice of masks.

    select    `select(group, amount, seed)` gives a `Select` for each tensor of a group, to call with that tensor's
              weights, in any order; it reads weights only where tensors decide together
    amount    the recipe's name for the amount: the density to reach, or the quality
    together  whether the tensors of a group decide together
    """

    select: Callable[[Sequence[Weights], float, int], list[Select]]
    amount: Literal["density", "quality"]
    together: bool = False

    def masks(self, weights: Sequence[Array], amount: float, seed: int) -> list[NDArray[np.bool_]]:
        """A bool array for each float array, True for survivors."""
        group = [Weights.of(np.ascontiguousarray(array)) for array in weights]
        selects = self.select(group, amount, seed)
        return [
            unpacked(select(each), slice(0, each.size)).reshape(array.shape)
            for select, each, array in zip(selects, group, weights, strict=True)
        ]


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude, "density"),
    "global-magnitude": Criterion(global_magnitude, "density", together=True),
    "threshold": Criterion(threshold, "quality"),
    "random": Criterion(random, "density"),
}


class Prune(RecipePart):
    """Survivors by `density` (survivors / weights), or by `quality` (in standard deviations) for `threshold`."""

    criterion: Annotated[str, AfterValidator(lambda name: one_of("criterion", name, CRITERIA))] = "magnitude"
    density: float | None = Field(default=None, ge=0, le=1)
    quality: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _amount(self) -> Prune:
        wanted = CRITERIA[self.criterion].amount
        for name in ("density", "quality"):
            if (getattr(self, name) is not None) != (name == wanted):
                raise ValueError(f"the criterion {self.criterion} takes {wanted}, and nothing else")
        return self

    @property
    def amount(self) -> float:
        """The density or quality to reach."""
        return float(getattr(self, CRITERIA[self.criterion].amount))

    @property
    def start(self) -> float:
        """The density or quality at which nothing is pruned."""
        return 1.0 if self.quality is None else 0.0
