"""Times sharing one layer's survivors, for each way to choose centroids, beside the package ckmeans if it is installed.

One thread. Seconds are the least CPU time of the rounds; the error is the survivors' squared error.
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import main
from deepcompression.sharing.codebook import CODEBOOKS, share_values
from deepcompression.tensors.slices import Weights

try:
    from ckmeans import ckmeans
except ImportError:
    ckmeans = None

Floats = NDArray[np.float32]


def survivors(weights: int, density: float, seed: int) -> Floats:
    """The largest of normally distributed weights, in the layer's order."""
    layer = np.random.default_rng(seed).standard_normal(weights, dtype=np.float32) * np.float32(0.01)
    magnitude = np.abs(layer)
    kept = round(weights * density)
    return layer[magnitude >= np.partition(magnitude, weights - kept)[weights - kept]]


def by_core(values: Floats, init: str, bits: int, seed: int) -> Floats:
    codebook, codes = share_values(Weights.of(values), bits, init, seed)
    return codebook[codes]


def by_ckmeans(values: Floats, bits: int) -> Floats:
    """ckmeans gives clusters of sorted values: a search of their bounds finds each survivor's centroid."""
    clusters = ckmeans(values, 1 << bits)
    centroids = np.array([cluster.mean() for cluster in clusters], np.float32)
    return centroids[np.searchsorted([cluster[-1] for cluster in clusters[:-1]], values, side="left")]


def measure(values: Floats, rounds: int, share: Callable[[], Floats]) -> dict[str, float]:
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        shared = share()
        seconds.append(time.process_time() - start)
    error = np.sum((values.astype(np.float64) - shared) ** 2)
    return {"seconds": round(min(seconds), 4), "squared_error": float(f"{error:.7g}")}


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    values = survivors(arguments.weights, arguments.density, arguments.seed)
    methods = {
        name: measure(values, arguments.rounds, lambda name=name: by_core(values, name, arguments.bits, arguments.seed))
        for name in CODEBOOKS
    }
    methods["sort alone"] = measure(values, arguments.rounds, lambda: np.sort(values))
    del methods["sort alone"]["squared_error"]
    if ckmeans is not None:
        methods[f"ckmeans {version('ckmeans')}"] = measure(values, 1, lambda: by_ckmeans(values, arguments.bits))
    return {"survivors": len(values), "methods": methods}


OPTIONS = {
    "--weights": 38_000_000,
    "--density": {"type": float, "default": 0.09},
    "--bits": 5,
    "--rounds": 3,
    "--seed": 0,
}

if __name__ == "__main__":
    raise SystemExit(main("kmeans", measure_all, OPTIONS, packages=["ckmeans"]))
