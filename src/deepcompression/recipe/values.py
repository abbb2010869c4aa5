"""Tensors that no rule changes: why their kind or their values make them no weights, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from deepcompression.common.messages import those
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import Target
from deepcompression.sharing.fit import exponent_of
from deepcompression.tensors.dtypes import WEIGHT_DTYPES
from deepcompression.tensors.slices import Weights
from deepcompression.tensors.tensor import DenseTensor

# Masks are filled with a value this many times larger than all others: -1e9, the least value of the dtype.
FILLED = 1000


def note_on_kind(target: Target, dtype: str) -> str:
    """The note on a tensor that only its dtype, or being elementwise, keeps from being a weight; else empty."""
    if target.exact or target.trained is False or target.weight:
        return ""
    if not target.floating:
        can = ", ".join(WEIGHT_DTYPES)
        return f"{target.name} is of {dtype}, only {can} can be pruned or shared: stored as it is"
    if not target.elementwise:
        return ""
    return f"{target.name} scales or shifts other values, element by element: stored as it is"


def note_unselected(target: Target, rule: Rule | None, rules: Iterable[Rule], dtype: str) -> str:
    """`note_on_kind` for a tensor that has no rule, if one would otherwise change it; else empty."""
    free = replace(target, floating=True, exact=False, elementwise=False)
    wanted = None if rule is not None else next((each for each in rules if each.selects(free)), None)
    return note_on_kind(target, dtype) if wanted is not None and (wanted.prune or wanted.share) else ""


def why_kept(target: Target, rule: Rule, tensor: DenseTensor, *, squares: bool = False, refuse: bool = False) -> str:
    """The note on a tensor that a rule selects, but whose values keep it as it is; else empty.

    squares  whether squares of values must fit in float32, as where calibration inputs decide
    refuse   whether values that cannot be pruned or shared are a mistake, though the rule does not name the tensor

    Raises ValueError for values that cannot be pruned or shared if the rule names the tensor. A mask that is named, or
    that was trained, is a weight.
    """
    if rule.prune is None and rule.share is None:
        return ""
    weights, named = Weights.of_tensor(tensor), rule.names(target)
    if flaw := flaw_of(weights, rule.share is not None, squares):
        if named or refuse:
            done = "pruned" if rule.share is None else "shared"
            raise ValueError(
                f"{target.name} has {flaw}: it cannot be {done}; mend the training, or let no rule select it"
            )
        return f"{target.name} has {flaw}: stored as it is"
    if named or target.trained is not None or len(target.shape) < 2 or not target.count:
        return ""
    what = _no_weights(weights)
    return f"{target.name} {what}: stored as it is" if what else ""


def flaw_of(weights: Weights, shared: bool, squares: bool = False) -> str:
    """The weights that cannot be pruned or shared, in words; empty if there are none."""
    bad, largest = 0, 0.0
    with np.errstate(over="ignore"):
        for values in weights.slices():
            finite = np.isfinite(values.astype(np.float32) if shared else values)
            bad += len(values) - int(np.count_nonzero(finite))
            largest = max(largest, float(np.abs(values).max(initial=0, where=finite)))
    if bad:
        return those(bad, "weight", "NaN, infinite or beyond float32" if shared else "NaN or infinite")
    return (
        f"weights of up to {largest:.3g}, whose squares float32 cannot hold" if squares and exponent_of(largest) else ""
    )


def _no_weights(weights: Weights) -> str:
    """What shows that values are no weights; empty if nothing does."""
    if _are_few(weights):
        return "has at most two distinct values, as masks and constants have"
    largest = max(float(np.abs(values).max()) for values in weights.slices())
    if _is_filled(weights, largest):
        return f"is filled with values of {largest:.3g} in size, {FILLED:,} times all others, as masks are"
    return ""


def _is_filled(weights: Weights, largest: float) -> bool:
    """Whether the largest size comes twice or more, and all others but zero are `FILLED` times smaller."""
    often, others = 0, False
    for values in weights.slices():
        sizes = np.abs(values)
        below = sizes[sizes < largest]
        if (below > largest / FILLED).any():
            return False
        often += len(sizes) - len(below)
        others = others or bool(below.any())
    return others and often > 1


def _are_few(weights: Weights) -> bool:
    """Whether there are at most two distinct values."""
    found = np.zeros(0, weights.dtype)
    for values in weights.slices():
        # the smallest and the largest are enough to see a third
        found = np.unique(np.append(found, [values.min(), values.max()]))
        if len(found) > 2 or not np.isin(values, found).all():
            return False
    return True
