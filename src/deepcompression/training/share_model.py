"""Stage 2, weight sharing: the weights of a model replaced by trainable codebooks (the paper's section 3)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from deepcompression.common.binary import digest
from deepcompression.common.extras import named_extra
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import Target
from deepcompression.sharing.share_weights import share_array
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor
from deepcompression.training.ranks import Ranks

if TYPE_CHECKING:
    from torch.nn import Module

    from deepcompression.training.parametrizations import Mask


class _Change(NamedTuple):
    target: Target
    shared: CompressedTensor
    grid: str | None


@named_extra()
def share(model: Module, recipe: Recipe | str | os.PathLike[str]) -> None:
    """Shares the weights of a model, in place, by a recipe: the parameters become the centroids.

    Survivors are the weights that a mask keeps, or without a mask those that are not zero; pruned weights stay zero.
    The parameters change their shape, so make a new optimizer. Raises ValueError, before anything has changed, for a
    rule that matches nothing, weights that are not finite, a grid that a tensor's dtype cannot hold, a tensor that is
    shared already or parametrized by others, and a model inside DistributedDataParallel or `fully_shard`. With several
    ranks it raises on all of them, also if they would get different codebooks.
    """
    import torch

    from deepcompression.tensors.from_torch import to_torch
    from deepcompression.training.attach import attach_codebook
    from deepcompression.training.sharded import settle

    settle(model)
    ranks = Ranks.of(model)
    for target, shared, grid in ranks.agree(lambda: _changes(model, Recipe.of(recipe)), _digests):
        centroids = to_torch(DenseTensor(shared.dtype, shared.codebook))
        attach_codebook(target, torch.from_numpy(shared.positions), torch.from_numpy(shared.codes), centroids, grid)
    ranks.spare_sending(model)


def _changes(model: Module, recipe: Recipe) -> list[_Change]:
    from deepcompression.tensors.from_torch import from_torch
    from deepcompression.training.attach import check_replaceable, dense, parametrization
    from deepcompression.training.parametrizations import Codebook, Mask

    matches = [(target, rule.share) for target, rule in recipe.matches(model) if rule and rule.share]
    check_replaceable(model, [target for target, _ in matches], "share")
    changes: list[_Change] = []
    for target, wanted in matches:
        present = parametrization(target)
        if isinstance(present, Codebook):
            raise ValueError(f"{target.name} is shared already: call finalize first to share it again")
        weight = from_torch(target.name, dense(target))
        values = weight.numpy()
        if isinstance(present, Mask):
            _check_moved(target, present, recipe)
        survives = present.mask.cpu().numpy() if isinstance(present, Mask) else values != 0
        try:
            shared = share_array(values, survives, wanted, recipe.seed, weight.dtype)
        except ValueError as error:
            raise ValueError(f"{target.name}: {error}") from None
        changes.append(_Change(target, shared, wanted.codebook_grid))
    return changes


def _check_moved(target: Target, mask: Mask, recipe: Recipe) -> None:
    """Raises ValueError for a mask that has not come to the end of the recipe's schedule."""
    step, last = int(mask.step), recipe.schedule.last_step
    if step < last:
        raise ValueError(
            f"{target.name} is at step {step} of the schedule {recipe.schedule.kind}, which ends at {last}: call "
            "pruner.step() after each optimizer.step() (or each retraining, for rounds) before dc.share; to share the "
            "masks as they are, give a recipe with the schedule one-shot"
        )


def _digests(changes: list[_Change]) -> dict[str, bytes]:
    return {
        target.name: digest(shared.positions.data, shared.codes.data, shared.codebook.data, str(grid).encode())
        for target, shared, grid in changes
    }
