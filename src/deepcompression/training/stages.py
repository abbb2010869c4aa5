"""All stages on a model: `compress` runs them in order, `finalize` makes the model plain."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.common.extras import named_extra
from deepcompression.common.messages import counted
from deepcompression.file.report import Report
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import check_dense, targets_of
from deepcompression.training.prune_model import prune
from deepcompression.training.ranks import Ranks
from deepcompression.training.save_load import save_together
from deepcompression.training.share_model import share

if TYPE_CHECKING:
    from torch.nn import Module


@named_extra()
def compress(
    model: Module,
    recipe: Recipe | str | os.PathLike[str],
    *,
    train: Callable[[Module, Callable[[], None]], object] | None = None,
    evaluate: Callable[[Module], float] | None = None,
    path: str | os.PathLike[str] | None = None,
    profile: str = DEFAULT_PROFILE,
) -> Report:
    """Runs all three stages in one call: prunes, trains, shares, trains, saves.

    `train(model, step)` is the caller's own training, called after each pruning and after sharing; with the schedule
    `gradual` it calls `step()` once per optimizer step. `evaluate(model)` measures before and after. The file goes to
    `path`, in the `profile` that `save` describes; without a path it is only measured. The model stays shared;
    `finalize` makes it plain. Raises the errors of `prune`, `share` and `save`.
    """
    from deepcompression.training.attach import check_replaceable

    ranks = Ranks.of(model)
    ranks.first(lambda: _check_folder(path))
    recipe = Recipe.of(recipe)
    for word, given in (("train", train), ("evaluate", evaluate)):
        if given is not None and not callable(given):
            raise TypeError(f"{word} is a function; found a {type(given).__name__}")
    shared = [target for target, rule in recipe.matches(model) if rule and rule.share]
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
                    f"training called step() {counted(pruner.steps, 'time')}, the schedule ends at "
                    f"{recipe.schedule.last_step}: train longer, or shorten the schedule"
                )
    if any(rule.share for rule in recipe.rules):
        share(model, recipe)
        run(model, lambda: None)
    after = evaluate(model) if evaluate else None
    with tempfile.TemporaryDirectory() as folder:
        # only the first rank writes and reads the file
        target = Path(path) if path is not None else Path(folder) / "model.dcz"
        save_together(ranks, model, target, recipe, None, profile)
        return ranks.first(lambda: Report.of(target, before=before, after=after))


def _check_folder(path: str | os.PathLike[str] | None) -> None:
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {Path(path).resolve().parent} to write {path} to")


@named_extra()
def finalize(model: Module) -> Module:
    """Makes every pruned or shared weight an ordinary parameter again, with its present values; ties stay. Returns the
    model.

    Raises ValueError, before anything has changed, for another parametrization on top of ours, for shared weights
    inside DistributedDataParallel or `fully_shard`, and for a running model of `run`.
    """
    from deepcompression.training.attach import chain, check_replaceable, detach, parametrization
    from deepcompression.training.parametrizations import Codebook, Mask
    from deepcompression.training.sharded import follow, settle

    settle(model)
    check_dense(model, "finalize")
    targets = [target for target in targets_of(model) if any(isinstance(p, Mask | Codebook) for p in chain(target))]
    shared = [target for target in targets if isinstance(parametrization(target), Codebook)]
    check_replaceable(model, shared, "finalize")
    for target in targets:
        detach(target)
    follow(model)
    return model
