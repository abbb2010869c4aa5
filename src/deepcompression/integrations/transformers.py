"""Pruning and sharing in Hugging Face's `Trainer`."""

from __future__ import annotations

from typing import Any

from deepcompression.common.extras import named_extra
from deepcompression.recipe.targets import targets_of

with named_extra():
    from torch import nn
    from transformers import TrainerCallback, TrainerState

    from deepcompression.integrations.stage import Stage, density, refuse_other_stages
    from deepcompression.training.attach import chain


class CompressionCallback(Stage, TrainerCallback):
    """Moves a pruner with each step of the optimizer, logs the density, and writes a `.dcz` file when training ends.

    pruner   the result of `dc.prune` for the trainer's model or a part of it; None after `dc.share`
    path     the file for the whole model when training ends (with `load_best_model_at_end`, the best one); None for no
             file
    recipe   the recipe whose `encode` rules the file follows: the pruner's by default
    profile  of the file, as for `dc.save`

    Pass it to a `Trainer` that is made after `dc.prune` or `dc.share`. The trainer's own checkpoints hold masks,
    codebooks and the number of steps; one of another stage or recipe raises ValueError when it is loaded. A model in
    mid-schedule is never the best one, however good it is. Logs have `density` and `pruner_steps`; trackers see them if
    they come after this callback in `callbacks`. Warns at the beginning if the schedule is longer than the training.
    """

    def on_init_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        model: nn.Module = kwargs["model"]
        _note_ties(model)
        # checkpoints are loaded before training begins
        refuse_other_stages(model)

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.begin(state.max_steps - state.global_step)

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if not self.finished:
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.step()

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        figures: dict[str, float] = {"density": density(kwargs["model"])}
        if self.pruner is not None:
            figures["pruner_steps"] = self.pruner.steps
        # the trainer has written its history before it calls callbacks
        for record in (kwargs.get("logs"), state.log_history[-1] if state.log_history else None):
            if record is not None:
                record.update(figures)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.end(kwargs["model"])


def _note_ties(model: nn.Module) -> None:
    """Notes the plain names of tied tensors on the modules: a checkpoint leaves out tied names that it knows."""
    for target in targets_of(model):
        for module, local in target.places[1:] if chain(target) else ():
            named: Any = module.parametrizations
            named._tied_weights_keys = {**getattr(named, "_tied_weights_keys", {}), local: target.name}
