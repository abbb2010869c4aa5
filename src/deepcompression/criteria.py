"""Stage 1: weights -> masks, by the criteria of the paper's section 2 and its companion (NIPS 2015)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.tensor import Array

Masks = list[NDArray[np.bool_]]


def survivor_count(size: int, density: float) -> int:
    """How many of `size` weights survive at a density: the nearest count, halves rounded up."""
    return math.floor(size * density + 0.5)


def largest(scores: Array, count: int) -> NDArray[np.bool_]:
    """Exactly `count` of the largest scores of a flat array; of equal scores the first survive."""
    if count <= 0:
        return np.zeros(len(scores), bool)
    if count >= len(scores):
        return np.ones(len(scores), bool)
    threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
    mask: NDArray[np.bool_] = scores > threshold
    mask[np.flatnonzero(scores == threshold)[: count - np.count_nonzero(mask)]] = True
    return mask


def magnitude(weights: Sequence[Array], density: float, seed: int) -> Masks:
    """The largest weights of each tensor survive, an exact count."""
    return [largest(np.abs(w).reshape(-1), survivor_count(w.size, density)).reshape(w.shape) for w in weights]


def global_magnitude(weights: Sequence[Array], density: float, seed: int) -> Masks:
    """The largest weights of all tensors together survive, an exact count: one threshold over all."""
    scores = np.concatenate([np.abs(w).reshape(-1) for w in weights])
    mask = largest(scores, survivor_count(len(scores), density))
    ends = np.cumsum([w.size for w in weights])[:-1]
    return [part.reshape(w.shape) for part, w in zip(np.split(mask, ends), weights, strict=True)]


def threshold(weights: Sequence[Array], quality: float, seed: int) -> Masks:
    """Weights larger than quality x standard deviation of their tensor survive (the companion paper's rule).

    The deviation is that of the weights not yet pruned (not zero), so that a second round is not drawn down by the
    first.
    """
    masks = []
    for w in weights:
        left = w[w != 0].astype(np.float64)
        masks.append((w != 0) & (np.abs(w) > quality * left.std()) if left.size else np.zeros(w.shape, bool))
    return masks


def random(weights: Sequence[Array], density: float, seed: int) -> Masks:
    """A random choice of each tensor survives, an exact count, whatever the weights: the control.

    For one seed, the survivors of a lower density are among those of a higher one.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    return [largest(rng.random(w.size), survivor_count(w.size, density)).reshape(w.shape) for w in weights]


class Criterion(NamedTuple):
    """`masks(weights, amount, seed)` gives a bool array for each float array, True where it survives.

    `amount` names what the recipe must say: the density to reach, or the quality.
    """

    masks: Callable[[Sequence[Array], float, int], Masks]
    amount: Literal["density", "quality"]


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude, "density"),
    "global-magnitude": Criterion(global_magnitude, "density"),
    "threshold": Criterion(threshold, "quality"),
    "random": Criterion(random, "density"),
}
