"""Schedules of pruning: at once, in prune-retrain rounds, or gradually inside one training run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from deepcompression.common.settings import RecipePart


def _between(start: float, target: float, part: float, geometric: bool) -> float:
    """An amount between both ends: linearly, or by equal factors unless an end is 0 (a quality starts at 0)."""
    if geometric and start > 0 and target > 0:
        return float(start * (target / start) ** part)
    return target + (start - target) * (1 - part)


class OneShot(RecipePart):
    """All pruning at once, before retraining."""

    kind: Literal["one-shot"] = "one-shot"
    last_step: ClassVar[int] = 0

    def due(self, step: int) -> bool:
        return step == 0

    def amount(self, start: float, target: float, step: int) -> float:
        return target


class Rounds(RecipePart):
    """Pruning and retraining `rounds` times (the companion paper's iterative pruning): the first round comes before any
    step, and each step is one more.

    The density falls by the same factor in each round; a quality rises by the same amount.
    """

    kind: Literal["rounds"] = "rounds"
    rounds: PositiveInt = Field(strict=True)

    @property
    def last_step(self) -> int:
        return self.rounds - 1

    def due(self, step: int) -> bool:
        return step <= self.last_step

    def amount(self, start: float, target: float, step: int) -> float:
        return _between(start, target, min(1.0, (step + 1) / self.rounds), geometric=True)


class Gradual(RecipePart):
    """Pruning every `every` steps from step `begin` to step `end`, fast at first: (1 - progress)^3 of the way is
    left (Zhu and Gupta, "To prune, or not to prune", 2017, equation 1).

    With `geometric` the logarithm of the density follows that curve: pruning slows down at low densities, where a
    network suffers.
    """

    kind: Literal["gradual"] = "gradual"
    begin: NonNegativeInt = Field(default=0, strict=True)
    end: PositiveInt = Field(strict=True)
    every: PositiveInt = Field(default=1, strict=True)
    geometric: bool = Field(default=False, strict=True)

    @model_validator(mode="after")
    def _check(self) -> Gradual:
        if self.end <= self.begin:
            raise ValueError(f"end must come after begin; found begin {self.begin} and end {self.end}")
        return self

    @property
    def last_step(self) -> int:
        return self.end

    def due(self, step: int) -> bool:
        return step == self.end or (self.begin <= step < self.end and (step - self.begin) % self.every == 0)

    def amount(self, start: float, target: float, step: int) -> float:
        progress = min(1.0, max(0.0, (step - self.begin) / (self.end - self.begin)))
        return _between(start, target, 1 - (1 - progress) ** 3, self.geometric)


# `due(step)` says whether to prune after `step` calls by the caller's loop, and `amount(start, target, step)` to which
# density (or quality); nothing is pruned at `start`
Schedule = Annotated[OneShot | Rounds | Gradual, Field(discriminator="kind")]
