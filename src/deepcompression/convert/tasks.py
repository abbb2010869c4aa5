"""The task for each tensor of a checkpoint: the recipe chooses it, the tensor's values may refuse it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.coding.coders import Encode
from deepcompression.convert.tensors import compress_tensor
from deepcompression.file.effect import WeightChange
from deepcompression.pruning.criteria import CRITERIA, Select
from deepcompression.recipe.groups import prune_groups
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import Target, module_name
from deepcompression.tensors.change import Magnitude, relative_change
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, widen
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.slices import Weights
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


class Done(NamedTuple):
    """A task that was carried out: the tensor as the file stores it, the task's note, and the change of a weight that
    was pruned or shared.
    """

    tensor: Tensor
    note: str
    change: WeightChange | None


class Task(NamedTuple):
    """One tensor's task.

    name    the tensor's
    rule    prunes, shares or encodes it; without a rule it stays as it is
    named   the rule names the tensor or its module: a tensor that cannot be pruned or shared is then an error
    note    why the tensor stays as it is, although a rule would prune or share it
    select  selects the survivors, if the rule prunes
    """

    name: str
    rule: Rule | None = None
    named: bool = False
    note: str = ""
    select: Select | None = None

    @property
    def how(self) -> Encode:
        """The coder and gap width that the rule demands."""
        return Encode() if self.rule is None or self.rule.encode is None else self.rule.encode

    def problem(self, tensor: DenseTensor) -> str:
        """The note on a tensor that cannot be pruned or shared; else empty. Raises ValueError if the rule names it."""
        assert self.rule is not None
        weights = Weights.of_tensor(tensor)
        if self.rule.share is None:
            bad, done, kind = weights.not_finite(), "pruned", "NaN or infinite"
        else:
            with np.errstate(over="ignore"):
                as_float32 = (values.astype(np.float32) for values in weights.slices())
                bad = sum(len(values) - int(np.count_nonzero(np.isfinite(values))) for values in as_float32)
            done, kind = "shared", "NaN, infinite or beyond float32"
        flaw = f"{self.name} has {bad} weights that are {kind}"
        if bad and self.named:
            raise ValueError(f"{flaw}: it cannot be {done}; mend the training, or let no rule select it")
        return f"{flaw}: stored as it is" if bad else ""

    def carry_out(self, source: Checkpoint, seed: int) -> Done:
        """Raises ValueError, with the tensor's name, if its rule fails."""
        tensor, note, change = source.read(self.name), self.note, None
        made: Tensor = tensor
        if self.rule is not None and (self.rule.prune or self.rule.share) and not (note := self.problem(tensor)):
            before = Magnitude.of(Weights.of_tensor(tensor))
            try:
                made = compress_tensor(tensor, self.rule, self.select, seed, in_place=True)
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from None
            change = WeightChange(self.name, *relative_change(before, tensor, made))
        del tensor
        if isinstance(made, DenseTensor):
            made = CompressedTensor.from_dense(made) or made
        return Done(made, note, change)


def tasks_of(source: Checkpoint, recipe: Recipe | None) -> dict[str, Task]:
    """The tasks of a checkpoint's tensors by name, without ties. Tensors that are `exact` stay as they are.

    Raises ValueError for a rule that matches nothing, or that names a tensor which cannot be pruned or shared.
    """
    if recipe is None:
        return {name: Task(name) for name, entry in source.entries.items() if entry.tied_to is None}
    try:
        matches = recipe.matches(source.entries)
    except ValueError as error:
        raise ValueError(source.packed or str(error)) from None
    tasks = {target.name: _task(target, rule, source, recipe) for target, rule in matches}
    for group in prune_groups(recipe, source.entries):
        criterion = CRITERIA[group.prune.criterion]
        names = [target.name for target in group.targets if tasks[target.name].rule is not None]
        if criterion.together:
            names = [name for name in names if not tasks[name].problem(source.read(name))]
        if names:
            weights = [_weights(source, source.entries[name]) for name in names]
            selects = criterion.select(weights, group.prune.amount, recipe.seed)
            tasks |= {name: tasks[name]._replace(select=select) for name, select in zip(names, selects, strict=True)}
    return tasks


def _task(target: Target, rule: Rule | None, source: Checkpoint, recipe: Recipe) -> Task:
    if not source.exact.isdisjoint(target.names):
        return Task(target.name)
    note = ""
    if not target.floating:
        if_floating = replace(target, floating=True)
        wanted = next((each for each in recipe.rules if each.selects(if_floating)), None)
        if wanted is not None and (wanted.prune or wanted.share):
            note = (
                f"{target.name} is of {source.entries[target.name].dtype}, only {', '.join(WEIGHT_DTYPES)} can be "
                "pruned or shared: stored as it is"
            )
    return Task(target.name, rule, rule is not None and _names(rule, target), note)


def _names(rule: Rule, target: Target) -> bool:
    """Whether a rule names a tensor or its module, rather than a pattern."""
    modules = {module_name(name) for name in target.names}
    return rule.where is not None or rule.tensor in target.names or rule.module in modules


def _weights(source: Checkpoint, entry: TensorEntry) -> Weights:
    """Weights that are read at each use, and not kept."""
    kind = widen(np.zeros(0, STORAGE[entry.dtype]), entry.dtype).dtype
    return Weights(math.prod(entry.shape), kind, lambda: Weights.of_tensor(source.read(entry.name)).slices())
