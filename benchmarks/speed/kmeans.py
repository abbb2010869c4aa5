"""Times sharing one layer's survivors, for each way to choose centroids, beside the package ckmeans if it is installed.

One thread. Prints JSON and writes it: seconds are the least CPU time of the rounds, the error is the survivors'
squared error.
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import command, environment, write_result
from deepcompression.sharing.codebook import CODEBOOKS, share_values

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
    codebook, codes = share_values(values, bits, init, seed)
    return codebook[codes]


def by_ckmeans(values: Floats, bits: int) -> Floats:
    """Its clusters come back sorted: to give each survivor its centroid, their bounds are searched."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=38_000_000)
    parser.add_argument("--density", type=float, default=0.09)
    parser.add_argument("--bits", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    values = survivors(arguments.weights, arguments.density, arguments.seed)
    methods = {
        name: measure(values, arguments.rounds, lambda name=name: by_core(values, name, arguments.bits, arguments.seed))
        for name in CODEBOOKS
    }
    methods["sort alone"] = measure(values, arguments.rounds, lambda: np.sort(values))
    del methods["sort alone"]["squared_error"]
    if ckmeans is not None:
        methods[f"ckmeans {version('ckmeans')}"] = measure(values, 1, lambda: by_ckmeans(values, arguments.bits))
    result = {"command": command("benchmarks.speed.kmeans")} | environment(["ckmeans"])
    result |= vars(arguments) | {"survivors": len(values), "methods": methods}
    print(write_result("kmeans", result).read_text(), end="")


if __name__ == "__main__":
    main()
