"""Times this version beside an older one: layers, convolutions, coding and reading, of the same weights.

`--old DIR` is a checkout with its built extension in DIR/src/deepcompression: `git worktree add DIR COMMIT`, then
build it there with CMake. Each version has a process of its own. They take strict turns, and the first of them
alternates. A round's ratio is that of the medians of two turns, and the median over the rounds counts. Code and
arrays lie elsewhere in memory in each process. A ratio that this may have moved beyond the bound is measured again by
new processes, and the median over the processes counts.
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

# No ratio of new to old may be worse, nor a group's geometric mean. A worse ratio may come from the places of code and
# arrays in memory. So may one that is as much better, unless it is beyond NEAR. Both are measured by so many pairs of
# processes.
BOUND, NEAR, ATTEMPTS = 1.03, 1.1, 5
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


def ratio_of(rounds: Rounds) -> float:
    """Of new to old, the median."""
    return statistics.median(new / old for old, new in rounds)


def summary(attempts: list[Rounds]) -> Message:
    """Median milliseconds; the ratio of new to old, by the median pair of processes; its quartiles over the rounds."""
    rounds = [each for attempt in attempts for each in attempt]
    low, _, high = statistics.quantiles((new / old for old, new in rounds), n=4, method="inclusive")
    olds, news = zip(*rounds, strict=True)
    times = {"old ms": 1e3 * statistics.median(olds), "new ms": 1e3 * statistics.median(news)}
    ratio = statistics.median(map(ratio_of, attempts))
    found = times | {"ratio": ratio, "lower quartile": low, "upper quartile": high}
    counts = {"rounds": len(rounds), "attempts": len(attempts)}
    return {key: float(f"{value:.4g}") for key, value in found.items()} | counts


def doubtful(ratio: float) -> bool:
    """Whether to measure a ratio again."""
    return ratio > BOUND or 1 / NEAR < ratio < 1 / BOUND


def measure(task: Task, workers: dict[str, Worker], source: Path, seconds: float) -> Message:
    """One task by workers, which are new ones afterwards if it took several. `source` holds the old version.

    Raises WorkerError, and ValueError if the versions give different results.
    """
    attempts: list[Rounds] = []
    while not attempts or (len(attempts) < ATTEMPTS and doubtful(ratio_of(attempts[0]))):
        if attempts:
            renew(workers, source)
        for worker in workers.values():
            worker.ask(forget=True)
            worker.send(make=task.name, **task.command)
        made = {name: worker.receive() for name, worker in workers.items()}
        magnitudes = [each["magnitude"] for each in made.values()]
        if not math.isclose(*magnitudes, rel_tol=SAME):
            raise ValueError(f"{task.name}: the versions give different results: {magnitudes}")
        old, new = (WorkerTask(worker, task.name) for worker in workers.values())
        attempts.append(compare(old, new, seconds))
    forms = {f"{name} form": each["form"] for name, each in made.items() if each["form"]}
    return summary(attempts) | forms


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
                renew(workers, checkout / "src")
            try:
                found = measure(task, workers, checkout / "src", arguments.seconds)
                groups.setdefault(task.group, {})[task.name] = found
                print(f"{task.name}: {found}", flush=True)
            except WorkerError as error:
                missing[task.name] = str(error)
                print(f"{task.name}: {error}", flush=True)
                close(workers)
    close(workers)
    return {"old": commit_of(checkout), "groups": groups, "missing": missing, "demands": demands(groups, missing)}


def renew(workers: dict[str, Worker], source: Path) -> None:
    """New processes in place of those that are there."""
    close(workers)
    workers.update(old=start("old", source), new=start("new", None))


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
