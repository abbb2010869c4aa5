"""Times y = x W^T from compressed weights beside everyone else, for the nine fully connected layers of the paper.

Batch 1, 8 and 64, one and two threads, hot and cold caches (96 MB are streamed between calls). All in one process but
DeepSparse, which needs an environment of its own; they take turns, and medians count. Every result is held against
float64. A run that leaves something out is not written as the result: `--result NAME` keeps it in build/benchmarks.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import statistics
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import threadpoolctl
import torch
from numpy.typing import NDArray

from benchmarks import deepsparse_peer, layer_ours, layer_peers, onnx_peers, timing
from benchmarks.deepsparse_peer import Worker
from benchmarks.environment import RESULTS, ROOT, command, conclude, demand, environment, write_result
from benchmarks.layer_ours import LAYERS
from benchmarks.layer_peers import Layer, MissingError

BATCHES, THREADS, CACHES = (1, 8, 64), (1, 2), ("hot", "cold")
PEERS = layer_peers.PEERS | onnx_peers.PEERS
KINDS = {name: peer.kind for name, peer in PEERS.items()}
KINDS |= {name: kind for name, (kind, _) in deepsparse_peer.PEERS.items()}
PACKAGES = ("torch", "onnxruntime", "onnx", "mkl", "sparse-dot-mkl", "scipy", "threadpoolctl")
# Whom a ratio is against: the quickest of these kinds on each layer, or one peer.
AGAINST: dict[str, tuple[str, ...]] = {
    "torch fp32": ("torch fp32",),
    "best dense fp32": (layer_peers.FP32,),
    "best dense bf16": (layer_peers.BF16,),
    "best int8": (layer_peers.INT8,),
    "best int4": (layer_peers.INT4,),
    "best int8 / int4": (layer_peers.INT8, layer_peers.INT4),
    "best sparse": (layer_peers.SPARSE,),
    "MKL sparse": ("oneMKL", "oneMKL, row major", "sparse-dot-mkl"),
    "DeepSparse fp32": ("DeepSparse fp32",),
    "DeepSparse int8": ("DeepSparse int8",),
}
# The table: batch, ours, whom against -> times at least; one thread, hot caches.
DEMANDED: dict[tuple[int, str, str], dict[str, float]] = {
    (1, layer_ours.FLOAT32, "avx512"): {
        "torch fp32": 15,
        "best dense fp32": 12,
        "best int8 / int4": 2.2,
        "best sparse": 5,
    },
    (1, layer_ours.INT8, "avx512"): {
        "torch fp32": 33,
        "best dense fp32": 25,
        "best int8 / int4": 5,
        "best sparse": 11,
    },
    (8, layer_ours.INT8, "avx512"): {"best dense fp32": 15, "best int8 / int4": 2.5, "best sparse": 6},
    (64, layer_ours.FLOAT32, "avx512"): {
        "torch fp32": 12,
        "best dense fp32": 5.5,
        "best int8 / int4": 1.3,
        "best sparse": 3.5,
    },
    (64, layer_ours.INT8, "avx512"): {"best dense fp32": 12, "best int8 / int4": 3, "best sparse": 7},
    (1, layer_ours.FLOAT32, "avx2"): {"best dense fp32": 2},
    (1, layer_ours.INT8, "avx2"): {"best int8": 1.5},
    (1, layer_ours.FLOAT32, "portable"): {"MKL sparse": 1},
}
# The one demand that is made of some layers only.
SPARSEST = ("avx2", "best int8", [name for name, (_, _, density) in LAYERS.items() if 0.04 <= density <= 0.11])

Times = dict[str, float]
Found = dict[str, Any]


def shape(name: str) -> dict[str, Any]:
    rows, columns, density = LAYERS[name]
    return {"rows": rows, "columns": columns, "density": density}


def case(batch: int, threads: int, cache: str) -> str:
    return f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}, {cache} caches"


def set_threads(threads: int) -> None:
    """Of every library that has a number of its own."""
    threadpoolctl.threadpool_limits(threads)
    torch.set_num_threads(threads)
    with contextlib.suppress(MissingError):
        layer_peers.load_mkl().mkl_set_num_threads(ctypes.byref(ctypes.c_int(threads)))


class Measurement:
    """One layer: makes every task for a batch and a number of threads, checks it and lets them take turns."""

    def __init__(self, name: str, centroids: int, worker: Worker | None, only: Iterable[str]) -> None:
        self.worker, self.only = worker, tuple(only)
        tensor = layer_ours.weights(name, centroids)
        self.layer = Layer(tensor.numpy())
        self.ours = list(layer_ours.tasks(tensor))
        self.x = np.random.default_rng(7).standard_normal((max(BATCHES), self.layer.columns), np.float32)
        exact = self.x.astype(np.float64)
        self.reference = {id(tensor): exact @ tensor.numpy().astype(np.float64).T}
        for each in self.ours:
            if id(each.tensor) not in self.reference:
                self.reference[id(each.tensor)] = exact @ each.tensor.numpy().astype(np.float64).T
        self.y = self.reference[id(tensor)]
        if worker is not None:
            worker.give(self.layer.weight)

    def wanted(self, name: str) -> bool:
        return not self.only or any(part in name for part in self.only)

    def make(self, batch: int, threads: int, found: Found) -> dict[str, timing.Task]:
        """The tasks by name; errors, bytes and what is missing go into `found`."""
        tasks: dict[str, timing.Task] = {}
        x, flush = np.ascontiguousarray(self.x[:batch]), timing.Flush(threads)

        def add(name: str, task: timing.Task, y: Any, reference: NDArray[np.float64], held: int | None) -> None:
            tasks[name] = task
            worst = found["errors"].get(name, 0.0)
            found["errors"][name] = max(worst, layer_ours.error(y, reference[:batch]))
            if held is not None:
                found["bytes"][name] = held

        for name, peer in PEERS.items():
            if self.wanted(name):
                try:
                    call, held = peer.make(self.layer, x, threads)
                    add(name, timing.Call(call, flush), call(), self.y, held)
                except Exception as error:
                    found["missing"][name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        for each in self.ours:
            if self.wanted(each.name):
                try:
                    call, held = each.make(x, threads)
                    each.force()
                    add(each.name, timing.Call(call, flush, each.force), call(), self.reference[id(each.tensor)], held)
                except MissingError as error:
                    found["missing"][each.name] = str(error)
        for name in deepsparse_peer.PEERS:
            if self.worker is not None and self.wanted(name):
                try:
                    task, y = self.worker.make(name, x, threads)
                    add(name, task, y, self.y, None)
                except MissingError as error:
                    found["missing"][name] = str(error)
        return tasks


def measure(name: str, arguments: argparse.Namespace, worker: Worker | None, seconds: float) -> Found:
    """Of one layer: milliseconds by case and task, rounds, errors, bytes, what is missing."""
    found: Found = shape(name) | {"ms": {}, "rounds": {}, "errors": {}, "bytes": {}, "missing": {}}
    one = Measurement(name, arguments.centroids, worker, arguments.only)
    for threads, batch in itertools.product(arguments.threads, arguments.batch):
        set_threads(threads)
        with torch.inference_mode():
            start = time.perf_counter()
            tasks = one.make(batch, threads, found)
            print(f"{name}, batch {batch}: made in {time.perf_counter() - start:.0f} s", flush=True)
            for cache in arguments.cache:
                pause = timing.PAUSE_SECONDS if threads > 1 else 0
                medians, rounds = timing.interleave(tasks, seconds, cache == "cold", pause)
                key = case(batch, threads, cache)
                found["ms"][key] = {each: float(f"{1e3 * median:.4g}") for each, median in medians.items()}
                found["rounds"][key] = rounds
                print(f"{name}, {key}: {rounds} rounds", flush=True)
    return found


def best(times: Mapping[str, float], against: str) -> tuple[str, float] | None:
    """The quickest task of those that a key of `AGAINST` means, with its time."""
    members = AGAINST[against]
    chosen = {name: time for name, time in times.items() if name in members or KINDS.get(name) in members}
    return min(chosen.items(), key=lambda item: item[1]) if chosen else None


def mean(layers: Mapping[str, Found], key: str, ours: str, against: str, names: Iterable[str]) -> float | None:
    """How many times as fast as others ours is: the geometric mean over layers; None unless all have both."""
    ratios = []
    for name in names:
        times = layers.get(name, {}).get("ms", {}).get(key, {})
        other = best(times, against)
        if ours not in times or other is None:
            return None
        ratios.append(other[1] / times[ours])
    return statistics.geometric_mean(ratios) if ratios else None


def means(layers: Mapping[str, Found]) -> dict[str, dict[str, Times]]:
    """Case -> ours -> against -> geometric mean over the layers that were measured."""
    found: dict[str, dict[str, Times]] = {}
    for key in next(iter(layers.values()))["ms"]:
        ours = [name for name in next(iter(layers.values()))["ms"][key] if name.startswith("ours")]
        for name, against in itertools.product(ours, AGAINST):
            ratio = mean(layers, key, name, against, layers)
            if ratio is not None:
                found.setdefault(key, {}).setdefault(name, {})[against] = round(ratio, 3)
    return found


def demands(layers: Mapping[str, Found]) -> list[dict[str, Any]]:
    """The issue's table, and that everyone computes the right thing."""
    rows = []
    for (batch, kind, way), limits in DEMANDED.items():
        key = case(batch, 1, "hot")
        for against, least in limits.items():
            part = (way, against) == SPARSEST[:2]
            ratio = mean(layers, key, f"{kind}, {way}", against, SPARSEST[2] if part else LAYERS)
            where = ", layers at 4-11 %" if part else ""
            text = f"batch {batch}, {kind}, {way}: at least {least} times {against}{where}"
            found = "not measured" if ratio is None else round(ratio, 2)
            rows.append(demand(text, found, ratio is not None and ratio >= least))
    bounds = {name: layer_peers.BOUNDS[kind] for name, kind in KINDS.items()}
    worst: dict[tuple[str, float], tuple[float, str]] = {}
    for layer, name in ((layer, name) for layer, found in layers.items() for name in found["errors"]):
        kind = KINDS.get(name, name.rpartition(", ")[0])
        bound = bounds.get(name, layer_ours.BOUNDS.get(kind, 0.0))
        found_error = layers[layer]["errors"][name]
        worst[kind, bound] = max(worst.get((kind, bound), (0.0, "")), (found_error, f"{name}, {layer}"))
    for (kind, bound), (value, who) in worst.items():
        rows.append(demand(f"{kind}: max|error| / max|y| at most {bound:g}", f"{value:.2g} ({who})", value <= bound))
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", choices=BATCHES, default=BATCHES)
    parser.add_argument("--threads", type=int, nargs="+", choices=THREADS, default=THREADS)
    parser.add_argument("--cache", nargs="+", choices=CACHES, default=CACHES)
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=tuple(LAYERS), metavar="NAME")
    parser.add_argument("--only", nargs="+", default=(), help="parts of the names of what takes part")
    parser.add_argument("--centroids", type=int, choices=(16, 32), default=16)
    parser.add_argument("--budget", type=float, default=700, help="seconds of all turns; making everything takes more")
    parser.add_argument("--result", help="name that a restricted run is kept by")
    arguments = parser.parse_args()
    whole = all(
        getattr(arguments, name) == parser.get_default(name)
        for name in ("batch", "threads", "cache", "layers", "only", "centroids")
    )
    arguments.result = arguments.result or ("layers" if whole else None)
    return arguments


def main() -> int:
    arguments = parse()
    timing.clean_environment()
    missing = dict(layer_peers.NOT_MEASURED)
    worker = None
    if not arguments.only or any(part in name for part in arguments.only for name in deepsparse_peer.PEERS):
        try:
            worker = Worker()
        except MissingError as error:
            missing |= dict.fromkeys(deepsparse_peer.PEERS, str(error))
    cases = len(arguments.batch) * len(arguments.threads) * len(arguments.cache)
    share = arguments.budget / cases / len(arguments.layers)
    layers = {name: measure(name, arguments, worker, share) for name in arguments.layers}
    for name in arguments.layers:
        for who, reason in layers[name].pop("missing").items():
            missing.setdefault(who, f"{name}: {reason}")
        layers[name]["best"] = {
            key: {against: best(times, against) for against in AGAINST} for key, times in layers[name]["ms"].items()
        }
    if worker is not None:
        worker.close()
    versions = environment(PACKAGES)
    versions["versions"]["deepsparse"] = deepsparse_peer.RELEASE.partition("==")[2] if worker else None
    result = {
        "command": command("benchmarks.layers"),
        **versions,
        "centroids": arguments.centroids,
        "kinds": KINDS,
        "layers": layers,
        "missing": missing,
        "times": means(layers),
        "demands": demands(layers),
    }
    if arguments.result:
        write_result(arguments.result, result, RESULTS if arguments.result == "layers" else ROOT / "build/benchmarks")
    for key, ours in result["times"].items():
        for name, ratios in ours.items():
            if name.endswith(("avx512", layer_ours.MODULE)):
                print(f"{key}: {name}: " + ", ".join(f"{ratio:.2f} x {against}" for against, ratio in ratios.items()))
    return conclude(result)


if __name__ == "__main__":
    raise SystemExit(main())
