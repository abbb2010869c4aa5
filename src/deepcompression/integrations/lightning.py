"""Pruning and sharing in Lightning's `Trainer`."""

from __future__ import annotations

import os
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.integrations.stage import Stage, density, refuse_other_stages
from deepcompression.recipe.recipe import Recipe
from deepcompression.training.prune_model import Pruner


class CompressionCallback(Callback):
    """Moves a pruner with each step of the optimizer, logs the density, and writes a `.dcz` file when training ends.

    pruner   what `dc.prune` gave for the LightningModule or a part of it; None after `dc.share`
    path     where the whole LightningModule is written when training ends; None for nowhere
    recipe   whose `encode` rules the file follows: the pruner's, if not given
    profile  of the file, as for `dc.save`

    Masks, codebooks and the number of steps are in Lightning's own checkpoints; one of another stage or recipe raises
    ValueError when `fit` loads it. With several optimizers the pruner moves once in a batch in which any of them
    stepped. Logs have `density`, and `pruner_steps` beside it. Warns at the beginning if the schedule is longer than
    the training.
    """

    def __init__(
        self,
        pruner: Pruner | None = None,
        path: str | os.PathLike[str] | None = None,
        recipe: Recipe | str | os.PathLike[str] | None = None,
        profile: str = DEFAULT_PROFILE,
    ) -> None:
        self._stage = Stage(pruner, path, recipe, profile)
        self._optimizer_steps = 0
        self._density = 1.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            # checkpoints are loaded before training begins
            self._guard = refuse_other_stages(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._guard.remove()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stage.begin(trainer.estimated_stepping_batches - trainer.global_step)
        self._optimizer_steps = trainer.global_step
        self._density = density(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._optimizer_steps:
            return
        self._optimizer_steps = trainer.global_step
        if self._stage.step():
            self._density = density(pl_module)
        pl_module.log("density", self._density)
        if self._stage.pruner is not None:
            pl_module.log("pruner_steps", float(self._stage.pruner.steps))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stage.end(pl_module)
