"""Stage 1, pruning: masks put on a model and moved along a schedule, and what the paper does besides (its section
2).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.criteria import CRITERIA
from deepcompression.recipe import Prune, Recipe
from deepcompression.slices import Weights
from deepcompression.targets import Described, Target, plain_modules, targets_of
from deepcompression.tensor import Array

if TYPE_CHECKING:
    from torch.nn import Module

    from deepcompression.parametrize import Mask


class Group(NamedTuple):
    """The tensors that one rule prunes."""

    prune: Prune
    targets: list[Target]


def prune_groups(recipe: Recipe, model: Module | Mapping[str, Described]) -> list[Group]:
    """Targets by the rule that prunes them. Raises ValueError for a rule that matches nothing."""
    groups: dict[int, Group] = {}
    for target, rule in recipe.matches(model):
        if rule is not None and rule.prune is not None:
            groups.setdefault(id(rule), Group(rule.prune, [])).targets.append(target)
    return list(groups.values())


def check_finite(name: str, weights: Weights) -> None:
    """Raises ValueError for a tensor that cannot be pruned."""
    if bad := weights.not_finite():
        raise ValueError(f"{name} has {bad} weights that are NaN or infinite: it cannot be pruned; mend the training")


def masks_for(group: Group, weights: list[Array], amount: float, seed: int) -> list[NDArray[np.bool_]]:
    """The masks of a group's weights at a density or quality. Raises ValueError for weights that are not finite."""
    for target, weight in zip(group.targets, weights, strict=True):
        check_finite(target.name, Weights.of(weight))
    return CRITERIA[group.prune.criterion].masks(weights, amount, seed)


class Pruner:
    """Moves the masks of a model along its recipe's schedule; made by `prune`.

    Call `step` once per optimizer step (`gradual`) or once per retraining (`rounds`). How far it has come is part of
    the model's `state_dict`.
    """

    def __init__(self, model: Module, recipe: Recipe) -> None:
        self.recipe = recipe
        self.groups = prune_groups(recipe, model)

    def _weights(self, group: Group) -> list[Array]:
        from deepcompression.parametrize import dense
        from deepcompression.torch_tensor import from_torch

        return [from_torch(target.name, dense(target)).numpy() for target in group.targets]

    def _masks(self) -> list[Mask]:
        from deepcompression.parametrize import Mask, parametrization

        masks = []
        for group in self.groups:
            for target in group.targets:
                present = parametrization(target)
                if not isinstance(present, Mask):
                    raise ValueError(f"{target.name} has no mask any more: it was shared or made plain; prune it anew")
                masks.append(present)
        return masks

    @property
    def steps(self) -> int:
        """How often `step` has been called."""
        masks = self._masks()
        return int(masks[0].step) if masks else 0

    @property
    def done(self) -> bool:
        """Whether the schedule has reached its end, or there is nothing to prune."""
        return not self.groups or self.steps >= self.recipe.schedule.last_step

    def step(self) -> None:
        """One step of the schedule: prunes further where it is due.

        Raises ValueError, before anything has changed, for weights that are not finite, and for a model that was
        shared or made plain since.
        """
        step = self.steps + 1
        if self.recipe.schedule.due(step):
            self._prune(step)
        for mask in self._masks():
            mask.step.fill_(step)

    def _prune(self, step: int) -> None:
        import torch

        from deepcompression.parametrize import attach_mask

        changes = []
        for group in self.groups:
            amount = self.recipe.schedule.amount(group.prune.start, group.prune.amount, step)
            masks = masks_for(group, self._weights(group), amount, self.recipe.seed)
            changes += list(zip(group.targets, masks, strict=True))
        for target, mask in changes:
            attach_mask(target, torch.from_numpy(mask), step)


def prune(model: Module, recipe: Recipe | str | os.PathLike[str]) -> Pruner:
    """Puts masks on a model, in place, as its recipe (or the file or preset named) says; pruned weights stay exactly
    zero while the model is trained.

    With the schedule `one-shot` all is done at once; with `rounds` and `gradual` go on by calling `step` of what is
    returned. Parameters keep their identity, so that an optimizer made before goes on. Raises ValueError, before
    anything has changed, for a rule that matches nothing, for weights that are not finite, and for a tensor that is
    shared already or parametrized by somebody else.
    """
    from deepcompression.parametrize import Codebook, parametrization

    pruner = Pruner(model, Recipe.of(recipe))
    for group in pruner.groups:
        for target in group.targets:
            if isinstance(parametrization(target), Codebook):
                raise ValueError(f"{target.name} is shared already: prune before sharing, or call finalize first")
    pruner._prune(0)
    return pruner


def scaled_dropout(rate: float, density: float) -> float:
    """The dropout rate for retraining a layer pruned to a density: rate x sqrt(survivors / weights) (companion paper,
    section 3.2).
    """
    if not (0 <= rate <= 1 and 0 <= density <= 1):
        raise ValueError(f"rate and density are from 0 to 1; found {rate} and {density}")
    return rate * math.sqrt(density)


@contextmanager
def freeze(model: Module, *modules: str) -> Iterator[None]:
    """Within the block no parameter of the modules named (globs) is trained: freeze one part while another retrains.

    Raises ValueError for a pattern that matches no module.
    """
    frozen = []
    for pattern in modules:
        found = [module for name, module in plain_modules(model) if fnmatchcase(name, pattern)]
        if not found:
            names = ", ".join(name for name, _ in plain_modules(model) if name)
            raise ValueError(f"{pattern!r} matches no module; there are {names}")
        frozen += [parameter for module in found for parameter in module.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


class DeadNeurons(NamedTuple):
    """What a pruned weight no longer uses: indices of outputs, its rows, and of inputs, its columns, that have only
    zeros (of a transposed convolution, outputs are the columns).
    """

    outputs: NDArray[np.int64]
    inputs: NDArray[np.int64]


def dead_neurons(model: Module) -> Mapping[str, DeadNeurons]:
    """Rows and columns without any survivor, by tensor, for all weights of at least two dimensions that have some.

    A neuron whose inputs are all pruned is a constant, one whose outputs are all pruned has no effect: both could be
    removed (companion paper, section 3.5). Nothing is changed.
    """
    from deepcompression.parametrize import dense

    dead = {}
    for target in targets_of(model):
        if not (target.trained and target.floating and len(target.shape) >= 2):
            continue
        survives = (dense(target) != 0).cpu().numpy()
        others = tuple(range(2, survives.ndim))
        outputs = np.flatnonzero(~survives.any(axis=(1, *others)))
        inputs = np.flatnonzero(~survives.any(axis=(0, *others)))
        if getattr(target.places[0][0], "transposed", False):
            outputs, inputs = inputs, outputs
        if len(outputs) or len(inputs):
            dead[target.name] = DeadNeurons(outputs, inputs)
    return dead
