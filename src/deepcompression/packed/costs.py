"""The expected time of layers, dense and from packed weights: a table that `python -m benchmarks.costs` measured."""

from __future__ import annotations

import functools
import json
import math
import platform
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).with_name("costs.json")

# Positions of the output of a convolution whose inputs are not known: 14 x 14, the middle of most networks.
POSITIONS = 14 * 14

# Time steps of a sequence whose length is not known.
STEPS = 16

_NANO = 1e-9
_CPU_FIELDS = ("model name", "cpu family", "model")


class Work(NamedTuple):
    """What a call computes.

    columns    inputs of a row
    survivors  of the weights; all look-ups together for embeddings
    vectors    of a product or a time step; images of a convolution; look-ups
    channels   of the inputs of a convolution
    positions  of the output of a convolution that are computed for an image
    products   of a time step: the seconds of its products
    """

    rows: int
    columns: int
    survivors: int
    vectors: int = 1
    channels: int = 0
    positions: int = POSITIONS
    products: float = 0.0

    @property
    def weights(self) -> int:
        return self.rows * self.columns


def _levels(work: Work, caches: tuple[int, ...]) -> list[float]:
    """The weights, in the place of the smallest cache that holds them; the last place is for memory."""
    level = sum(4 * work.weights > size for size in caches)
    return [float(work.weights) if at == level else 0.0 for at in range(len(caches) + 1)]


def _dense(work: Work, caches: tuple[int, ...]) -> list[float]:
    return [1, work.rows, work.columns, *_levels(work, caches)]


def _packed(work: Work, caches: tuple[int, ...]) -> list[float]:
    return [1, work.rows, work.columns, work.survivors]


def _convolution(per_position: Callable[[Work], int]) -> Callable[[Work, tuple[int, ...]], list[float]]:
    def features(work: Work, caches: tuple[int, ...]) -> list[float]:
        weights, positions = per_position(work), work.positions * work.vectors
        return [1, weights, weights * positions, (work.channels + work.rows) * positions]

    return features


def _look_ups(work: Work, caches: tuple[int, ...]) -> list[float]:
    return [1, work.vectors, work.vectors * work.columns, work.survivors]


def _step(work: Work, caches: tuple[int, ...]) -> list[float]:
    # of the products a multiple, since torch's own recurrent kernels take another time for them than `linear`
    return [1, work.rows * work.vectors, work.products / _NANO]


# Numbers of vectors for which the time of other numbers is known, too: those of callers who name none.
FEW, MANY = 1, 64

# What is timed -> the quantities whose multiples, added up, are the expected time. Kinds of products have multiples for
# each number of vectors that was measured, packed for this number or `for` another one.
FEATURES: dict[str, Callable[[Work, tuple[int, ...]], list[float]]] = {
    "dense": _dense,
    **{f"{kind}{way}": _packed for kind in ("float32", "int8") for way in ("", f" for {FEW}", f" for {MANY}")},
    "convolution dense": _convolution(lambda work: work.weights),
    "convolution": _convolution(lambda work: work.survivors),
    "look-ups dense": _look_ups,
    "look-ups": _look_ups,
    **{f"{kind} {way}": _step for kind in ("LSTM", "GRU", "RNN") for way in ("dense", "packed")},
}


class Costs:
    """The expected seconds of calls with an instruction set and a number of threads.

    margin  by so much compressed must be faster than dense in expectation to be so in truth
    """

    def __init__(self, table: Mapping[str, Any], instruction_set: str, threads: int, cpu: str) -> None:
        sets = table["sets"][instruction_set]
        # the largest number of threads that was measured and is not larger; else the least
        measured = sorted(map(int, sets))
        self._lines = sets[str(max([n for n in measured if n <= threads], default=measured[0]))]
        self._caches = tuple(table["caches"])
        error = table["errors"][instruction_set]["close"]
        self.margin = error if cpu == table["machine"]["id"] else 2 * error

    def seconds(self, kind: str, work: Work) -> float:
        """The expected seconds of a call of a kind in `FEATURES`. Raises KeyError if the table lacks it."""
        lines = self._lines[kind]
        if isinstance(lines, list):
            return self._at(kind, lines, work)
        counts = sorted(map(int, lines))
        upper = next((count for count in counts if count >= work.vectors), counts[-1])
        lower = max((count for count in counts if count <= work.vectors), default=counts[0])
        high, low = (self._at(kind, lines[str(count)], work) for count in (upper, lower))
        if work.vectors > upper:
            return high * work.vectors / upper
        if lower == upper:
            return high
        part = math.log(work.vectors / lower) / math.log(upper / lower)
        return math.exp((1 - part) * math.log(low) + part * math.log(high))

    def _at(self, kind: str, line: list[float], work: Work) -> float:
        found: float = sum(a * b for a, b in zip(line, FEATURES[kind](work, self._caches), strict=True))
        return _NANO * found

    def step(self, layer: str, way: str, work: Work, inputs: Work) -> float:
        """A time step of an LSTM, GRU or RNN.

        way     `dense`, or the kind of products with packed weights
        work    of the product with the hidden state
        inputs  of the product with the inputs, for all sequences, and maybe for several time steps at once
        """
        products = self.seconds(way, work) + self.seconds(way, inputs) * work.vectors / inputs.vectors
        kind = f"{layer} {'dense' if way == 'dense' else 'packed'}"
        return self.seconds(kind, work._replace(rows=work.columns, products=products))


@functools.cache
def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


@functools.cache
def costs(instruction_set: str, threads: int) -> Costs:
    """From the table of the package."""
    return Costs(table(), instruction_set, threads, cpu_id())


@functools.cache
def cpu_id() -> str:
    """The kind of this processor, as its system names it."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    # a block for each processor, which the system measures while it is read
    with info.open() as lines:
        pairs = [line.partition(":") for line in takewhile(str.strip, lines)]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    return " ".join(fields[name] for name in _CPU_FIELDS if name in fields) or platform.machine()
