"""Times the profile `small`: million weights a second, zeros included, encoded and decoded on one core.

CPU time, the least of the rounds, of single tensors and of the 26 layers of SqueezeNet one after the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.environment import demand, main
from benchmarks.tensors import alexnet_fc6, convolution, squeezenet, vgg16_fc6
from deepcompression.coding.coders import decode_dense, encode
from deepcompression.common.binary import Cursor
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

DEMANDED = 10.0


def measured() -> dict[str, list[CompressedTensor]]:
    """The tensors that are timed together, by name."""
    layers = [tensor for tensor in squeezenet().values() if isinstance(tensor, CompressedTensor)]
    return {
        "AlexNet fc6": [alexnet_fc6()],
        "VGG-16 fc6": [vgg16_fc6()],
        "convolution": [convolution()],
        "convolution, nothing pruned": [convolution((512, 512, 3, 3), 1 - 1e-9)],
        "SqueezeNet's 26 layers": layers,
    }


def seconds(rounds: int, work: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rounds, found = arguments.rounds, {}
    for name, tensors in measured().items():
        payloads = [encode(tensor, "small")[1] for tensor in tensors]

        def encode_all(tensors: list[CompressedTensor] = tensors) -> None:
            for tensor in tensors:
                encode(tensor, "small")

        def decode_all(
            tensors: list[CompressedTensor] = tensors, payloads: list[bytes] = payloads
        ) -> list[DenseTensor]:
            return [
                decode_dense("small", Cursor(payload), tensor.dtype, tensor.shape)
                for tensor, payload in zip(tensors, payloads, strict=True)
            ]

        for tensor, dense in zip(tensors, decode_all(), strict=True):
            if not np.array_equal(dense.elements, tensor.dense().elements):
                raise AssertionError(f"{name} does not come back")
        weights = sum(tensor.size for tensor in tensors)
        found[name] = {
            "weights": weights,
            "density": sum(len(tensor.positions) for tensor in tensors) / weights,
            "bytes": sum(map(len, payloads)),
            "encoding": weights / seconds(rounds, encode_all) / 1e6,
            "decoding": weights / seconds(rounds, decode_all) / 1e6,
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
    return {"tensors": found, "demands": demands}


if __name__ == "__main__":
    raise SystemExit(main("small_speed", measure, {"--rounds": 5}))
