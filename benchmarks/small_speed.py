"""Times the profile `small`: million weights a second, zeros included, encoded and decoded on one core.

CPU time, the least of the rounds. SqueezeNet's layers are the ones of at least 10,000 weights.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from benchmarks.environment import command, conclude, demand, environment, write_result
from benchmarks.tensors import alexnet_fc6, convolution, squeezenet, vgg16_fc6
from deepcompression.encode import decode_dense, encode
from deepcompression.tensor import CompressedTensor
from deepcompression.wire import Cursor

DEMANDED = 10.0
SMALLEST = 10_000


def measured() -> dict[str, CompressedTensor]:
    """The tensors by name; the last one is dense, with as many centroids as there can be."""
    full = convolution((512, 512, 3, 3), 1 - 1e-9)
    layers = {name: tensor for name, tensor in squeezenet().items() if math.prod(tensor.shape) >= SMALLEST}
    shared = {f"SqueezeNet {name}": tensor for name, tensor in layers.items() if isinstance(tensor, CompressedTensor)}
    return {
        "AlexNet fc6": alexnet_fc6(),
        "VGG-16 fc6": vgg16_fc6(),
        "convolution": convolution(),
        "convolution, nothing pruned": full,
        **shared,
    }


def seconds(rounds: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found = {}
    for name, tensor in measured().items():
        coder, payload = encode(tensor, "small")
        dense = decode_dense(coder, Cursor(payload), tensor.dtype, tensor.shape)
        if not np.array_equal(dense.elements, tensor.dense().elements):
            raise AssertionError(f"{name} does not come back")
        encoding = seconds(rounds, lambda tensor=tensor: encode(tensor, "small"))
        decoding = seconds(
            rounds, lambda tensor=tensor, data=payload: decode_dense("small", Cursor(data), tensor.dtype, tensor.shape)
        )
        found[name] = {
            "weights": tensor.size,
            "density": tensor.density,
            "bytes": len(payload),
            "encoding": tensor.size / encoding / 1e6,
            "decoding": tensor.size / decoding / 1e6,
        }
    demands = []
    for way in ("encoding", "decoding"):
        slowest = min(found, key=lambda name: found[name][way])
        speed = found[slowest][way]
        demands.append(
            demand(
                f"{way} by `small`: {DEMANDED} million weights a second", f"{speed:.1f} ({slowest})", speed >= DEMANDED
            )
        )
    result = {
        "command": command("benchmarks.small_speed"),
        **environment(),
        "rounds": rounds,
        "tensors": found,
        "demands": demands,
    }
    write_result("small_speed", result)
    return conclude(result)


if __name__ == "__main__":
    raise SystemExit(main())
