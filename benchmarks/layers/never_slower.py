"""Times networks as `dc.run` holds them by default against the same networks dense, in one process and by turns.

The weights are random, pruned by magnitude and shared, at the densities that are asked for. `batch` counts inputs:
images, sequences or rows. What is named to `dc.run` are the vectors that these are for most products. A copy of the
dense network takes part as well: its ratio, which is 1 in truth, shows the noise.
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import deepcompression as dc
from benchmarks import networks
from benchmarks.environment import demand, main
from benchmarks.layers import small_networks as nets

BATCHES, DENSITIES, THREADS = (1, 8, 64), (0.1, 0.3, 1.0), (1, 2)
LEAST = 0.97
CENTROIDS = 16
BLOCK_SECONDS, LEAST_ROUNDS = 0.004, 7
# Rounds go on until ratios have this standard error, for at most so many times the seconds that were asked for.
ERROR, PATIENCE = 0.005, 5
DENSE, COPY, WAYS = "dense", "copy of dense", ("default", "no batch named")


@dataclass(frozen=True)
class Case:
    """A network, an input for a batch, and how many vectors one of the batch is."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    vectors: int = 1


def _images(side: int, channels: int = 3) -> Callable[[int], Tensor]:
    return lambda batch: torch.randn(batch, channels, side, side)


def _tokens(words: int, length: int) -> Callable[[int], Tensor]:
    return lambda batch: torch.randint(words, (batch, length))


CASES = {
    "LeNet-300-100": Case(networks.LeNet300100, _images(28, 1)),
    "LeNet-5": Case(networks.LeNet5, _images(28, 1)),
    "VGG-16 fc6-8": Case(networks.VGG16Classifier, lambda batch: torch.randn(batch, 25088)),
    "AlexNet": Case(networks.AlexNet, _images(227)),
    "ResNet": Case(nets.ResNet, _images(32)),
    "MobileNet": Case(nets.MobileNet, _images(64)),
    "MiniLM": Case(nets.minilm, _tokens(nets.WORDS, 16), 16),
    "GPT-2": Case(nets.gpt2, _tokens(nets.WORDS, 8), 8),
    "LSTM": Case(nets.Speech, lambda batch: torch.randn(batch, 16, 80)),
    "recommender": Case(nets.Recommender, _tokens(nets.ITEMS, nets.TABLES * nets.BAG)),
}
# Networks that take seconds a call, for which only small batches are measured.
LARGEST = {"AlexNet": 8}


def compress(model: nn.Module, density: float) -> nn.Module:
    """Every weight of two or more dimensions has so many survivors, of 16 values, evenly spaced among them."""
    with torch.no_grad():
        for parameter in {id(each): each for each in model.parameters() if each.dim() > 1}.values():
            flat = parameter.abs().flatten()
            count = round((1 - density) * flat.numel())
            threshold = flat.kthvalue(count).values if count else -1.0
            step = parameter.abs().max() / (CENTROIDS // 2)
            shared = (parameter / step).trunc().clamp(1 - CENTROIDS // 2, CENTROIDS // 2 - 1)
            shared = (shared + 0.5 * parameter.sign()) * step
            parameter.copy_(torch.where(parameter.abs() > threshold, shared, torch.zeros(())))
    return model.eval()


def by_turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """The seconds of each call by rounds, in which each has a block, forwards and backwards in turn."""
    blocks: dict[str, int] = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        blocks[name] = max(1, int(BLOCK_SECONDS / (time.perf_counter() - start)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    order, start = list(calls), time.perf_counter()
    while not _enough(found, time.perf_counter() - start, seconds):
        for name in order:
            calls[name]()
            begun = time.perf_counter()
            for _ in range(blocks[name]):
                calls[name]()
            found[name].append((time.perf_counter() - begun) / blocks[name])
        order.reverse()
    return found


def _enough(found: dict[str, list[float]], spent: float, seconds: float) -> bool:
    if len(found[DENSE]) < LEAST_ROUNDS or spent < seconds:
        return False
    return spent > PATIENCE * seconds or all(standard_error(ratios(found, name)) <= ERROR for name in found)


def ratios(found: dict[str, list[float]], name: str) -> list[float]:
    """Dense / a way, of blocks in the same round: what slows both down for a while does not count."""
    return [dense / own for dense, own in zip(found[DENSE], found[name], strict=True)]


def standard_error(values: list[float]) -> float:
    """Of the median, by the median distance from it."""
    middle = statistics.median(values)
    spread = 1.4826 * statistics.median(abs(each - middle) for each in values)
    return 1.2533 * spread / math.sqrt(len(values))


def output(y: Any) -> Tensor:
    """The tensor among a network's results."""
    return y if isinstance(y, Tensor) else y[0]


def measure_one(case: Case, dense: nn.Module, batch: int, seconds: float) -> dict[str, Any]:
    torch.manual_seed(0)
    x = case.inputs(batch)
    named, unnamed = WAYS
    ways = {DENSE: dense, named: dc.run(dense, batch=batch * case.vectors), unnamed: dc.run(dense)}
    held = {name: sum(row.bytes for row in _rows(model)) for name, model in ways.items()}
    with torch.inference_mode():
        expected = output(dense(x))
        error = max(float((output(each(x)) - expected).abs().max() / expected.abs().max()) for each in ways.values())
        calls = {name: functools.partial(model, x) for name, model in (ways | {COPY: copy.deepcopy(dense)}).items()}
        times = by_turns(calls, seconds)
    return {
        "ms": {name: 1e3 * statistics.median(each) for name, each in times.items()},
        "bytes": held,
        "ratio": {name: statistics.median(ratios(times, name)) for name in (*WAYS, COPY)},
        "ratio's standard error": {name: standard_error(ratios(times, name)) for name in (*WAYS, COPY)},
        "error": error,
    }


def _rows(model: nn.Module) -> tuple[Any, ...]:
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        return tuple(dc.explain(model).rows)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, density in itertools.product(arguments.networks, arguments.density):
        torch.manual_seed(0)
        case, dense = CASES[name], compress(CASES[name].build(), density)
        for threads, batch in itertools.product(arguments.threads, arguments.batch):
            if batch > LARGEST.get(name, batch):
                continue
            torch.set_num_threads(threads)
            key = f"{name}, density {density:g}, batch {batch}, threads {threads}"
            found[key] = measure_one(case, dense, batch, arguments.seconds)
            print(key, {way: round(each, 3) for way, each in found[key]["ratio"].items()}, flush=True)
    return {"cases": found, "demands": demands(found)}


def demands(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    noise = min(each["ratio"][COPY] for each in found.values())
    for way in WAYS:
        worst = min(found, key=lambda key: found[key]["ratio"][way])
        ratio = found[worst]["ratio"][way]
        text = f"{ratio:.3f} ({worst}); the least of dense / its copy is {noise:.3f}"
        rows.append(demand(f"{way}: dense / ours at least {LEAST}", text, ratio >= LEAST))
    worst = max(found, key=lambda key: found[key]["error"])
    error = found[worst]["error"]
    rows.append(demand("max|error| / max|y| at most 1e-4", f"{error:.2g} ({worst})", error <= 1e-4))
    return rows


OPTIONS = {
    "--networks": {"nargs": "+", "choices": CASES, "default": tuple(CASES), "metavar": "NAME"},
    "--batch": {"type": int, "nargs": "+", "default": BATCHES},
    "--density": {"type": float, "nargs": "+", "default": DENSITIES},
    "--threads": {"type": int, "nargs": "+", "default": THREADS},
    "--seconds": {"type": float, "default": 0.5, "help": "of calls for each case"},
}

if __name__ == "__main__":
    parts = ["networks", "batch", "density", "threads"]
    raise SystemExit(main("never_slower", measure, OPTIONS, parts, ["torch", "transformers"]))
