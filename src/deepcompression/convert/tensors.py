"""Pruning and sharing of named tensors, without a model."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping

from deepcompression.pruning.criteria import CRITERIA, Select
from deepcompression.recipe.groups import prune_groups
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.values import why_kept
from deepcompression.sharing.share_weights import share_weights
from deepcompression.tensors.slices import Weights, packed, spans, unpacked
from deepcompression.tensors.tensor import DenseTensor, Tensor


def compress_tensors(tensors: Mapping[str, Tensor], recipe: Recipe | str | os.PathLike[str]) -> dict[str, Tensor]:
    """Prunes and shares the tensors of a checkpoint, without training and without torch. Returns the others as they
    are, and those that a pattern selects but that are no weights: "Weights" in docs/design.md.

    A tensor that is pruned but not shared is dense, with zeros. Raises ValueError, naming the tensor, as `prune` and
    `share` do.
    """
    return compress_and_note(tensors, Recipe.of(recipe), refuse=True)[0]


def compress_and_note(
    tensors: Mapping[str, Tensor], recipe: Recipe, *, refuse: bool = False, without: Container[str] = ()
) -> tuple[dict[str, Tensor], list[str]]:
    """`compress_tensors`, and a note on each tensor that is kept.

    refuse   raises ValueError for values that are not finite, though no rule names their tensor; else they are kept
    without  names of tensors that are left out
    """
    matches = [
        (target, rule)
        for target, rule in recipe.matches(tensors)
        if rule is not None and (rule.prune or rule.share) and target.name not in without
    ]
    own = {target.name: tensors[target.name] for target, _ in matches}
    notes = {
        target.name: note
        for target, rule in matches
        if (note := why_kept(target, rule, own[target.name].dense(), refuse=refuse))
    }
    selects: dict[str, Select] = {}
    for group in prune_groups(recipe, tensors):
        names = [target.name for target in group.targets if target.name in own and target.name not in notes]
        weights = [Weights.of_tensor(own[name].dense()) for name in names]
        if names:
            made = CRITERIA[group.prune.criterion].select(weights, group.prune.amount, recipe.seed)
            selects |= dict(zip(names, made, strict=True))
    compressed = {name: tensor for name, tensor in tensors.items() if name not in without}
    for target, rule in matches:
        if target.name not in notes:
            try:
                tensor = own[target.name].dense()
                compressed[target.name] = compress_tensor(tensor, rule, selects.get(target.name), recipe.seed)
            except ValueError as error:
                raise ValueError(f"{target.name}: {error}") from None
    return compressed, list(notes.values())


def compress_tensor(
    tensor: DenseTensor, rule: Rule, select: Select | None, seed: int, in_place: bool = False
) -> Tensor:
    """Prunes and shares one tensor of a dtype of `WEIGHT_DTYPES` by its rule.

    A tensor that is pruned but not shared is dense, with zeros; `in_place` allows it to be `tensor` itself. Raises
    ValueError, as `share_weights` does.
    """
    weights = Weights.of_tensor(tensor)
    bits = None if select is None else select(weights)
    if rule.share is not None:
        if bits is None:
            bits = packed((values != 0 for values in weights.slices()), weights.size)
        return share_weights(weights, tensor.shape, bits, rule.share, seed, tensor.dtype)
    if bits is None:
        return tensor
    elements = tensor.elements if in_place and tensor.elements.flags.writeable else tensor.elements.copy()
    flat = elements.reshape(-1)
    for span in spans(weights.size):
        flat[span][~unpacked(bits, span)] = 0
    return DenseTensor(tensor.dtype, elements)
