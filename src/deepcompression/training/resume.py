"""`resume`: a newly built model brought to the stage of a `state_dict`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepcompression.common.extras import named_extra
from deepcompression.recipe.recipe import Recipe
from deepcompression.training.prune_model import Pruner
from deepcompression.training.ranks import Ranks

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

    from deepcompression.training.saved_state import Found


@named_extra()
def resume(
    model: Module, state: Mapping[str, torch.Tensor], recipe: Recipe | str | os.PathLike[str] | None = None
) -> Pruner | None:
    """Brings a newly built model to the stage of a `state_dict` of a pruned or shared one, and loads that.

    With the recipe, and for a state in stage 1, returns the `Pruner` that continues the schedule. An optimizer numbers
    parameters as it finds them: make it before `resume` if the saved one was made before `prune`, otherwise after
    `resume`. Raises ValueError, before anything has changed, for a state that does not fit the model, that is from
    another recipe, or that mixes several states. With several ranks it raises on all of them, also if their states
    differ.
    """
    from deepcompression.training.saved_state import attach, find
    from deepcompression.training.sharded import follow, settle

    def work() -> tuple[Pruner | None, list[Found]]:
        pruner = Pruner(model, Recipe.of(recipe)) if recipe else None
        found = find(model, state)
        return pruner if pruner and _continues(pruner, found) else None, found

    settle(model)
    if not isinstance(state, Mapping):
        raise TypeError(f"a state is a state_dict, as torch.load gives it; found a {type(state).__name__}")
    ranks = Ranks.of(model)
    pruner, found = ranks.agree(work, lambda made: {each.target.name: each.digest() for each in made[1]})
    for each in found:
        attach(each)
    follow(model)
    ranks.spare_sending(model)
    return pruner


def _continues(pruner: Pruner, found: list[Found]) -> bool:
    """Whether all tensors that a recipe prunes have masks in a state. Raises ValueError for masks of another recipe."""
    marks = {each.target.name: each.mark for each in found if not each.is_shared}
    masked = {name: mark for name, mark in marks.items() if mark is not None}
    pruner.check(masked)
    for name in pruner.digests:
        if masked and name in marks and name not in masked:
            raise ValueError(
                f"{name} is pruned by the recipe, but not in the checkpoint: pass the checkpoint's own recipe"
            )
    return bool(pruner.digests) and pruner.digests.keys() == masked.keys()
