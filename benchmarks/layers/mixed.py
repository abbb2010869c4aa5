"""Times whole networks in which torch's layers lie between compressed ones, by one thread and two, also when another
process is busy.

A network is timed whole and as the sum of its layers, each alone in a loop on its own input. The difference is what
threads cost that sleep, spin or are in the way of others between layers.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import timing
from benchmarks.environment import demand, main
from benchmarks.layers import ours as layer_ours
from benchmarks.layers.ours import FLOAT32, INT8, MODULE, Ours

BATCHES, THREADS = (1, 8), (1, 2)
DENSE, KINDS = "dense", (FLOAT32, INT8)
# Names of compressed layers, and torch's layers between them. Those of the first two compute with one thread at batch
# 1, those of the others with all threads. (GELU without "tanh" is oneDNN's and takes all threads for any size.)
NETWORKS: dict[str, tuple[str | nn.Module, ...]] = {
    "activations between": ("AlexNet fc6", nn.ReLU(), "AlexNet fc7", nn.ReLU(), "AlexNet fc8", nn.Softmax(-1)),
    "norms between": (
        nn.LayerNorm(4096),
        "AlexNet fc7",
        nn.GELU("tanh"),
        nn.LayerNorm(4096),
        "VGG-16 fc7",
        nn.GELU("tanh"),
        nn.LayerNorm(4096),
        "VGG-16 fc8",
        nn.Softmax(-1),
    ),
    "dense layers between": ("AlexNet fc7", nn.Linear(4096, 4096), "VGG-16 fc7", nn.Linear(4096, 4096), "AlexNet fc8"),
    "after convolutions": (
        nn.Unflatten(1, (64, 12, 12)),
        nn.Conv2d(64, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        "AlexNet fc6",
        nn.ReLU(),
        "AlexNet fc7",
    ),
}
# A busy machine leaves at least so much of the rate of one thread.
LEAST_BUSY = 0.7
Found = dict[str, Any]


def layers_of(network: str, kind: str, batch: int) -> list[nn.Module]:
    """The layers of a network, the named ones dense or compressed."""
    return [_named(each, kind, batch) if isinstance(each, str) else each for each in NETWORKS[network]]


def _named(name: str, kind: str, batch: int) -> nn.Module:
    tensor = layer_ours.weights(name)
    if kind != DENSE:
        return Ours(kind, MODULE, tensor).module(batch)
    dense = nn.Linear(tensor.shape[1], tensor.shape[0], bias=False)
    dense.weight.data = torch.from_numpy(tensor.numpy())
    return dense


def first_columns(network: str) -> int:
    """Of the network's input."""
    first = NETWORKS[network][0]
    if isinstance(first, nn.Unflatten):
        return int(np.prod(first.unflattened_size))
    return layer_ours.LAYERS[first][1] if isinstance(first, str) else 4096


class Whole:
    """A network as a call. Keeps, of each call, the seconds of the layers that `NETWORKS` names."""

    def __init__(self, network: str, layers: list[nn.Module], x: torch.Tensor) -> None:
        self.layers = [(layer, isinstance(each, str)) for layer, each in zip(layers, NETWORKS[network], strict=True)]
        self.x, self.named = x, list[float]()

    def __call__(self) -> torch.Tensor:
        given, seconds = self.x, 0.0
        for layer, is_named in self.layers:
            start = time.perf_counter()
            given = layer(given)
            if is_named:
                seconds += time.perf_counter() - start
        self.named.append(seconds)
        return given

    def mean(self) -> float:
        """Seconds of the named layers, of all calls since the last time."""
        found = statistics.fmean(self.named)
        self.named.clear()
        return found


def tasks_of(network: str, kind: str, batch: int) -> tuple[Whole, dict[str, timing.Task]]:
    """The whole network, alone and among tasks of which each other one is a layer on its own input."""
    layers = layers_of(network, kind, batch)
    x = torch.from_numpy(np.random.default_rng(7).standard_normal((batch, first_columns(network)), np.float32))
    flush = timing.flush_of(1)
    whole = Whole(network, [layer.eval() for layer in layers], x)
    tasks: dict[str, timing.Task] = {"whole": timing.Call(whole, flush)}
    given = x
    for number, layer in enumerate(layers):
        tasks[f"layer {number}"] = timing.Call(partial(layer, given), flush)
        given = layer(given)
    return whole, tasks


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that always computes."""
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def measure(network: str, batch: int, threads: int, seconds: float) -> Found:
    """Milliseconds by kind: medians of the whole and of the sum of its layers; means of the whole and of its named
    layers, alone and beside a busy process, which takes few calls whole time slices and most calls nothing.
    """
    torch.set_num_threads(threads)
    kinds = (DENSE, *KINDS)
    made = {kind: tasks_of(network, kind, batch) for kind in kinds}
    tasks = {(kind, name): task for kind in kinds for name, task in made[kind][1].items()}
    named = {f"{kind}: {name}": task for (kind, name), task in tasks.items()}
    alone, rounds = timing.by_turns(named, seconds, pause=0)
    named_alone = {kind: made[kind][0].mean() for kind in kinds}
    whole = {f"{kind}: whole": tasks[kind, "whole"] for kind in kinds}
    with busy_process():
        busy, _ = timing.by_turns(whole, seconds / 2, pause=0)
    medians = {name: statistics.median(each) for name, each in alone.items()}
    found: Found = {"rounds": rounds}
    for kind in kinds:
        parts = [medians[f"{kind}: {name}"] for of, name in tasks if of == kind and name != "whole"]
        name = f"{kind}: whole"
        means = {"mean": statistics.fmean(alone[name]), "busy": statistics.fmean(busy[name])}
        means |= {"named, mean": named_alone[kind], "named, busy": made[kind][0].mean()}
        times = {"whole": medians[name], "parts": sum(parts)} | means
        found[kind] = {name: float(f"{1e3 * value:.4g}") for name, value in times.items()}
    return found


def measure_all(arguments: argparse.Namespace) -> Found:
    timing.clean_environment()
    share = arguments.budget / len(arguments.networks) / len(BATCHES) / len(THREADS) / 1.5
    cases: Found = {}
    with torch.inference_mode():
        for network, batch, threads in itertools.product(arguments.networks, BATCHES, THREADS):
            found = measure(network, batch, threads, share)
            cases.setdefault(network, {}).setdefault(f"batch {batch}", {})[f"{threads} threads"] = found
            print(f"{network}, batch {batch}, {threads} threads: {found}", flush=True)
    return {"networks": cases, "demands": demands(cases)}


def busy_rates(one: Found, two: Found, kind: str) -> tuple[float, float]:
    """The mean rates of two threads beside a busy process, by those of one thread alone: of the whole network, and of
    its named layers. The difference is what torch's own layers lose there.
    """
    found = one[kind], two[kind]
    return found[0]["mean"] / found[1]["busy"], found[0]["named, mean"] / found[1]["named, busy"]


def demands(cases: Found) -> list[dict[str, Any]]:
    """Two threads are faster than one and than the dense network; a busy machine leaves enough."""
    rows = []
    for kind in KINDS:
        pairs = [(each["1 threads"], each["2 threads"]) for found in cases.values() for each in found.values()]
        against_one = min(one[kind]["whole"] / two[kind]["whole"] for one, two in pairs)
        against_dense = statistics.geometric_mean(two[DENSE]["whole"] / two[kind]["whole"] for _, two in pairs)
        gains = [[one[kind][what] / two[kind][what] for what in ("whole", "parts")] for one, two in pairs]
        against_parts = min(whole / parts for whole, parts in gains)
        whole, named = (min(rates) for rates in zip(*(busy_rates(*pair, kind) for pair in pairs), strict=True))
        rows += [
            demand(f"{kind}: two threads at least as fast as one, whole networks", against_one, against_one >= 1),
            demand(f"{kind}: two threads faster than dense, geometric mean", against_dense, against_dense > 1),
            demand(
                f"{kind}: two threads gain at least 0.8 of what they gain in the layers alone",
                against_parts,
                against_parts >= 0.8,
            ),
            *(
                demand(
                    f"{kind}: two threads beside a busy process, {what} of every network: at least {LEAST_BUSY} of one "
                    "thread's mean rate alone",
                    rate,
                    rate >= LEAST_BUSY,
                )
                for what, rate in (("the whole", whole), ("the compressed layers", named))
            ),
        ]
    return [row | {"found": round(row["found"], 2)} for row in rows]


OPTIONS = {
    "--networks": {"nargs": "+", "choices": NETWORKS, "default": tuple(NETWORKS), "metavar": "NAME"},
    "--budget": {"type": float, "default": 30, "help": "seconds of all turns; making everything takes more"},
}

if __name__ == "__main__":
    raise SystemExit(main("mixed", measure_all, OPTIONS, ("networks",), ("torch",)))
