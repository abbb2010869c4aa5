"""One stage of compression in another library's trainer: steps, density, refused checkpoints, the file at its end."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Set
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.common.messages import listed
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.names import plain_name, state_key
from deepcompression.training.attach import chain
from deepcompression.training.parametrizations import Codebook, Mask
from deepcompression.training.prune_model import Pruner
from deepcompression.training.ranks import Ranks
from deepcompression.training.save_load import save_together


class Stage:
    """The base of all callbacks.

    pruner   the result of `prune` or `resume`: it moves with each step of the optimizer, except for the schedule
             `rounds`, whose steps come between trainings; None once the model is shared
    path     the file for the model when training ends; None for no file
    recipe   the recipe whose `encode` rules the file follows: the pruner's by default
    profile  of the file, as for `save`
    """

    def __init__(
        self,
        pruner: Pruner | None = None,
        path: str | os.PathLike[str] | None = None,
        recipe: Recipe | str | os.PathLike[str] | None = None,
        profile: str = DEFAULT_PROFILE,
    ) -> None:
        self.pruner = pruner
        self.path = path
        self.recipe = Recipe.of(recipe) if recipe is not None else pruner.recipe if pruner is not None else None
        self.profile = profile
        by_rounds = pruner is not None and pruner.recipe.schedule.kind == "rounds"
        self._moving = None if by_rounds else pruner

    @property
    def finished(self) -> bool:
        """Whether nothing is left to prune in this training."""
        return self._moving is None or self._moving.done

    def begin(self, steps: float) -> None:
        """Warns if the schedule takes more steps. Raises ValueError for masks of another recipe from a checkpoint."""
        if self.pruner is None:
            return
        left = self.pruner.recipe.schedule.last_step - self.pruner.steps
        if left > steps and self._moving is not None:
            warnings.warn(
                f"the training has {steps:.0f} steps left, the schedule {left}: the model will not be pruned to the "
                "end; train longer, or shorten the schedule",
                stacklevel=2,
            )

    def step(self) -> bool:
        """Follows one step of the optimizer, and returns whether masks may have changed."""
        if self._moving is None:
            return False
        self._moving.step()
        return self._moving.recipe.schedule.due(self._moving.steps)

    def end(self, model: nn.Module) -> None:
        """Writes the file, if there is a path; call it on every rank. Warns if nothing was pruned."""
        if density(model) == 1 and any(isinstance(module, Mask) for module in model.modules()):
            warnings.warn(
                "the masks of the model keep every weight: nothing was pruned; pass the pruner to this callback, or "
                "call pruner.step() after each optimizer.step()",
                stacklevel=2,
            )
        if self.path is not None:
            save_together(Ranks.of(model), model, self.path, self.recipe, None, self.profile)


def density(model: nn.Module) -> float:
    """Survivors / weights of all pruned or shared tensors; 1 if there are none."""
    survivors = weights = 0
    for module in model.modules():
        if isinstance(module, Mask):
            survivors += int(module.mask.sum())
            weights += module.mask.numel()
        elif isinstance(module, Codebook):
            survivors += len(module.positions)
            weights += module.shape.numel()
    return survivors / weights if weights else 1.0


def refuse_other_stages(model: nn.Module) -> RemovableHandle:
    """Makes `load_state_dict` of the model, or of a wrapper, raise ValueError, before anything has changed, for a state
    in which a tensor is in another stage than in the model. Without this, trainers that load without `strict` would
    continue with the weights that they have.
    """
    register: Callable[..., RemovableHandle] = model.register_load_state_dict_pre_hook
    return register(_refuse)


def _refuse(model: nn.Module, state: Mapping[str, Any], prefix: str, *rest: object) -> None:
    problems = []
    keys = {plain_name(key).removeprefix(plain_name(prefix)) for key in state if key.startswith(prefix)}
    for target in targets_of(model):
        present = _stage_of(chain(target))
        for name in target.names:
            found = _stage_in(keys, name)
            if present and found and found != present:
                problems.append(f"{name} is {found} in the checkpoint, {present} in the model")
    if problems:
        raise ValueError(
            f"the checkpoint is of another stage or recipe: {listed(problems, separator='; ')}. Prune or share the "
            "model by the recipe of the checkpoint before it is loaded, or begin in a new folder"
        )


def _stage_of(parametrizations: list[nn.Module]) -> str | None:
    """The stage of a tensor, or None if others have parametrized it."""
    names: dict[tuple[type, ...], str] = {(): "plain", (Mask,): "pruned", (Codebook,): "shared"}
    return names.get(tuple(map(type, parametrizations)))


def _stage_in(keys: Set[str], name: str) -> str | None:
    """The stage of a tensor in a state, or None if it is missing: a state may be a part, or hold one of tied names."""
    if state_key(name, "0.codes") in keys:
        return "shared"
    if state_key(name, "0.mask") in keys:
        return "pruned"
    return "plain" if name in keys else None
