"""The training loop of the LeNets: a cosine rate, distorted digits; and the error of a network."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn
from torch.nn import functional as F

from reproduce.data import Distortion, Images, distort


@dataclass(frozen=True)
class Phase:
    """One stretch of training: `epochs`, the rate falling from `rate` to 0 along a cosine, after `warmup` steps up."""

    name: str
    epochs: int
    rate: float
    warmup: int = 0
    optimizer: str = "adam"


BATCH = 100

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True),
}
EVALUATION_BATCH = 1000


def error_percent(model: nn.Module, images: Images) -> float:
    """Percentage of images whose largest logit is not their label's."""
    training = model.training
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in images.pixels.split(EVALUATION_BATCH)])
    model.train(training)
    return 100 * (logits.argmax(1) != images.labels).double().mean().item()


def train(
    model: nn.Module,
    phase: Phase,
    images: Images,
    validation: Images,
    generator: torch.Generator,
    distortion: Distortion,
    step: Callable[[], None] = lambda: None,
) -> None:
    """Trains a model for a phase and reports each epoch; `step` is called after every step of the optimizer."""
    optimizer = OPTIMIZERS[phase.optimizer](model.parameters(), lr=phase.rate)
    steps = len(images) // BATCH
    total = phase.epochs * steps
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: _rate(done, total, phase.warmup))
    model.train()
    with _progress(phase, steps) as report:
        for _ in range(phase.epochs):
            order = torch.randperm(len(images), generator=generator)
            losses = torch.zeros(())
            for at in range(steps):
                index = order[at * BATCH : (at + 1) * BATCH]
                logits = model(distort(images.pixels[index], distortion, generator))
                loss = F.cross_entropy(logits, images.labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
                step()
                losses += loss.detach()
                report.advance()
            report.epoch(losses.item() / steps, error_percent(model, validation))


def _rate(done: int, total: int, warmup: int) -> float:
    return min(1.0, (done + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * min(1.0, done / total)))


class _Report:
    """A progress bar on a terminal, a plain line an epoch elsewhere."""

    def __init__(self, phase: Phase, bar: Progress | None, steps: int) -> None:
        self._phase, self._bar, self._epoch, self._start = phase, bar, 0, time.perf_counter()
        self._task = bar.add_task(phase.name, total=phase.epochs * steps) if bar else None

    def advance(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def epoch(self, loss: float, error: float) -> None:
        self._epoch += 1
        message = f"{self._phase.name} {self._epoch}/{self._phase.epochs}: loss {loss:.4f}, validation {error:.2f} %"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=message)
        else:
            print(f"{message}, {time.perf_counter() - self._start:.0f} s", flush=True)


@contextmanager
def _progress(phase: Phase, steps: int) -> Iterator[_Report]:
    if not sys.stdout.isatty():
        yield _Report(phase, None, steps)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        yield _Report(phase, bar, steps)
