"""The order of the stages: prune, share and encode models or checkpoints, save and load them, go on where a
checkpoint stopped.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompression.criteria import CRITERIA, Select
from deepcompression.encode import DEFAULT_PROFILE
from deepcompression.file import LIMIT_BYTES, DczFile, How, save_tensors
from deepcompression.prune import Pruner, check_finite, prune, prune_groups
from deepcompression.recipe import Recipe
from deepcompression.report import Report
from deepcompression.share import share
from deepcompression.slices import Weights
from deepcompression.streaming import compress_tensor
from deepcompression.targets import targets_of
from deepcompression.tensor import BitmapTensor, Encodable, Tensor

if TYPE_CHECKING:
    import torch
    from torch.nn import Module


def compress(
    model: Module,
    recipe: Recipe | str | os.PathLike[str],
    *,
    train: Callable[[Module, Callable[[], None]], object] | None = None,
    evaluate: Callable[[Module], float] | None = None,
    path: str | os.PathLike[str] | None = None,
    profile: str = DEFAULT_PROFILE,
) -> Report:
    """All three stages in one call: prunes, trains, shares, trains, saves.

    `train(model, step)` is the caller's own training, called after each pruning and after sharing; with the schedule
    `gradual` it calls `step()` once per optimizer step. `evaluate(model)` measures before and after. The file is
    written to `path`, in the `profile` that `save` describes; without a path it is only measured. The model is left
    shared; `finalize` makes it plain. Raises what `prune`, `share` and `save` raise.
    """
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {Path(path).resolve().parent} to write {path} to")
    recipe = Recipe.of(recipe)
    before = evaluate(model) if evaluate else None
    run = train or (lambda model, step: None)
    if any(rule.prune for rule in recipe.rules):
        pruner = prune(model, recipe)
        if recipe.schedule.kind == "rounds":
            run(model, lambda: None)
            while not pruner.done:
                pruner.step()
                run(model, lambda: None)
        else:
            run(model, pruner.step)
            if not pruner.done:
                raise ValueError(
                    f"training called step() {pruner.steps} times, the schedule ends at {recipe.schedule.last_step}: "
                    "train longer, or shorten the schedule"
                )
    if any(rule.share for rule in recipe.rules):
        share(model, recipe)
        run(model, lambda: None)
    after = evaluate(model) if evaluate else None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(path) if path is not None else Path(folder) / "model.dcz"
        save(model, target, recipe, profile=profile)
        return Report.of(target, before=before, after=after)


def compress_tensors(tensors: Mapping[str, Tensor], recipe: Recipe | str | os.PathLike[str]) -> dict[str, Tensor]:
    """Prunes and shares the tensors of a checkpoint, without training and without torch; the others are given back as
    they are.

    A pruned but not shared tensor is dense, with zeros. Raises ValueError, naming the tensor, as `prune` and `share`
    do.
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
        made: Encodable = tensors[target.name]
        if rule is not None and (rule.prune or rule.share):
            try:
                made = compress_tensor(made.dense(), rule, group_selects.get(target.name), recipe.seed)
            except ValueError as error:
                raise ValueError(f"{target.name}: {error}") from None
        compressed[target.name] = made.compressed() if isinstance(made, BitmapTensor) else made
    return compressed


def encodings(recipe: Recipe, model: Module | Mapping[str, Tensor]) -> dict[str, How]:
    """How the recipe wants tensors encoded, by name."""
    return {
        target.name: How(rule.encode.coder, rule.encode.gap_bits)
        for target, rule in recipe.matches(model)
        if rule is not None and rule.encode is not None
    }


def save(
    model: Module,
    path: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    profile: str = DEFAULT_PROFILE,
) -> None:
    """Writes the whole model, in whatever stage, into one `.dcz` file: shared, pruned and plain tensors, biases and
    buffers, exactly.

    `profile` is `fast`, for files that decode at full speed, `small`, for the smallest, or `paper`, for the paper's
    own layout. Only the rules' `encode` part of `recipe` is used. The file appears only when it is complete. Raises
    ValueError for a tensor that cannot be stored, OSError if writing fails.
    """
    from deepcompression.model import metadata_of, read_model

    how = encodings(Recipe.of(recipe), model) if recipe else None
    save_tensors(path, read_model(model), {**metadata_of(model), **(metadata or {})}, how, profile)


def load(path: str | os.PathLike[str], into: Module, limit_bytes: int = LIMIT_BYTES) -> Module:
    """Fills a plain model with the dense weights of a file, bit for bit what was saved, and gives the model back.

    Raises FormatError for a bad file and ValueError, listing names and shapes, for one that does not fit the model,
    which is then unchanged.
    """
    import torch

    from deepcompression.model import check_fit
    from deepcompression.torch_tensor import to_torch

    with DczFile(path, limit_bytes) as file:
        places = check_fit(into, file.entries, str(path))
        threads = os.cpu_count() or 1
        own = [name for name, entry in file.entries.items() if entry.tied_to is None]
        tensors = {name: file.read_dense(name, threads) for name in own}
        roots = {name: entry.tied_to or name for name, entry in file.entries.items()}
    for target in targets_of(into):
        for name in target.names[1:]:
            first, other = tensors[roots[target.name]], tensors[roots[name]]
            if first is not other and first.elements.tobytes() != other.elements.tobytes():
                raise ValueError(
                    f"{target.name} and {name} are tied in the model, but differ in {path}: untie them first"
                )
    with torch.no_grad():
        for name, tensor in tensors.items():
            places[name].copy_(to_torch(tensor))
        for name, root in roots.items():
            if name != root and places[name] is not places[root]:
                places[name].copy_(places[root])
    return into


def resume(
    model: Module, state: Mapping[str, torch.Tensor], recipe: Recipe | str | os.PathLike[str] | None = None
) -> Pruner | None:
    """Brings a model built anew into the stage of a `state_dict` taken from a pruned or shared one, and loads it.

    With the recipe, gives back the `Pruner` that goes on where the schedule stopped, if the model is in stage 1. An
    optimizer numbers parameters as it finds them: make it before `resume` if the one that was saved was made before
    `prune`, and after `resume` otherwise. Raises ValueError, before anything has changed, for a state that does not
    fit the model.
    """
    from deepcompression.parametrize import Mask, parametrization
    from deepcompression.state import restore

    pruner = Pruner(model, Recipe.of(recipe)) if recipe else None
    restore(model, state)
    if pruner is None:
        return None
    masked = [isinstance(parametrization(target), Mask) for group in pruner.groups for target in group.targets]
    return pruner if masked and all(masked) else None


def finalize(model: Module) -> Module:
    """Makes every pruned or shared weight an ordinary parameter again, with its present values; ties stay. Gives the
    model back.

    Raises ValueError, before anything has changed, if somebody else's parametrization stands on top.
    """
    from deepcompression.parametrize import Codebook, Mask, chain, detach, parametrization

    targets = [target for target in targets_of(model) if any(isinstance(p, Mask | Codebook) for p in chain(target))]
    for target in targets:
        parametrization(target)
    for target in targets:
        detach(target)
    return model
