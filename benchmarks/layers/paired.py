"""Ratios of calls' times in one process, with intervals that say how sure they are.

Calls take turns in short blocks, in a random order in each round. The ratio of a round counts, so that what slows all
calls down for a while does not. Where memory lies also makes calls faster or slower, the same in every round: so all
models are copied anew several times. The medians of copies, not the rounds, are the samples of an interval.
"""

from __future__ import annotations

import copy
import functools
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

BLOCK_SECONDS = 0.002
# Calls that all take longer leave no cache as it was: no untimed ones go before.
COLD_SECONDS = 0.02
# Where memory lies changes little of calls that take longer: each round is a sample, of the same copies.
LONG_SECONDS = 0.05
# least: of fewer samples no interval is so sure
SAMPLES, LEAST_SAMPLES = 12, 6
SURE = 0.95

Call = Callable[[], object]
Times = dict[str, list[float]]


class Ratio(NamedTuple):
    """A ratio, and the bounds between which it lies with the probability SURE."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f})"


def samples(models: Mapping[str, Any], x: Any, seconds: float) -> list[Times]:
    """Of `model(x)` by turns, for copies of all models. Together they take about so many seconds."""
    order, found, names = random.Random(0), list[Times](), list(models)
    start = time.perf_counter()
    while len(found) < LEAST_SAMPLES or (len(found) < SAMPLES and time.perf_counter() - start < seconds):
        if not found or _least(found[-1]) < LONG_SECONDS:
            # memory that was freed goes to the first, which shall not be the same each time
            order.shuffle(names)
            calls = {name: functools.partial(copy.deepcopy(models[name]), x) for name in names}
            _warm(calls)
        with torch.inference_mode():
            found.append(by_turns(calls, seconds / SAMPLES, order))
    return found


@torch.inference_mode()
def _warm(calls: Mapping[str, Call]) -> None:
    for call in calls.values():
        call()


def _least(times: Times) -> float:
    return min(min(own) for own in times.values())


def by_turns(calls: Mapping[str, Call], seconds: float, order: random.Random) -> Times:
    """The seconds of each call by rounds, at least one, in each of which it has a block."""
    once = {name: _seconds(call, 1) for name, call in calls.items()}
    blocks = {name: max(1, int(BLOCK_SECONDS / each)) for name, each in once.items()}
    cold = min(once.values()) > COLD_SECONDS
    found: Times = {name: [once[name]] if cold else [] for name in calls}
    names, end = list(calls), time.perf_counter() + seconds
    while not found[names[0]] or time.perf_counter() < end:
        order.shuffle(names)
        for name in names:
            if not cold:
                calls[name]()
            found[name].append(_seconds(calls[name], blocks[name]))
    return found


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def ratio(found: list[Times], base: str, name: str) -> Ratio:
    """The seconds of `base` / those of `name`: the median over samples of the median over rounds.

    Its bounds are two of the samples, so many places from the ends that they are SURE whatever the noise is like.
    """
    medians = sorted(
        statistics.median(one / other for one, other in zip(times[base], times[name], strict=True)) for times in found
    )
    place = _place(len(medians))
    if place < 1:
        raise ValueError(f"an interval takes {LEAST_SAMPLES} samples; found {len(medians)}")
    return Ratio(statistics.median(medians), medians[place - 1], medians[-place])


def _place(count: int) -> int:
    """The place from an end of a sorted sample beyond which its true median seldom lies; 0 if there is none."""
    beyond, place = 0.0, 0
    while True:
        beyond += math.comb(count, place) / 2**count
        if beyond > (1 - SURE) / 2:
            return place
        place += 1
