"""Stage 1, pruning: masks put on a model and moved along a schedule (the paper's section 2)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepcompression.common.binary import digest
from deepcompression.common.extras import named_extra
from deepcompression.recipe.groups import masks_for, prune_groups, recipe_digest
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import Target
from deepcompression.tensors.dtypes import Array
from deepcompression.training.ranks import Ranks

if TYPE_CHECKING:
    from torch.nn import Module

    from deepcompression.training.parametrizations import Mask


class Pruner:
    """Moves the masks of a model along its recipe's schedule; made by `prune`.

    Call `step` once per optimizer step (`gradual`) or once per retraining (`rounds`), on every rank. The model's
    `state_dict` stores the number of steps.
    """

    def __init__(self, model: Module, recipe: Recipe) -> None:
        self.model = model
        self.recipe = recipe
        self.groups = prune_groups(recipe, model)
        # the digest that the mask of each pruned tensor must have
        self.digests = {
            target.name: recipe_digest(recipe, group.prune, group.targets)
            for group in self.groups
            for target in group.targets
        }

    def _masks(self) -> dict[str, Mask]:
        from deepcompression.training.attach import parametrization
        from deepcompression.training.parametrizations import Mask

        masks = {}
        for group in self.groups:
            for target in group.targets:
                present = parametrization(target)
                if not isinstance(present, Mask):
                    raise ValueError(f"{target.name} has no mask any more: it was shared or made plain; prune it again")
                masks[target.name] = present
        return masks

    def _steps(self, masks: Mapping[str, Mask]) -> int:
        """The step of all masks, read in one transfer from their device."""
        import torch

        if not masks:
            return 0
        marks = torch.stack([part for mask in masks.values() for part in (mask.step, mask.recipe)]).reshape(-1, 2)
        return self.check(dict(zip(masks, marks.tolist(), strict=True)))

    def check(self, marks: Mapping[str, Sequence[int]]) -> int:
        """The step of the schedule, from the marks of masks by name: step and digest of the recipe.

        Raises ValueError, naming the tensor, for masks of another recipe, and for masks at different steps.
        """
        steps: dict[int, str] = {}
        for name, (step, recipe) in marks.items():
            if name not in self.digests:
                raise ValueError(
                    f"{name} is pruned in the checkpoint, but not by the recipe: pass the checkpoint's own"
                )
            if recipe != self.digests[name]:
                raise ValueError(
                    f"{name} was pruned by another recipe than this: schedule, seed or the rule's prune settings have "
                    "changed since; continue with that recipe, or start from plain weights"
                )
            steps.setdefault(step, name)
        if len(steps) > 1:
            (one, first), (other, second), *_ = steps.items()
            raise ValueError(
                f"{first} is at step {one} of the schedule, {second} at step {other}: they were not saved together; "
                "load one checkpoint as a whole"
            )
        return next(iter(steps), 0)

    @property
    def steps(self) -> int:
        """The number of calls of `step`."""
        return self._steps(self._masks())

    @property
    def done(self) -> bool:
        """Whether the schedule has reached its end, or there is nothing to prune."""
        return not self.groups or self.steps >= self.recipe.schedule.last_step

    def step(self) -> None:
        """Takes one step of the schedule: prunes further if that is due.

        Raises ValueError, before anything has changed, for weights that are not finite, for a model that was shared or
        made plain since, and for masks loaded from another recipe's state. With several ranks it raises on all of them,
        also if they would get different masks.
        """
        masks = self._masks()
        step = self._steps(masks) + 1
        if self.recipe.schedule.due(step):
            self._prune(step)
        for mask in masks.values():
            mask.step.fill_(step)

    def _prune(self, step: int) -> None:
        import torch

        from deepcompression.training.attach import attach_mask
        from deepcompression.training.sharded import follow, settle

        settle(self.model)
        ranks = Ranks.of(self.model)
        changes = ranks.agree(
            lambda: self._changes(step),
            lambda changes: {target.name: digest(np.packbits(mask).data) for target, mask in changes},
        )
        for target, mask in changes:
            attach_mask(target, torch.from_numpy(mask), step, self.digests[target.name])
        follow(self.model)
        ranks.spare_sending(self.model)

    def _changes(self, step: int) -> list[tuple[Target, NDArray[np.bool_]]]:
        from deepcompression.tensors.from_torch import from_torch
        from deepcompression.training.attach import dense

        def read(target: Target) -> Array:
            return from_torch(target.name, dense(target)).numpy()

        changes: list[tuple[Target, NDArray[np.bool_]]] = []
        for group in self.groups:
            amount = self.recipe.schedule.amount(group.prune.start, group.prune.amount, step)
            changes += zip(group.targets, masks_for(group, read, amount, self.recipe.seed), strict=True)
        return changes


@named_extra()
def prune(model: Module, recipe: Recipe | str | os.PathLike[str]) -> Pruner:
    """Puts masks on a model, in place, by a recipe or the name of its file or preset. Pruned weights stay exactly zero
    while the model is trained.

    The schedule `one-shot` prunes all at once; `rounds` and `gradual` continue with each call of the pruner's `step`.
    Parameters keep their identity: an optimizer made before, DistributedDataParallel and `fully_shard` still work.
    Raises ValueError, before anything has changed, for a rule that matches nothing, for weights that are not finite,
    and for a tensor that is shared already or parametrized by others. With several ranks it raises on all of them, also
    if they would get different masks.
    """
    from deepcompression.training.attach import check_one_tensor, parametrization
    from deepcompression.training.parametrizations import Codebook
    from deepcompression.training.sharded import settle

    def plan() -> Pruner:
        pruner = Pruner(model, Recipe.of(recipe))
        for group in pruner.groups:
            for target in group.targets:
                if isinstance(parametrization(target), Codebook):
                    raise ValueError(f"{target.name} is shared already: prune before sharing, or call finalize first")
                check_one_tensor(target)
        return pruner

    settle(model)
    ranks = Ranks.of(model)
    # before any weight is gathered: all ranks must gather the same ones
    pruner = ranks.agree(plan, lambda pruner: {n: str(digest).encode() for n, digest in pruner.digests.items()})
    pruner._prune(0)
    return pruner
