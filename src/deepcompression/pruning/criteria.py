"""Stage 1: weights -> masks, by the criteria of the paper's section 2 and its companion (NIPS 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from deepcompression import _core
from deepcompression.common.settings import RecipePart, one_of
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.slices import Bits, Weights, packed, spans, unpacked

Masks = list[NDArray[np.bool_]]

# Weights -> the bitmap of those that survive.
Select = Callable[[Weights], Bits]

_DIGIT_BITS = 16


def survivor_count(size: int, density: float) -> int:
    """How many of `size` weights survive at a density: the nearest count, halves rounded up."""
    return math.floor(size * density + 0.5)


def _integers(values: Array) -> Array:
    """Magnitudes as unsigned integers in their order: the bits of a float without its sign."""
    bits = values.view(f"u{values.itemsize}")
    magnitudes: Array = bits & bits.dtype.type((1 << (8 * values.itemsize - 1)) - 1)
    return magnitudes


class _Cut(NamedTuple):
    """Where the survivors are cut off: magnitudes above `bound`, an integer of `_integers`, survive, and so many of
    those that equal it.
    """

    bound: int
    equal: int

    def bits(self, weights: Weights) -> Bits:
        """The survivors; of equal ones the first."""
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
    """The cut that leaves exactly `count` of the largest magnitudes of a group, and how many equal its bound.

    A radix selection: each pass over the weights finds 16 bits more of the bound.
    """
    width = 8 * group[0].dtype.itemsize
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


def _all_or_none(weights: Weights, survive: bool) -> Bits:
    return packed((np.full(span.stop - span.start, survive) for span in spans(weights.size)), weights.size)


def largest(weights: Weights, count: int) -> Bits:
    """Exactly `count` of the largest magnitudes; of equal ones the first survive."""
    if count <= 0 or count >= weights.size:
        return _all_or_none(weights, count > 0)
    return _cut([weights], count)[0].bits(weights)


def magnitude(group: Sequence[Weights], density: float, seed: int) -> list[Select]:
    """The largest weights of each tensor survive, an exact count."""
    return [lambda weights: largest(weights, survivor_count(weights.size, density))] * len(group)


def global_magnitude(group: Sequence[Weights], density: float, seed: int) -> list[Select]:
    """The largest weights of all tensors together survive, an exact count: one threshold over all."""
    size = sum(weights.size for weights in group)
    count = survivor_count(size, density)
    if count <= 0 or count >= size:
        return [lambda weights: _all_or_none(weights, count > 0)] * len(group)
    common = np.result_type(*(weights.dtype for weights in group))

    def alike(weights: Weights) -> Weights:
        return Weights(weights.size, common, lambda: (v.astype(common, copy=False) for v in weights.slices()))

    def above(cut: _Cut) -> Select:
        return lambda weights: cut.bits(alike(weights))

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
    """Weights larger than quality x standard deviation of their tensor survive (the companion paper's rule).

    The deviation is that of the weights not yet pruned (not zero), so that a second round is not drawn down by the
    first.
    """

    def select(weights: Weights) -> Bits:
        def left() -> Iterator[NDArray[np.float64]]:
            return (values[values != 0].astype(np.float64) for values in weights.slices())

        count = sum(map(len, left()))
        if not count:
            return _all_or_none(weights, False)
        mean = sum(float(values.sum()) for values in left()) / count
        # of float64, so that weights are compared in it
        bound = np.float64(quality * math.sqrt(sum(float(((v - mean) ** 2).sum()) for v in left()) / count))
        return packed(((v != 0) & (np.abs(v) > bound) for v in weights.slices()), weights.size)

    return [select] * len(group)


def random(group: Sequence[Weights], density: float, seed: int) -> list[Select]:
    """A random choice of each tensor survives, an exact count, whatever the weights: the control.

    For one seed, the survivors of a lower density are among those of a higher one.
    """

    def drawn(size: int, before: int) -> Weights:
        """The draws for one tensor, where `before` were drawn for earlier ones."""

        def slices() -> Iterator[Array]:
            rng = np.random.Generator(np.random.PCG64(seed).advance(before))
            return (rng.random(span.stop - span.start) for span in spans(size))

        return Weights(size, np.dtype(np.float64), slices)

    def after(before: int) -> Select:
        return lambda weights: largest(drawn(weights.size, before), survivor_count(weights.size, density))

    ends = list(accumulate((weights.size for weights in group), initial=0))
    return [after(before) for before in ends[:-1]]


class Criterion(NamedTuple):
    """`select(group, amount, seed)` gives a `Select` for each tensor of a group, to be called with that tensor's
    weights in any order: only what tensors decide together has been read before.

    `amount` names what the recipe must say: the density to reach, or the quality. `together` says whether the tensors
    of a group decide together.
    """

    select: Callable[[Sequence[Weights], float, int], list[Select]]
    amount: Literal["density", "quality"]
    together: bool = False

    def masks(self, weights: Sequence[Array], amount: float, seed: int) -> Masks:
        """A bool array for each float array, True where it survives."""
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
    """Which weights survive: `density` (survivors / weights) or, for the criterion `threshold`, `quality` (in
    standard deviations).
    """

    criterion: str = "magnitude"
    density: float | None = Field(default=None, ge=0, le=1)
    quality: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @field_validator("criterion")
    @classmethod
    def _known(cls, value: str) -> str:
        return one_of("criterion", value, CRITERIA)

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
        amount = self.density if self.quality is None else self.quality
        assert amount is not None
        return amount

    @property
    def start(self) -> float:
        """The density or quality at which nothing is pruned."""
        return 1.0 if self.quality is None else 0.0
