"""Times this version beside an older one: layers, convolutions, coding and reading, of the same weights.

`--old DIR` is a checkout with its built extension in DIR/src/deepcompression: `git worktree add DIR COMMIT`, then
build it there with CMake. Each version has a process of its own. They take strict turns, and the first of them
alternates. A round's ratio is that of the medians of two turns; the median over the rounds counts. A ratio that noise
may have moved beyond the bound is measured again from new packed weights, and all its rounds count.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.environment import ROOT, commit_of, demand, main
from benchmarks.versions.tasks import Task, tasks
from benchmarks.worker import Message, Worker, WorkerError
from benchmarks.worker import Task as WorkerTask

# No ratio of new to old may be worse, nor a group's geometric mean. A worse ratio may come from noise, such as the
# places of arrays in memory. So may one that is as much better, unless it is beyond NEAR. Both are measured up to so
# many times.
BOUND, NEAR, ATTEMPTS = 1.03, 1.25, 3
# The results may differ by so much, since another form may round otherwise.
SAME = 1e-2
# A call that takes longer needs no warm caches.
SLOW_SECONDS = 0.05

Rounds = list[tuple[float, float]]


def start(name: str, source: Path | None) -> Worker:
    """A worker of the version in the folder `source`, or of the one that this process imports."""
    # without `site`, no editable installation comes before the folder
    run, path = ([sys.executable], sys.path) if source is None else ([sys.executable, "-S"], [str(source), *sys.path])
    command = [*run, "-m", "benchmarks.versions.worker"]
    return Worker(name, command, ROOT, {"PYTHONPATH": os.pathsep.join(path)})


def compare(old: timing.Task, new: timing.Task, seconds: float) -> Rounds:
    """Seconds of a call, old and new, of each round: as many as the time allows."""
    end = time.perf_counter() + seconds
    known = max(statistics.median(task.turn(1, True)) for task in (old, new))
    rounds: Rounds = []
    while len(rounds) < timing.LEAST_ROUNDS or time.perf_counter() < end:
        calls = max(1, min(timing.TURN_CALLS, int(timing.TURN_SECONDS / known)))
        order = (old, new) if len(rounds) % 2 else (new, old)
        found = {id(task): statistics.median(task.turn(calls, known > SLOW_SECONDS)) for task in order}
        rounds.append((found[id(old)], found[id(new)]))
        known = max(rounds[-1])
    return rounds


def summary(rounds: Rounds) -> Message:
    """Median milliseconds, and the ratio of new to old with its quartiles over the rounds."""
    ratios = [new / old for old, new in rounds]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    olds, news = zip(*rounds, strict=True)
    times = {"old ms": 1e3 * statistics.median(olds), "new ms": 1e3 * statistics.median(news)}
    found = times | {"ratio": ratio, "lower quartile": low, "upper quartile": high}
    return {key: float(f"{value:.4g}") for key, value in found.items()}


def doubtful(ratio: float) -> bool:
    """Whether to measure a ratio again."""
    return ratio > BOUND or 1 / NEAR < ratio < 1 / BOUND


def measure(task: Task, workers: Mapping[str, Worker], seconds: float) -> Message:
    """One task. Raises WorkerError, and ValueError if the versions give different results."""
    rounds: Rounds = []
    attempts = 0
    while attempts < ATTEMPTS and (not rounds or doubtful(summary(rounds)["ratio"])):
        for worker in workers.values():
            worker.ask(forget=True)
            worker.send(make=task.name, **task.command)
        made = {name: worker.receive() for name, worker in workers.items()}
        magnitudes = [each["magnitude"] for each in made.values()]
        if not math.isclose(*magnitudes, rel_tol=SAME):
            raise ValueError(f"{task.name}: the versions give different results: {magnitudes}")
        old, new = (WorkerTask(worker, task.name) for worker in workers.values())
        rounds += compare(old, new, seconds)
        attempts += 1
    forms = {f"{name} form": each["form"] for name, each in made.items() if each["form"]}
    return summary(rounds) | {"rounds": len(rounds), "attempts": attempts} | forms


def demands(groups: Mapping[str, Mapping[str, Message]], missing: Iterable[str]) -> list[dict[str, Any]]:
    """No group's mean and no ratio worse than the bound."""
    rows = []
    for group, found in groups.items():
        ratios = {name: each["ratio"] for name, each in found.items()}
        mean, worst = statistics.geometric_mean(ratios.values()), max(ratios, key=lambda name: ratios[name])
        text = f"{group}: new takes at most {BOUND} times as long as old"
        rows.append(demand(f"{text}, geometric mean", f"{mean:.3f} of {len(ratios)}", mean <= BOUND))
        rows.append(demand(f"{text}, each", f"{ratios[worst]:.3f} ({worst})", ratios[worst] <= BOUND))
    return [*rows, *(demand(f"{name} is measured", "not measured", False) for name in missing)]


def measure_all(arguments: argparse.Namespace) -> Message:
    timing.clean_environment()
    checkout = Path(arguments.old).resolve()
    package = checkout / "src" / "deepcompression"
    if not any((package / f"_core{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        raise SystemExit(f"{package} has no extension _core: build the old version there")
    groups: dict[str, dict[str, Message]] = {}
    missing: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks(Path(folder), arguments.quick):
            if not workers:
                workers = {"old": start("old", checkout / "src"), "new": start("new", None)}
            try:
                found = measure(task, workers, arguments.seconds)
                groups.setdefault(task.group, {})[task.name] = found
                print(f"{task.name}: {found}", flush=True)
            except WorkerError as error:
                missing[task.name] = str(error)
                print(f"{task.name}: {error}", flush=True)
                close(workers)
    close(workers)
    return {"old": commit_of(checkout), "groups": groups, "missing": missing, "demands": demands(groups, missing)}


def close(workers: dict[str, Worker]) -> None:
    while workers:
        workers.popitem()[1].close()


OPTIONS = {
    "--old": {"required": True, "metavar": "DIR", "help": "checkout of the older version, with its extension in src"},
    "--seconds": {"type": float, "default": 0.8, "help": "of the turns of each task"},
    "--quick": {"action": "store_true", "help": "a few small tasks, to see that it runs"},
}

if __name__ == "__main__":
    raise SystemExit(main("versions", measure_all, OPTIONS, ["quick"], ["torch"]))
