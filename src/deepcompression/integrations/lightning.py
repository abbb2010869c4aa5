"""Pruning and sharing in Lightning's `Trainer`."""

from __future__ import annotations

from typing import Any

from deepcompression.common.extras import named_extra

with named_extra():
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback

    from deepcompression.integrations.stage import Stage, density, refuse_other_stages


class CompressionCallback(Stage, Callback):
    """Moves a pruner with each step of the optimizer, logs the density, and writes a `.dcz` file when training ends.

    pruner   the result of `dc.prune` for the LightningModule or a part of it; None after `dc.share`
    path     the file for the whole LightningModule when training ends; None for no file
    recipe   the recipe whose `encode` rules the file follows: the pruner's by default
    profile  of the file, as for `dc.save`

    Lightning's own checkpoints hold masks, codebooks and the number of steps. `fit` raises ValueError when it loads a
    checkpoint of another stage or recipe. With several optimizers the pruner moves once in a batch in which any of them
    stepped. Logs have `density` and `pruner_steps`. Warns at the beginning if the schedule is longer than the training.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            # checkpoints are loaded before training begins
            self._guard = refuse_other_stages(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._guard.remove()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer.estimated_stepping_batches - trainer.global_step)
        self._optimizer_steps = trainer.global_step
        self._density = density(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._optimizer_steps:
            return
        self._optimizer_steps = trainer.global_step
        if self.step():
            self._density = density(pl_module)
        pl_module.log("density", self._density)
        if self.pruner is not None:
            pl_module.log("pruner_steps", float(self.pruner.steps))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end(pl_module)
