"""A model in any stage -> a `.dcz` file, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.extras import named_extra
from deepcompression.common.options import checked_flag
from deepcompression.file.names import check_name
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor, Tensor
from deepcompression.training.ranks import Ranks

if TYPE_CHECKING:
    from torch.nn import Module

    from deepcompression.training.model_tensors import Fit


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

    `profile` is `fast`, for files that decode at full speed, `small`, for the smallest, `paper`, for the paper's own
    layout, or `device`, for microcontrollers. Of `recipe`, only the `encode` parts of rules are used. The file appears
    only when it is complete. With several ranks call it on one of them, as `torch.save`; but for a sharded model
    (`fully_shard`) on all: the first writes, and the others wait. Raises ValueError for a tensor that cannot be stored,
    OSError if writing fails.
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
def load(path: str | os.PathLike[str], into: Module, limit_bytes: int = LIMIT_BYTES, *, strict: bool = True) -> Module:
    """Fills a plain model with the dense weights of a file, bit for bit as saved, and returns it.

    A tied tensor may be in the file under one of its names. Tensors on the device meta get memory on the CPU, and so do
    buffers that no file holds, if the model's own code can compute them. Without `strict`, tensors that the model or
    the file lacks are left as they are, or left out. Warns about everything that is left out, kept or guessed.

    Raises FormatError for a bad file and ValueError, with names and shapes, for a file that does not fit the model. The
    model is then as it was before.
    """
    from deepcompression.training.sharded import settle

    checked_flag("strict", strict)
    settle(into)
    with DczFile(path, limit_bytes) as file:
        fit = fill_model(into, file.entries, lambda name: file.read_dense(name, os.cpu_count() or 1), str(path), strict)
    fit.warn(str(path))
    return into


def fill_model(
    model: Module,
    entries: Mapping[str, TensorEntry],
    read: Callable[[str], DenseTensor],
    where: str,
    strict: bool = True,
) -> Fit:
    """Fills a plain model, as `load` does, from the tensors that `read` reads by their names in the file."""
    from deepcompression.training.filling import Filling
    from deepcompression.training.joined import Joined
    from deepcompression.training.model_tensors import check_fit
    from deepcompression.training.own_values import own_values

    joined = Joined(model, entries)
    fit = check_fit(model, joined.entries, where, strict)
    own = own_values(model, fit.kept)
    root_of = {name: joined.entries[found].tied_to or found for name, found in fit.names.items()}
    tensors = {root: joined.read(root, read) for root in dict.fromkeys(root_of.values())}
    for target in targets_of(model):
        names = [name for name in target.names if name in root_of]
        for name in names[1:]:
            first, other = tensors[root_of[names[0]]], tensors[root_of[name]]
            if first is not other and first.elements.tobytes() != other.elements.tobytes():
                raise ValueError(
                    f"{names[0]} and {name} are tied in the model, but differ in {where}: untie them first"
                )
    with Filling(model, fit.places, where) as filling:
        for root in list(tensors):
            # freed when it is in the model
            values = tensors.pop(root)
            for name in (name for name, found in root_of.items() if found == root):
                filling.fill(name, fit.places[name], values)
        filling.replace(own)
        filling.check()
    return fit
