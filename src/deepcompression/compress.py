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
from deepcompression.ranks import Ranks
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

    from deepcompression.state import Found


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
    from deepcompression.parametrize import check_replaceable

    ranks = Ranks.of(model)
    ranks.first(lambda: _check_folder(path))
    recipe = Recipe.of(recipe)
    shared = [target for target, rule in recipe.matches(model) if rule is not None and rule.share is not None]
    if shared:
        check_replaceable(model, shared, "share")
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
        # only the first rank writes and reads it
        target = Path(path) if path is not None else Path(folder) / "model.dcz"
        save_together(ranks, model, target, recipe, None, profile)
        return ranks.first(lambda: Report.of(target, before=before, after=after))


def _check_folder(path: str | os.PathLike[str] | None) -> None:
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {Path(path).resolve().parent} to write {path} to")


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
    own layout. Only the rules' `encode` part of `recipe` is used. The file appears only when it is complete. With
    several ranks call it on one of them, as `torch.save`; but a sharded model (`fully_shard`) on all: the first writes,
    the others wait until it has. Raises ValueError for a tensor that cannot be stored, OSError if writing fails.
    """
    from deepcompression.sharded import has_shards

    # of ranks that hold whole models, scripts have one write: to wait for the others would be to wait for ever
    ranks = Ranks.of(model) if has_shards(model) else Ranks()
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
    """`save` by ranks that all call this: the first writes, the others wait until it has."""
    from deepcompression.model import ModelTensors, metadata_of
    from deepcompression.sharded import settle

    settle(model)
    # what all ranks gather alike
    tensors = ranks.agree(lambda: ModelTensors(model), lambda tensors: dict.fromkeys(tensors, b""))

    def write() -> None:
        how = encodings(Recipe.of(recipe), model) if recipe else None
        save_tensors(path, tensors, {**metadata_of(model), **(metadata or {})}, how, profile)

    ranks.first(write, beside=tensors.gather_rest)


def load(path: str | os.PathLike[str], into: Module, limit_bytes: int = LIMIT_BYTES) -> Module:
    """Fills a plain model with the dense weights of a file, bit for bit what was saved, and gives the model back.

    Raises FormatError for a bad file and ValueError, listing names and shapes, for one that does not fit the model,
    which is then unchanged.
    """
    from deepcompression.model import check_fit
    from deepcompression.sharded import fill, settle
    from deepcompression.torch_tensor import to_torch

    settle(into)
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
    for name, root in roots.items():
        if name == root or places[name] is not places[root]:
            fill(places[name], to_torch(tensors[root]))
    return into


def resume(
    model: Module, state: Mapping[str, torch.Tensor], recipe: Recipe | str | os.PathLike[str] | None = None
) -> Pruner | None:
    """Brings a model built anew into the stage of a `state_dict` taken from a pruned or shared one, and loads it.

    With the recipe, gives back the `Pruner` that goes on where the schedule stopped, if the model is in stage 1. An
    optimizer numbers parameters as it finds them: make it before `resume` if the one that was saved was made before
    `prune`, and after `resume` otherwise. Raises ValueError, before anything has changed, for a state that does not
    fit the model, and, naming the tensor, for one of another recipe, or that was put together of several; with several
    ranks on all of them, also where their states differ.
    """
    from deepcompression.sharded import follow, settle
    from deepcompression.state import attach, find

    def work() -> tuple[Pruner | None, list[Found]]:
        pruner = Pruner(model, Recipe.of(recipe)) if recipe else None
        found = find(model, state)
        return pruner if pruner and _goes_on(pruner, found) else None, found

    settle(model)
    ranks = Ranks.of(model)
    pruner, found = ranks.agree(work, lambda made: {each.target.name: each.digest() for each in made[1]})
    for each in found:
        attach(each)
    follow(model)
    ranks.spare_sending(model)
    return pruner


def _goes_on(pruner: Pruner, found: list[Found]) -> bool:
    """Whether all that a recipe prunes has masks in a state. Raises ValueError for masks of another recipe."""
    marks = {each.target.name: each.mark for each in found if not each.is_shared}
    masked = {name: mark for name, mark in marks.items() if mark is not None}
    pruner.check(masked)
    for name in pruner.digests:
        if masked and name in marks and name not in masked:
            raise ValueError(
                f"{name} is pruned by the recipe, but not in the checkpoint: give the checkpoint's own recipe"
            )
    return bool(pruner.digests) and pruner.digests.keys() == masked.keys()


def finalize(model: Module) -> Module:
    """Makes every pruned or shared weight an ordinary parameter again, with its present values; ties stay. Gives the
    model back.

    Raises ValueError, before anything has changed, if somebody else's parametrization stands on top, and for shared
    weights inside of DistributedDataParallel or `fully_shard`.
    """
    from deepcompression.parametrizations import Codebook, Mask
    from deepcompression.parametrize import chain, check_replaceable, detach, parametrization
    from deepcompression.sharded import follow, settle

    settle(model)
    targets = [target for target in targets_of(model) if any(isinstance(p, Mask | Codebook) for p in chain(target))]
    shared = [target for target in targets if isinstance(parametrization(target), Codebook)]
    if shared:
        check_replaceable(model, shared, "finalize")
    for target in targets:
        detach(target)
    follow(model)
    return model
