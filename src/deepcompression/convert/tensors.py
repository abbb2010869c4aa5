"""Pruning and sharing of named tensors, without a model."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deepcompression.pruning.criteria import CRITERIA, Select
from deepcompression.recipe.groups import check_finite, prune_groups
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.sharing.share_weights import share_weights
from deepcompression.tensors.slices import Weights, packed, spans, unpacked
from deepcompression.tensors.tensor import DenseTensor, Tensor


def compress_tensors(tensors: Mapping[str, Tensor], recipe: Recipe | str | os.PathLike[str]) -> dict[str, Tensor]:
    """Prunes and shares the tensors of a checkpoint, without training and without torch. Returns the others as they
    are.

    A tensor that is pruned but not shared is dense, with zeros. Raises ValueError, naming the tensor, as `prune` and
    `share` do.
    """
    recipe = Recipe.of(recipe)
    group_selects: dict[str, Select] = {}
    for group in prune_groups(recipe, tensors):
        weights = [Weights.of_tensor(tensors[target.name].dense()) for target in group.targets]
        for target, each in zip(group.targets, weights, strict=True):
            check_finite(target.name, each)
        selects = CRITERIA[group.prune.criterion].select(weights, group.prune.amount, recipe.seed)
        group_selects |= {target.name: select for target, select in zip(group.targets, selects, strict=True)}
    compressed: dict[str, Tensor] = {}
    for target, rule in recipe.matches(tensors):
        made = tensors[target.name]
        if rule is not None and (rule.prune or rule.share):
            try:
                made = compress_tensor(made.dense(), rule, group_selects.get(target.name), recipe.seed)
            except ValueError as error:
                raise ValueError(f"{target.name}: {error}") from None
        compressed[target.name] = made
    return compressed


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
