"""What is measured on a GPU, in the order of its worth: time may end before the last case."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.layers.ours import LAYERS

BATCHES = (1, 8, 64)
DENSITIES = (0.1, 0.25, 0.04, 0.5)
# rows, columns: the weight of a language model, and squares
WIDE, *SQUARES = (4096, 14336), (4096, 4096), (8192, 8192)
SHAPES = (WIDE, *SQUARES)
# of the paper's layers, those that the paper itself measures on a GPU
OF_THE_PAPER = tuple(name for name in LAYERS if not name.startswith("NeuralTalk"))
CENTROIDS = 16


class Case(NamedTuple):
    """A weight of the shape (rows, columns)."""

    name: str
    rows: int
    columns: int
    density: float

    @property
    def weights(self) -> int:
        return self.rows * self.columns


def grid(shape: tuple[int, int], density: float) -> Case:
    return Case(f"{shape[0]}x{shape[1]}, {density:.0%}", *shape, density)


LAYER_CASES = tuple(Case(name, *facts) for name, facts in LAYERS.items())
GRID_CASES = tuple(grid(shape, density) for density, shape in itertools.product(DENSITIES, SHAPES))
# the demands first: the wide weight, then the layers
CASES = (grid(WIDE, 0.1), grid(WIDE, 0.25), *LAYER_CASES, *(c for c in GRID_CASES if c.columns != WIDE[1]))
CASES += tuple(case for case in GRID_CASES if case not in CASES)

TINY = Case("tiny, for --dry-run", 64, 128, 0.2)


class Budget:
    """The seconds of a run, shared among what is left: each case may take its part, and what that leaves."""

    def __init__(self, seconds: float, cases: int) -> None:
        self.seconds, self.left = seconds, cases

    def take(self, elapsed: float) -> float | None:
        """The seconds of the next case; None if none are left."""
        rest = self.seconds - elapsed
        if rest <= 0 or not self.left:
            return None
        part = rest / self.left
        self.left -= 1
        return part


def planned(only: tuple[str, ...], batches: tuple[int, ...]) -> Iterator[tuple[Case, tuple[int, ...]]]:
    """The cases whose names contain one of `only`, or all, with their batches: the batch of the demands first."""
    for case in CASES:
        if not only or any(part in case.name for part in only):
            yield case, tuple(sorted(batches))
