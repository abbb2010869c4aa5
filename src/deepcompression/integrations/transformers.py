"""Pruning and sharing in Hugging Face's `Trainer`."""

from __future__ import annotations

import os
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.integrations.stage import Stage, density, refuse_other_stages
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import chain
from deepcompression.training.prune_model import Pruner


class CompressionCallback(TrainerCallback):
    """Moves a pruner with each step of the optimizer, logs the density, and writes a `.dcz` file when training ends.

    pruner   what `dc.prune` gave for the trainer's model or a part of it; None after `dc.share`
    path     where the whole model is written when training ends (with `load_best_model_at_end`, the best); None for
             nowhere
    recipe   whose `encode` rules the file follows: the pruner's, if not given
    profile  of the file, as for `dc.save`

    Give it to a `Trainer` that is made after `dc.prune` or `dc.share`. Masks, codebooks and the number of steps are in
    the trainer's own checkpoints; one of another stage or recipe raises ValueError when it is loaded. A model in
    mid-schedule is never the best one, however good it is. Logs have `density`, and `pruner_steps` beside it; trackers
    see them if they stand after this callback in `callbacks`. Warns at the beginning if the schedule is longer than the
    training.
    """

    def __init__(
        self,
        pruner: Pruner | None = None,
        path: str | os.PathLike[str] | None = None,
        recipe: Recipe | str | os.PathLike[str] | None = None,
        profile: str = DEFAULT_PROFILE,
    ) -> None:
        self._stage = Stage(pruner, path, recipe, profile)

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        assert model is not None
        _tell_ties(model)
        # checkpoints are loaded before training begins
        refuse_other_stages(model)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._stage.begin(state.max_steps - state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not self._stage.finished:
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._stage.step()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        assert model is not None
        figures: dict[str, float] = {"density": density(model)}
        if self._stage.pruner is not None:
            figures["pruner_steps"] = self._stage.pruner.steps
        # the history was written before callbacks are told
        for record in (logs, state.log_history[-1] if state.log_history else None):
            if record is not None:
                record.update(figures)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        assert model is not None
        self._stage.end(model)


def _tell_ties(model: nn.Module) -> None:
    """A checkpoint holds tied tensors once, if the model tells which of their names can go: it knows the plain ones."""
    for target in targets_of(model):
        for module, local in target.places[1:] if chain(target) else ():
            named: Any = module.parametrizations
            named._tied_weights_keys = {**getattr(named, "_tied_weights_keys", {}), local: target.name}
