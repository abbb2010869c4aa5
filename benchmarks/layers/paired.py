"""Ratios of calls' times in one process, with intervals that say how sure they are.

Calls take turns in short blocks, in a random order in each round. The ratio of a round counts, so that what slows all
calls down for a while does not. Where memory lies also makes calls faster or slower, the same in every round: so all
models are copied anew several times. Copies, not rounds, are the samples of an interval.
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
from scipy.stats import t as student

BLOCK_SECONDS = 0.002
# Calls that all take longer leave no cache as it was: no untimed ones go before.
LONG_SECONDS = 0.02
# of copies; fewer where a call of each takes more than a part of the budget
COPIES, LEAST_COPIES = 6, 3
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


def times_of_copies(models: Mapping[str, Any], x: Any, seconds: float) -> list[Times]:
    """Of `model(x)` by turns, for each of several copies of all models. Together they take about so many seconds."""
    order, found = random.Random(0), []
    start = time.perf_counter()
    for number in range(COPIES):
        if number >= LEAST_COPIES and time.perf_counter() - start > seconds:
            break
        calls = {name: functools.partial(copy.deepcopy(model), x) for name, model in models.items()}
        with torch.inference_mode():
            found.append(by_turns(calls, seconds / COPIES, order))
    return found


def by_turns(calls: Mapping[str, Call], seconds: float, order: random.Random) -> Times:
    """The seconds of each call by rounds, at least one, in each of which it has a block."""
    once: dict[str, float] = {}
    for name, call in calls.items():
        call()
        once[name] = _seconds(call, 1)
    blocks = {name: max(1, int(BLOCK_SECONDS / each)) for name, each in once.items()}
    long = min(once.values()) > LONG_SECONDS
    found: Times = {name: [once[name]] if long else [] for name in calls}
    names, end = list(calls), time.perf_counter() + seconds
    while not found[names[0]] or time.perf_counter() < end:
        order.shuffle(names)
        for name in names:
            if not long:
                calls[name]()
            found[name].append(_seconds(calls[name], blocks[name]))
    return found


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def ratio(copies: list[Times], base: str, name: str) -> Ratio:
    """The seconds of `base` / those of `name`: the mean over copies of the median over rounds, on a log scale."""
    logs = [
        statistics.median(math.log(one / other) for one, other in zip(times[base], times[name], strict=True))
        for times in copies
    ]
    middle = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    wide = float(student.ppf((1 + SURE) / 2, len(logs) - 1)) * error
    return Ratio(math.exp(middle), math.exp(middle - wide), math.exp(middle + wide))
