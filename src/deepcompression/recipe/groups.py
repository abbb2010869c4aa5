"""The tensors that one rule prunes together, and their masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.common.binary import digest
from deepcompression.common.messages import those
from deepcompression.pruning.criteria import CRITERIA, Prune
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import Described, Target
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.slices import Weights, unpacked

if TYPE_CHECKING:
    from torch.nn import Module


class Group(NamedTuple):
    """The tensors that one rule prunes."""

    prune: Prune
    targets: list[Target]


def prune_groups(recipe: Recipe, model: Module | Mapping[str, Described], exact: Container[str] = ()) -> list[Group]:
    """The groups of all rules that prune, without tensors in `exact`. Raises ValueError for a rule that matches
    nothing.
    """
    groups: dict[int, Group] = {}
    for target, rule in recipe.matches(model, exact):
        if rule is not None and rule.prune is not None:
            groups.setdefault(id(rule), Group(rule.prune, [])).targets.append(target)
    return list(groups.values())


def check_finite(name: str, weights: Weights) -> None:
    """Raises ValueError for weights that are NaN or infinite."""
    if bad := weights.not_finite():
        raise ValueError(
            f"{name} has {those(bad, 'weight', 'NaN or infinite')}: it cannot be pruned; mend the training"
        )


def recipe_digest(recipe: Recipe, prune: Prune, targets: Iterable[Target]) -> int:
    """64 bits of all that masks depend on beside weights: schedule, seed, `prune`, and tensors that decide together."""
    together = CRITERIA[prune.criterion].together or prune.criterion == "random"
    names = [target.name for target in targets] if together else []
    said = [recipe.schedule.model_dump(mode="json"), recipe.seed, prune.model_dump(mode="json"), names]
    return int.from_bytes(digest(json.dumps(said, sort_keys=True).encode())[:8], "little", signed=True)


def masks_for(group: Group, read: Callable[[Target], Array], amount: float, seed: int) -> Iterator[NDArray[np.bool_]]:
    """The masks of a group's weights at a density or quality.

    `read` returns a target's weights. It is called for one target at a time, and several times for each where tensors
    decide together. Raises ValueError for weights that are not finite.
    """
    criterion = CRITERIA[group.prune.criterion]

    def checked(target: Target) -> Weights:
        weights = Weights.of(read(target))
        check_finite(target.name, weights)
        return weights

    def again(target: Target) -> Weights:
        # a tensor that decides alone is read only when it is selected from
        dtype = checked(target).dtype if criterion.together else np.dtype(np.float32)
        return Weights(target.count, dtype, lambda: Weights.of(read(target)).slices())

    selects = criterion.select([again(target) for target in group.targets], amount, seed)
    for select, target in zip(selects, group.targets, strict=True):
        yield unpacked(select(checked(target)), slice(0, target.count)).reshape(target.shape)
