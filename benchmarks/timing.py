"""Times tasks by turns: every round gives each of them a turn, in a new order, with hot or cold caches."""

from __future__ import annotations

import functools
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

COLD_BYTES = 96 << 20
# A turn with hot caches begins with untimed calls, at least so many and for at least so long. A core that slept needs
# some thousand clocks before caches, predictors and frequency are those of a loop.
WARM_CALLS, WARM_SECONDS = 2, 0.0005
# The timed calls of a turn: for about so long, at most so many.
TURN_SECONDS, TURN_CALLS = 0.002, 20
# Pools of threads spin after a call, some for 25 ms; they must sleep before another task's turn.
PAUSE_SECONDS, MOST_PAUSES = 0.012, 8
LEAST_ROUNDS = 3
# A task whose call takes more than this part of the budget has only the least number of rounds.
SLOW = 0.02


class Task(Protocol):
    """A task that takes turns."""

    def turn(self, calls: int, cold: bool) -> list[float]:
        """Seconds of each call; with `cold` the caches are flushed before each, else a few calls go before."""


def seconds(work: Callable[..., object], *arguments: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def clean_environment(others: Mapping[str, str] | None = None) -> None:
    """Restarts this program without variables that slow OpenBLAS down, which it reads when it is loaded, and with
    `others`. Threads of libiomp5 then also fall asleep within the pause between turns.
    """
    wanted = {"KMP_BLOCKTIME": "5"} | dict(others or {})
    unwanted = [name for name in os.environ if name.startswith("OPENBLAS_") and name not in wanted]
    if unwanted or any(os.environ.get(name) != value for name, value in wanted.items()):
        kept = {name: value for name, value in os.environ.items() if name not in unwanted}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], kept | wanted)


class Flush:
    """Streams through `COLD_BYTES` on each of `threads` cores at once, so that no cache holds anything else."""

    def __init__(self, threads: int = 1) -> None:
        self.buffers = [np.ones(COLD_BYTES // 8, np.uint64) for _ in range(threads)]
        self.pool = ThreadPoolExecutor(threads)

    def __call__(self) -> None:
        others = [self.pool.submit(buffer.max) for buffer in self.buffers[1:]]
        self.buffers[0].max()
        for other in others:
            other.result()


@functools.cache
def flush_of(threads: int) -> Flush:
    """One for each number of threads, since its buffers are large."""
    return Flush(threads)


class Call:
    """A call in this process; `before` is called at the start of each turn."""

    def __init__(
        self, call: Callable[[], Any], flush: Callable[[], None], before: Callable[[], object] = lambda: None
    ) -> None:
        self.call, self.flush, self.before = call, flush, before

    def turn(self, calls: int, cold: bool) -> list[float]:
        self.before()
        return turn(self.call, calls, self.flush if cold else None)


def turn(call: Callable[[], Any], calls: int, flush: Callable[[], None] | None) -> list[float]:
    """As `Task.turn`."""
    if flush is None:
        end, warm = time.perf_counter() + WARM_SECONDS, 0
        while warm < WARM_CALLS or time.perf_counter() < end:
            call()
            warm += 1
    found = []
    for _ in range(calls):
        if flush is not None:
            flush()
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return found


def rest(seconds: float) -> None:
    """Sleeps so long, again and again until no thread of this process computes meanwhile."""
    for _ in range(MOST_PAUSES):
        before = time.process_time()
        time.sleep(seconds)
        if time.process_time() - before < seconds / 10:
            break


def interleave(
    tasks: Mapping[str, Task], budget_seconds: float, cold: bool = False, pause: float = PAUSE_SECONDS, seed: int = 0
) -> tuple[dict[str, float], int]:
    """Median seconds of a call by task, and the number of rounds: as many as fit the budget."""
    found, rounds = by_turns(tasks, budget_seconds, cold, pause, seed)
    return {name: statistics.median(each) for name, each in found.items()}, rounds


def by_turns(
    tasks: Mapping[str, Task], budget_seconds: float, cold: bool = False, pause: float = PAUSE_SECONDS, seed: int = 0
) -> tuple[dict[str, list[float]], int]:
    """The same with the seconds of all calls."""
    end = time.perf_counter() + budget_seconds
    order = list(tasks)
    shuffler = random.Random(seed)
    found: dict[str, list[float]] = {name: [] for name in order}
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        shuffler.shuffle(order)
        for name in order:
            known = min(found[name], default=TURN_SECONDS)
            if rounds >= LEAST_ROUNDS and known > SLOW * budget_seconds:
                continue
            calls = 1 if cold else max(1, min(TURN_CALLS, int(TURN_SECONDS / known)))
            if pause:
                rest(pause)
            found[name] += tasks[name].turn(calls, cold)
        rounds += 1
    return found, rounds
