"""When how much is pruned: at once, in prune-retrain rounds, or gradually inside one training run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator


class _Schedule(BaseModel):
    """`amount(start, target, step)` is the density (or quality) after `step` calls of the caller's loop, from `start`
    (nothing pruned).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


def _between(start: float, target: float, part: float, geometric: bool) -> float:
    """Linearly, or by equal factors where both ends allow it (a quality starts at 0)."""
    if geometric and start > 0 and target > 0:
        return float(start * (target / start) ** part)
    return target + (start - target) * (1 - part)


class OneShot(_Schedule):
    """All at once, before retraining."""

    kind: Literal["one-shot"] = "one-shot"
    last_step: ClassVar[int] = 0

    def due(self, step: int) -> bool:
        return step == 0

    def amount(self, start: float, target: float, step: int) -> float:
        return target


class Rounds(_Schedule):
    """`rounds` times pruning and retraining (the companion paper's iterative pruning): the first before any step, one
    with each step.

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
        part = min(1.0, (step + 1) / self.rounds)
        return _between(start, target, part, geometric=True)


class Gradual(_Schedule):
    """Pruning every `every` steps from step `begin` to step `end`, fast at first: (1 - progress)^3 of the way is
    left (Zhu and Gupta, "To prune, or not to prune", 2017, equation 1).

    With `geometric` the way is that of the density's logarithm: low densities, where a network suffers, are passed more
    slowly.
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
        part = 1 - (1 - progress) ** 3
        return _between(start, target, part, self.geometric)


Schedule = Annotated[OneShot | Rounds | Gradual, Field(discriminator="kind")]
