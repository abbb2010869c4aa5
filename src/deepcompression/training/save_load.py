"""A model in any stage -> a `.dcz` file, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepcompression.coding.coders import DEFAULT_PROFILE, Encode
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.extras import named_extra
from deepcompression.file.names import check_name
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.tensor import Tensor
from deepcompression.training.ranks import Ranks

if TYPE_CHECKING:
    from torch.nn import Module


def encodings(recipe: Recipe, model: Module | Mapping[str, Tensor]) -> dict[str, Encode]:
    """The recipe's settings for encoding, by the names of tensors."""
    return {target.name: rule.encode for target, rule in recipe.matches(model) if rule and rule.encode}


@named_extra()
def save(
    model: Module,
    path: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    profile: str = DEFAULT_PROFILE,
) -> None:
    """Writes the whole model, in any stage, exactly, to one `.dcz` file: shared, pruned and plain tensors, biases and
    buffers.

    `profile` is `fast`, for files that decode at full speed, `small`, for the smallest, or `paper`, for the paper's
    own layout. Of `recipe`, only the `encode` parts of rules are used. The file appears only when it is complete. With
    several ranks call it on one of them, as `torch.save`; but for a sharded model (`fully_shard`) on all: the first
    writes, and the others wait. Raises ValueError for a tensor that cannot be stored, OSError if writing fails.
    """
    from deepcompression.training.sharded import is_sharded, settle

    settle(model)
    # scripts let one rank alone write a model that is whole on each: it must not wait for the others
    ranks = Ranks.of(model) if any(map(is_sharded, model.parameters())) else Ranks()
    check_name(path)
    ranks.agree(lambda: os.fspath(path), lambda path: {f"the path {path}": b""})
    save_together(ranks, model, path, recipe, metadata, profile)


def save_together(
    ranks: Ranks,
    model: Module,
    path: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None,
    metadata: Mapping[str, str] | None,
    profile: str,
) -> None:
    """`save` on ranks that all call this: the first writes, and the others wait."""
    from deepcompression.training.model_tensors import ModelTensors, metadata_of
    from deepcompression.training.sharded import settle

    settle(model)
    # all ranks must gather the same tensors
    tensors = ranks.agree(lambda: ModelTensors(model), lambda tensors: dict.fromkeys(tensors, b""))

    def write() -> None:
        how = encodings(Recipe.of(recipe), model) if recipe else None
        save_tensors(path, tensors, {**metadata_of(model), **(metadata or {})}, how, profile)

    ranks.first(write, beside=tensors.gather_rest)


@named_extra()
def load(path: str | os.PathLike[str], into: Module, limit_bytes: int = LIMIT_BYTES) -> Module:
    """Fills a plain model with the dense weights of a file, bit for bit as saved, and returns it.

    Raises, before anything has changed, FormatError for a bad file and ValueError, with names and shapes, for a file
    that does not fit the model.
    """
    from deepcompression.tensors.from_torch import to_torch
    from deepcompression.training.model_tensors import check_fit
    from deepcompression.training.sharded import fill, settle

    settle(into)
    with DczFile(path, limit_bytes) as file:
        places = check_fit(into, file.entries, str(path))
        roots = {name: entry.tied_to or name for name, entry in file.entries.items()}
        tensors = {name: file.read_dense(name, os.cpu_count() or 1) for name, root in roots.items() if name == root}
    for target in targets_of(into):
        for name in target.names[1:]:
            first, other = tensors[roots[target.name]], tensors[roots[name]]
            if first is not other and first.elements.tobytes() != other.elements.tobytes():
                raise ValueError(
                    f"{target.name} and {name} are tied in the model, but differ in {path}: untie them first"
                )
    for name, root in roots.items():
        if name == root or places[name] is not places[root]:
            fill(places[name], to_torch(tensors[root]))
    return into
