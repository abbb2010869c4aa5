"""The task for each tensor of a checkpoint: the recipe chooses it, the tensor's values may refuse it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.other_tools import exact_in
from deepcompression.coding.encode_part import Encode
from deepcompression.convert.tensors import compress_tensor
from deepcompression.file.effect import WeightChange
from deepcompression.pruning.criteria import CRITERIA, Select
from deepcompression.recipe.groups import prune_groups
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import Target, targets_of
from deepcompression.recipe.values import note_unselected, why_kept
from deepcompression.tensors.change import Magnitude, relative_change
from deepcompression.tensors.dtypes import STORAGE, widen
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

    target  the tensor
    rule    prunes, shares or encodes it; without a rule it stays as it is
    note    why the tensor stays as it is, although a rule would prune or share it
    select  selects the survivors, if the rule prunes
    """

    target: Target
    rule: Rule | None = None
    note: str = ""
    select: Select | None = None

    @property
    def how(self) -> Encode:
        """The coder and gap width that the rule demands."""
        return Encode() if self.rule is None or self.rule.encode is None else self.rule.encode

    def carry_out(self, source: Checkpoint, seed: int) -> Done:
        """Raises ValueError, with the tensor's name, if its rule fails."""
        tensor, note, change = source.read(self.target.name), self.note, None
        made: Tensor = tensor
        if self.rule is not None and not (note := why_kept(self.target, self.rule, tensor)):
            changes = bool(self.rule.prune or self.rule.share)
            before = Magnitude.of(Weights.of_tensor(tensor)) if changes else None
            try:
                made = compress_tensor(tensor, self.rule, self.select, seed, in_place=True)
            except ValueError as error:
                raise ValueError(f"{self.target.name}: {error}") from None
            if before is not None:
                change = WeightChange(self.target.name, *relative_change(before, tensor, made))
        del tensor
        if isinstance(made, DenseTensor):
            made = CompressedTensor.from_dense(made) or made
        return Done(made, note, change)


def tasks_of(source: Checkpoint, recipe: Recipe | None) -> dict[str, Task]:
    """The tasks of a checkpoint's tensors by name, without ties. Packed codes and what belongs to them stay as they
    are.

    Raises ValueError for a rule that matches nothing, or that names a tensor which cannot be pruned or shared.
    """
    if recipe is None:
        return {target.name: Task(target) for target in targets_of(source.entries)}
    exact = exact_in(source)
    try:
        matches = recipe.matches(source.entries, exact)
    except ValueError as error:
        raise ValueError(source.packed or str(error)) from None
    tasks = {
        target.name: Task(target, rule, note_unselected(target, rule, recipe.rules, source.entries[target.name].dtype))
        for target, rule in matches
    }
    for group in prune_groups(recipe, source.entries, exact):
        criterion = CRITERIA[group.prune.criterion]
        names = [target.name for target in group.targets]
        if criterion.together:
            names = [name for name in names if not _why_kept(tasks[name], source)]
        if names:
            weights = [_weights(source, source.entries[name]) for name in names]
            selects = criterion.select(weights, group.prune.amount, recipe.seed)
            tasks |= {name: tasks[name]._replace(select=select) for name, select in zip(names, selects, strict=True)}
    return tasks


def _why_kept(task: Task, source: Checkpoint) -> str:
    assert task.rule is not None
    return why_kept(task.target, task.rule, source.read(task.target.name))


def _weights(source: Checkpoint, entry: TensorEntry) -> Weights:
    """Weights that are read at each use, and not kept."""
    kind = widen(np.zeros(0, STORAGE[entry.dtype]), entry.dtype).dtype
    return Weights(math.prod(entry.shape), kind, lambda: Weights.of_tensor(source.read(entry.name)).slices())
