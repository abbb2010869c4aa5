"""Counts what 1 to 64 threads do in a product with one vector, for the nine layers: nothing is timed.

The packed weights and their split among threads are the real ones. The constants below make expected times of the
counts. Those of work are measured by one thread of a Zen 4 core, the others are assumed.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks.environment import demand, main
from benchmarks.layers import ours
from deepcompression import _core
from deepcompression.packed import packing

THREADS = (1, 2, 4, 8, 16, 32, 64)
# Measured: nanoseconds of a pair, with the instruction set avx512.
PAIR_NS = {"float32": 9.0, "int8": 3.4}
# Assumed: to begin and end a product together takes so long for two threads, and so much more for each further one.
REGION_NS, REGION_THREAD_NS = 1000, 100
# Assumed: the bytes a nanosecond that all cores get from memory, where no cache holds the weights.
MEMORY_BYTES_NS = 200
# Waits for all: before the pairs, which need x prepared, and at the end.
BARRIERS = 2
Found = dict[str, Any]


def count(packed: packing.Packed, activations: str, threads: int) -> Found:
    """Threads that take part, bytes that the busiest reads, largest part by mean part, expected microseconds."""
    facts = packing.header(packed)
    pairs = np.array(_core.pairs_of_threads(packed, 1, activations == "int8", threads))
    pair_bytes = packed.nbytes / facts.length
    vector_bytes = facts.columns * (1 if activations == "int8" else 3)
    # what every thread does, or waits for: x is read as float32 and prepared by one
    alone_ns = pairs.sum() * PAIR_NS[activations]
    shared_ns = pairs.max() * PAIR_NS[activations]
    region_ns = REGION_NS + REGION_THREAD_NS * (threads - 2) if len(pairs) > 1 else 0
    return {
        "threads": len(pairs),
        "barriers": BARRIERS if len(pairs) > 1 else 0,
        "bytes": int(pairs.max() * pair_bytes + vector_bytes),
        "imbalance": round(float(pairs.max() / pairs.mean()), 3),
        "cached_us": round((shared_ns + region_ns) / 1e3, 1),
        "memory_us": round((max(shared_ns, packed.nbytes / MEMORY_BYTES_NS) + region_ns) / 1e3, 1),
        "gain": round(float(alone_ns / (shared_ns + region_ns)), 1),
    }


def measure(arguments: argparse.Namespace) -> Found:
    layers: Found = {}
    # what the packer would choose on a server, whatever this machine has
    for name in ours.LAYERS:
        tensor = ours.weights(name)
        for activations in PAIR_NS:
            packed = packing.pack(tensor, activations=activations)
            counts = {str(threads): count(packed, activations, threads) for threads in THREADS}
            layers.setdefault(name, {})[activations] = {"packed_bytes": packed.nbytes, "by_threads": counts}
            print(name, activations, {threads: each["gain"] for threads, each in counts.items()})
    every = [each for layer in layers.values() for of in layer.values() for each in of["by_threads"].values()]
    worst, least = max(each["imbalance"] for each in every), min(each["gain"] for each in every)
    constants = {
        "pair_ns": PAIR_NS,
        "region_ns": REGION_NS,
        "region_thread_ns": REGION_THREAD_NS,
        "memory_bytes_ns": MEMORY_BYTES_NS,
    }
    return {
        "constants": constants,
        "layers": layers,
        "demands": [
            demand("the largest part is at most 1.3 times the mean", worst, worst <= 1.3),
            demand("no number of threads is expected to be slower than one", least, least >= 1),
        ],
    }


if __name__ == "__main__":
    raise SystemExit(main("many_cores", measure, {}))
