"""Times y = x W^T from compressed weights beside other libraries, for the nine fully connected layers of the paper.

Batch 1, 8 and 64, one and two threads, hot and cold caches (96 MB are streamed between calls). All run in one process
but DeepSparse, which needs an environment of its own. They take turns, medians count, and every result is compared with
float64. `--instruction-set avx2` holds ours and the peers to AVX2. A run that leaves something out is not written as
the result: `--result NAME` keeps it in build/benchmarks, and benchmarks/layers/join.py puts parts together.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import threadpoolctl
import torch
from numpy.typing import NDArray

from benchmarks import timing
from benchmarks.environment import main
from benchmarks.layers import deepsparse_peer, instruction_sets, onnx_peers, sparse_peers
from benchmarks.layers import ours as layer_ours
from benchmarks.layers import peers as layer_peers
from benchmarks.layers.deepsparse_peer import Worker
from benchmarks.layers.ours import LAYERS
from benchmarks.layers.peers import Layer
from benchmarks.layers.ratios import AGAINST, case, demands, means
from benchmarks.packages import UnavailableError

BATCHES, THREADS, CACHES = (1, 8, 64), (1, 2), ("hot", "cold")
PEERS = layer_peers.PEERS | sparse_peers.PEERS | onnx_peers.PEERS
KINDS = {name: peer.kind for name, peer in PEERS.items()}
KINDS |= {name: kind for name, (kind, _) in deepsparse_peer.PEERS.items()}
PACKAGES = ("torch", "onnxruntime", "onnx", "mkl", "sparse-dot-mkl", "scipy", "threadpoolctl")
Found = dict[str, Any]
Floats64 = NDArray[np.float64]


def shape(name: str) -> dict[str, Any]:
    rows, columns, density = LAYERS[name]
    return {"rows": rows, "columns": columns, "density": density}


def set_threads(threads: int) -> None:
    """Of every library that has a number of its own."""
    threadpoolctl.threadpool_limits(threads)
    torch.set_num_threads(threads)
    with contextlib.suppress(UnavailableError):
        sparse_peers.load_mkl().mkl_set_num_threads(ctypes.byref(ctypes.c_int(threads)))


class Measurement:
    """One layer: makes every task for a batch and a number of threads, checks it and lets them take turns."""

    def __init__(
        self, name: str, centroids: int, worker: Worker | None, only: Iterable[str], instruction_set: str
    ) -> None:
        self.worker, self.only = worker, tuple(only)
        self.peers = {name: peer for name, peer in PEERS.items() if not instruction_sets.reason(name, instruction_set)}
        tensor = layer_ours.weights(name, centroids)
        self.layer = Layer(tensor.numpy())
        self.ours = list(layer_ours.tasks(tensor, widest=instruction_set))
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
        """The tasks by name; errors, bytes and missing tasks go into `found`."""
        tasks: dict[str, timing.Task] = {}
        x, flush = np.ascontiguousarray(self.x[:batch]), timing.flush_of(threads)

        def add(name: str, make: Callable[[], tuple[timing.Task, Any, int | None]], exact: Floats64) -> None:
            if not self.wanted(name):
                return
            try:
                tasks[name], y, held = make()
            except Exception as error:
                found["missing"][name] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                return
            worst = found["errors"].get(name, 0.0)
            found["errors"][name] = max(worst, layer_ours.error(y, exact[:batch]))
            if held is not None:
                found["bytes"][name] = held

        def of_peer(peer: layer_peers.Peer) -> tuple[timing.Task, Any, int]:
            call, held = peer.make(self.layer, x, threads)
            return timing.Call(call, flush), call(), held

        def of_ours(ours: layer_ours.Ours) -> tuple[timing.Task, Any, int]:
            call, held = ours.make(x, threads)
            ours.force()
            return timing.Call(call, flush, ours.force), call(), held

        def of_worker(name: str, worker: Worker) -> tuple[timing.Task, Any, None]:
            return *worker.make(name, x, threads), None

        for name, peer in self.peers.items():
            add(name, partial(of_peer, peer), self.y)
        for each in self.ours:
            add(each.name, partial(of_ours, each), self.reference[id(each.tensor)])
        if self.worker is not None:
            for name in deepsparse_peer.PEERS:
                add(name, partial(of_worker, name, self.worker), self.y)
        return tasks


def measure(name: str, arguments: argparse.Namespace, worker: Worker | None, seconds: float) -> Found:
    """One layer: milliseconds by case and task, rounds, errors, bytes, missing tasks."""
    found: Found = shape(name) | {"ms": {}, "rounds": {}, "errors": {}, "bytes": {}, "missing": {}}
    one = Measurement(name, arguments.centroids, worker, arguments.only, arguments.instruction_set)
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


def measure_all(arguments: argparse.Namespace) -> Found:
    timing.clean_environment(instruction_sets.switches(arguments.instruction_set))
    missing = dict(layer_peers.NOT_MEASURED)
    reasons = {name: instruction_sets.reason(name, arguments.instruction_set) for name in PEERS}
    missing |= {name: reason for name, reason in reasons.items() if reason}
    worker = None
    if not arguments.only or any(part in name for part in arguments.only for name in deepsparse_peer.PEERS):
        try:
            worker = Worker()
        except UnavailableError as error:
            missing |= dict.fromkeys(deepsparse_peer.PEERS, str(error))
    cases = len(arguments.batch) * len(arguments.threads) * len(arguments.cache)
    share = arguments.budget / cases / len(arguments.layers)
    layers = {name: measure(name, arguments, worker, share) for name in arguments.layers}
    for name in arguments.layers:
        for who, reason in layers[name].pop("missing").items():
            missing.setdefault(who, f"{name}: {reason}")
    if worker is not None:
        worker.close()
    times = means(layers, KINDS)
    for key, ours in times.items():
        for name, ratios in ours.items():
            if name.endswith((arguments.instruction_set or "avx512", layer_ours.MODULE)):
                print(f"{key}: {name}: " + ", ".join(f"{ratio:.2f} x {against}" for against, ratio in ratios.items()))
    return {
        "versions": {"deepsparse": deepsparse_peer.RELEASE.partition("==")[2] if worker else None},
        "kinds": KINDS,
        "against": AGAINST,
        "layers": layers,
        "missing": missing,
        "times": times,
        "demands": demands(layers, KINDS),
    }


OPTIONS = {
    "--batch": {"type": int, "nargs": "+", "choices": BATCHES, "default": BATCHES},
    "--threads": {"type": int, "nargs": "+", "choices": THREADS, "default": THREADS},
    "--cache": {"nargs": "+", "choices": CACHES, "default": CACHES},
    "--layers": {"nargs": "+", "choices": LAYERS, "default": tuple(LAYERS), "metavar": "NAME"},
    "--only": {"nargs": "+", "default": (), "help": "parts of the names of those that take part"},
    "--instruction-set": {"choices": tuple(instruction_sets.SWITCHES), "default": "", "help": "of ours and the peers"},
    "--centroids": {"type": int, "choices": (16, 32), "default": 16},
    "--budget": {"type": float, "default": 540, "help": "seconds of all turns; making everything takes more"},
}
PARTS = ("batch", "threads", "cache", "layers", "only", "centroids")

if __name__ == "__main__":
    raise SystemExit(main(instruction_sets.result_name, measure_all, OPTIONS, PARTS, PACKAGES))
