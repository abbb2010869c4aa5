"""Times decoding and encoding blocks of symbols beside zstd's level 1, whose literals are coded by huff0.

Six streams: the codes and the gaps of AlexNet's fc6, of VGG-16's and of a convolution (benchmarks/tensors.py), each
symbol a byte. A round runs every task 32 times on the same stream. A ratio compares two tasks in the same round; its
median over the rounds counts. "2 threads" do half of the 32 each, as they share a file's tensors, with zstd as with
ours. "shared" are two threads that decode one block together.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks.environment import demand, main
from benchmarks.file_size.peers import entropy_bits
from benchmarks.tensors import alexnet_fc6, convolution, vgg16_fc6
from benchmarks.timing import seconds
from deepcompression import _core
from deepcompression.tensors.tensor import CompressedTensor

Symbols = NDArray[np.uint8]

# instruction set -> the demand: times as fast as zstd, geometric mean over the streams
DEMANDED = {"portable": 0.8, "avx2": 0.9, "avx512": 4.5}
DEMANDED_ENCODING = 1.0
DEMANDED_THREADS = 1.8

BATCH = 32


def gaps(tensor: CompressedTensor) -> Symbols:
    """The number of pruned elements before each survivor, with the escape that takes the fewest bytes. An escape skips
    as many elements as its number and holds no survivor.
    """
    skipped = np.diff(tensor.positions, prepend=-1) - 1

    def with_escape(escape: int) -> Symbols:
        escapes, rest = np.divmod(skipped, escape)
        symbols = np.full(len(skipped) + int(escapes.sum()), escape, np.uint8)
        symbols[np.cumsum(escapes + 1) - 1] = rest
        return symbols

    candidates = (with_escape(escape) for escape in (7, 15, 23, 31, 47, 63))
    return min(candidates, key=lambda s: len(_core.encode_block(s)))


def streams() -> dict[str, Symbols]:
    """The six streams by name."""
    layers = {"AlexNet fc6": alexnet_fc6(), "VGG-16 fc6": vgg16_fc6(), "convolution": convolution()}
    codes = {f"{name}, codes": tensor.codes for name, tensor in layers.items()}
    return codes | {f"{name}, gaps": gaps(tensor) for name, tensor in layers.items()}


def measure(symbols: Symbols, rounds: int, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Medians over the rounds: million symbols a second, and ratios to zstd in the same round."""
    count, data = len(symbols), symbols.tobytes()
    block = _core.encode_block(symbols)
    compressor, decompressor = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    frame = compressor.compress(data)
    if decompressor.decompress(frame) != data:
        raise AssertionError("zstd does not give back its input")

    def decode(threads: int = 1) -> object:
        return _core.decode_block(block, 0, count, 256, threads)

    def unpack() -> object:
        # a decompressor serves one thread
        return zstandard.ZstdDecompressor().decompress(frame)

    def alone(work: Callable[[], object], times: int = BATCH) -> None:
        for _ in range(times):
            work()

    def by_two(work: Callable[[], object]) -> None:
        half = pool.submit(alone, work, BATCH // 2)
        alone(work, BATCH // 2)
        half.result()

    tasks: dict[str, Callable[[], object]] = {
        "zstd decoding": lambda: alone(unpack),
        "zstd decoding, 2 threads": lambda: by_two(unpack),
        "zstd encoding": lambda: alone(lambda: compressor.compress(data)),
        "encoding": lambda: alone(lambda: _core.encode_block(symbols)),
    }
    sets = _core.instruction_sets()
    for name in sets:
        _core.force_instruction_set(name)
        if not np.array_equal(_core.decode_block(block, 0, count)[0], symbols):
            raise AssertionError(f"{name} does not give back its input")
        tasks[name] = lambda: alone(decode)
        tasks[f"{name}, 2 threads"] = lambda: by_two(decode)
        tasks[f"{name}, shared"] = lambda: alone(lambda: decode(2))
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for round_ in range(-2, rounds):
        for name, task in tasks.items():
            instruction_set = name.partition(",")[0]
            _core.force_instruction_set(instruction_set if instruction_set in sets else "")
            elapsed = seconds(task) / BATCH
            if round_ >= 0:
                found[name].append(elapsed)
    _core.force_instruction_set("")

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in zip(found[slow], found[fast], strict=True))

    return {
        "symbols": count,
        "bits of entropy": entropy_bits(np.bincount(symbols)),
        "bits": {"ours": 8 * len(block) / count, "zstd": 8 * len(frame) / count},
        "million symbols a second": {name: count / statistics.median(s) / 1e6 for name, s in found.items()},
        "times zstd": {name: ratio("zstd decoding", name) for name in sets}
        | {f"{name}, 2 threads": ratio("zstd decoding, 2 threads", f"{name}, 2 threads") for name in sets}
        | {"encoding": ratio("zstd encoding", "encoding")},
        "times one thread": {
            f"{name}{kind}": ratio(name, f"{name}{kind}") for name in sets for kind in (", 2 threads", ", shared")
        },
    }


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as pool:
        found = {name: measure(symbols, arguments.rounds, pool) for name, symbols in streams().items()}

    def mean(kind: str, name: str) -> float:
        return statistics.geometric_mean(stream[kind][name] for stream in found.values())

    sets = _core.instruction_sets()
    any_stream = next(iter(found.values()))
    times = {name: mean("times zstd", name) for name in any_stream["times zstd"]}
    threads = {name: mean("times one thread", name) for name in any_stream["times one thread"]}
    demands = [
        *(
            demand(
                f"decoding, {name}: {DEMANDED[name]} times zstd -1",
                round(times[name], 3),
                times[name] >= DEMANDED[name],
            )
            for name in sets
        ),
        demand(
            f"encoding: {DEMANDED_ENCODING} times zstd -1",
            round(times["encoding"], 3),
            times["encoding"] >= DEMANDED_ENCODING,
        ),
    ]
    for name in sets:
        gain = threads[f"{name}, 2 threads"]
        demands.append(
            demand(f"{name}: two threads {DEMANDED_THREADS} times one", round(gain, 3), gain >= DEMANDED_THREADS)
        )
    return {"streams": found, "times zstd": times, "times one thread": threads, "demands": demands}


if __name__ == "__main__":
    raise SystemExit(main("decode_speed", measure_all, {"--rounds": 31}, packages=["zstandard"]))
