"""The training loop of the large networks: phase after phase, by one process or many, resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import deepcompression as dc
from reproduce.large.checkpoint import Checkpoint, Progress, Settings
from reproduce.large.evaluation import Means, Normalisation, errors, inputs_of
from reproduce.large.networks import Large
from reproduce.large.phases import Phase, rules_of
from reproduce.large.samples import Order, Source, batches

_SAY_SECONDS = 30


@dataclass(frozen=True)
class Data:
    """Samples, with the indices of those to train on and of those for choices."""

    source: Source
    training: np.ndarray
    validation: np.ndarray
    normalisation: Normalisation


class _Wrapped(torch.nn.Module):
    """A model for one phase: Accelerate changes what it prepares, and would not prepare it a second time."""

    def __init__(self, model: Large) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.model(x))


def _optimizer(model: Large, phase: Phase) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if phase.shares:
        return torch.optim.Adam(trained, lr=phase.rate, fused=True)
    return torch.optim.SGD(trained, lr=phase.rate, momentum=0.9, weight_decay=5e-4, fused=True)


def _rate(phase: Phase, step: int, steps: int) -> float:
    warmup = min(phase.warmup, steps // 10)
    return phase.rate * min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass
class Trainer:
    """Takes a model through phases.

    settings     the settings that a checkpoint must have, beside the phases
    checkpoint   its path, in a folder that all processes see
    start        fills the new model where there is no checkpoint
    before       called before a phase begins, with the model as the last phase left it
    """

    model: Large
    recipe: dc.Recipe
    phases: list[Phase]
    data: Data
    means: Means
    settings: Settings
    checkpoint: Path
    start: Callable[[Large], object] = lambda model: None
    before: Callable[[Phase], None] = lambda phase: None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        ranks, batch = self.means.accelerator.num_processes, self.means.batch
        if batch % ranks:
            raise ValueError(f"a batch of {batch} cannot be divided among {ranks} processes; give another --batch")
        if batch > len(self.data.training):
            raise ValueError(
                f"there are {len(self.data.training)} samples to train on, fewer than a batch of {batch}; "
                "give a smaller --batch"
            )

    def run(self) -> None:
        """All phases that are not done yet. Raises ValueError for a checkpoint that cannot be resumed, and for a loss
        that is not finite.
        """
        found = self._resume()
        for number in range(self.progress.phase, len(self.phases)):
            self._train(self.phases[number], found)
            found = None

    def _resume(self) -> Checkpoint | None:
        accelerator = self.means.accelerator
        found = Checkpoint.read(self.checkpoint) if self.checkpoint.exists() else None
        if found is None:
            self.start(self.model)
        else:
            found.check(self.checkpoint, self.settings, [phase.described() for phase in self.phases])
            dc.resume(self.model, found.model)
            self.progress = found.progress
        position = torch.tensor([self.progress.phase, self.progress.step], device=accelerator.device)
        if len({tuple(row) for row in accelerator.gather(position[None]).tolist()}) > 1:
            raise ValueError(
                f"processes found different checkpoints at {self.checkpoint}: --out must be a folder that all share"
            )
        if found is not None:
            accelerator.print(f"resumes from {self.checkpoint}")
        return found

    def _begin(self, phase: Phase) -> None:
        self.before(phase)
        if phase.prunes:
            part = rules_of(self.recipe, phase.prunes)
            if phase.turn == 0:
                dc.prune(self.model, part)
            else:
                dc.Pruner(self.model, part).step()
        if phase.shares:
            dc.share(self.model, self.recipe)

    def _train(self, phase: Phase, found: Checkpoint | None) -> None:
        model, accelerator = self.model, self.means.accelerator
        if self.progress.step == 0:
            self._begin(phase)
        model.to(accelerator.device, memory_format=torch.channels_last)
        model.drop6.p, model.drop7.p = phase.dropout
        model.train()
        with dc.freeze(model, *(f"{kind}*" for kind in phase.frozen)):
            optimizer = _optimizer(model, phase)
            if found is not None and found.optimizer is not None:
                optimizer.load_state_dict(found.optimizer)
            wrapped, optimizer = accelerator.prepare(_Wrapped(model), optimizer)
            if found is not None and found.scaler is not None and accelerator.scaler is not None:
                accelerator.scaler.load_state_dict(found.scaler)
            self._steps(phase, wrapped, optimizer)
            error = errors(model, self.data.source, self.data.validation, self.data.normalisation, self.means)
            accelerator.free_memory()
        stage = {"stage": phase.name, "validation_error_percent": error.top1}
        accelerator.print(f"{phase.name}: done, validation {error.top1:.2f} %", flush=True)
        self.progress = Progress(self.progress.phase + 1, 0, [*self.progress.stages, stage])
        self._save(None)
        accelerator.wait_for_everyone()

    def _steps(self, phase: Phase, wrapped: torch.nn.Module, optimizer: Any) -> None:
        """Takes the steps that are left."""
        accelerator, means = self.means.accelerator, self.means
        in_epoch = len(self.data.training) // means.batch
        steps = max(1, round(phase.epochs * in_epoch)) if phase.epochs else 0
        number, first = self.progress.phase, self.progress.step
        rank, ranks = accelerator.process_index, accelerator.num_processes
        order = Order(self.data.training, means.batch, (means.seed, number), first, steps, rank, ranks)
        watch = _Watch(phase, steps, means)
        for step, (samples, labels) in enumerate(batches(self.data.source, order, means.workers), first):
            for group in optimizer.param_groups:
                group["lr"] = _rate(phase, step, steps)
            # the step decides what dropout draws: a resumed job draws the same
            torch.manual_seed(int(np.random.SeedSequence((means.seed, number, step, rank)).generate_state(1)[0]))
            logits = wrapped(inputs_of(samples, accelerator.device, self.data.normalisation))
            loss = F.cross_entropy(logits, labels.to(accelerator.device))
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            self.progress.step = step + 1
            if watch.saw(step + 1, loss.detach()):
                self._save(optimizer)
            if (step + 1) % in_epoch == 0 and step + 1 < steps:
                error = errors(self.model, self.data.source, self.data.validation, self.data.normalisation, means)
                accelerator.print(
                    f"{phase.name}: {step + 1} of {steps} steps, validation {error.top1:.2f} %", flush=True
                )
        watch.loss()

    def _save(self, optimizer: Any) -> None:
        accelerator = self.means.accelerator
        if accelerator.is_main_process:
            scaler = None if accelerator.scaler is None or optimizer is None else accelerator.scaler.state_dict()
            Checkpoint(
                self.progress,
                self.settings,
                [phase.described() for phase in self.phases],
                self.model.state_dict(),
                None if optimizer is None else optimizer.state_dict(),
                scaler,
            ).write(self.checkpoint)


class _Watch:
    """Losses of a phase: reports them, says when to save, and ends a training that diverges."""

    def __init__(self, phase: Phase, steps: int, means: Means) -> None:
        self._phase, self._steps, self._means = phase, steps, means
        self._said = self._saved = time.monotonic()
        self._sum, self._count, self._last = torch.zeros(()), 0, float("nan")
        self._samples = 0

    def saw(self, done: int, loss: Tensor) -> bool:
        """Counts a step; whether to save after it."""
        self._sum = self._sum.to(loss.device) + loss
        self._count += 1
        now = time.monotonic()
        due = now - self._saved >= 60 * self._means.save_minutes
        if due:
            self._saved = now
        if due or now - self._said >= _SAY_SECONDS:
            speed = self._count * self._means.batch / max(1e-9, now - self._said)
            self._means.accelerator.print(
                f"{self._phase.name}: {done} of {self._steps} steps, loss {self.loss():.4f}, {speed:.0f} samples/s",
                flush=True,
            )
            self._said = now
        return due

    def loss(self) -> float:
        """The mean since the last call. Raises ValueError if it is not finite."""
        if self._count:
            self._last = self._sum.item() / self._count
            if not math.isfinite(self._last):
                raise ValueError(
                    f"{self._phase.name}: the loss is {self._last}: training diverges; the last checkpoint is kept. "
                    "Start over with a lower rate, or with --precision float32"
                )
            self._sum, self._count = torch.zeros(()), 0
        return self._last
