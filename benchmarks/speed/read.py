"""Times reading a whole AlexNet from `.dcz` into dense arrays beside safetensors reading the same weights uncompressed.

Both read by turns from the page cache, with two threads, and touch every page of the result. Writing the `.dcz` and the
peak memory of reading it are measured too. The weights are synthetic (benchmarks/tensors.py): 61 million at the paper's
densities.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from benchmarks.environment import ROOT, demand, main
from benchmarks.tensors import alexnet
from benchmarks.timing import seconds
from deepcompression.checkpoint import write_tensors
from deepcompression.file.reader import DczFile, load_tensors
from deepcompression.file.writer import save_tensors

THREADS = 2
DEMANDED_READING = 2.0
DEMANDED_WRITING_SECONDS = 2.0
DEMANDED_MEMORY = 0.10

PEAK = """
import re, sys
from pathlib import Path
import numpy
from deepcompression import load_tensors
def peak(name):
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
load_tensors(sys.argv[2])
before = peak("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
arrays = load_tensors(sys.argv[1], threads=2)
for array in arrays.values():
    array.reshape(-1)[::1024].sum()
print(peak("VmHWM") - before, sum(array.nbytes for array in arrays.values()))
"""


def touch(arrays: Mapping[str, Any]) -> float:
    """Reads one element of every page."""
    return sum(float(np.asarray(array).reshape(-1)[::1024].sum()) for array in arrays.values())


def read_safetensors(path: Path) -> float:
    with safe_open(path, framework="numpy") as file, ThreadPoolExecutor(THREADS) as pool:
        names = list(file.keys())
        return touch(dict(zip(names, pool.map(file.get_tensor, names), strict=True)))


def read_dcz(path: Path) -> float:
    return touch(load_tensors(path, threads=THREADS))


def peak_memory(path: Path, small: Path) -> tuple[int, int]:
    """Bytes resident at the peak of reading above those before, in a process of its own, and bytes of the arrays."""
    run = [sys.executable, "-c", PEAK, str(path), str(small)]
    printed = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    above, dense = map(int, re.findall(r"\d+", printed))
    return above, dense


def check_seconds(path: Path) -> tuple[float, float]:
    """Seconds to check the checksum of the largest tensor, and to decode it as well; one thread."""
    with DczFile(path) as file:
        name = max(file.entries, key=lambda name: file.entries[name].nbytes)
        checking = min(seconds(file.check, name) for _ in range(5))
        return checking, min(seconds(file.read_dense, name) for _ in range(5)) - checking


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    tensors = alexnet()
    with tempfile.TemporaryDirectory() as folder:
        packed, plain, small = (Path(folder) / name for name in ("a.dcz", "a.safetensors", "small.dcz"))
        writing = [seconds(save_tensors, packed, tensors) for _ in range(3)]
        write_tensors(plain, {name: tensor.dense() for name, tensor in tensors.items()}, {})
        save_tensors(small, {"conv1.bias": tensors["conv1.bias"]})
        if read_dcz(packed) != read_safetensors(plain):
            raise AssertionError("the two files do not hold the same weights")
        del tensors
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            theirs.append(seconds(read_safetensors, plain))
            ours.append(seconds(read_dcz, packed))
        above, dense = peak_memory(packed, small)
        checking, decoding = check_seconds(packed)
        sizes = {"dcz": packed.stat().st_size, "safetensors": plain.stat().st_size}
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    took, spare = statistics.median(writing), above / dense - 1
    demands = [
        demand(
            f"reading takes at most {DEMANDED_READING} times as long as safetensors",
            round(ratio, 3),
            ratio <= DEMANDED_READING,
        ),
        demand(f"writing takes at most {DEMANDED_WRITING_SECONDS} s", round(took, 3), took <= DEMANDED_WRITING_SECONDS),
        demand(
            f"peak memory above the dense result at most {DEMANDED_MEMORY:.0%} of it",
            f"{spare:.1%}",
            spare <= DEMANDED_MEMORY,
        ),
        demand(
            "checking a tensor takes less time than decoding it (fc6)",
            f"{1e3 * checking:.1f} ms against {1e3 * decoding:.1f} ms",
            checking < decoding,
        ),
    ]
    return {
        "threads": THREADS,
        "bytes": sizes,
        "seconds": {
            "reading .dcz": statistics.median(ours),
            "reading safetensors": statistics.median(theirs),
            "writing .dcz": statistics.median(writing),
        },
        "reading, times safetensors": ratio,
        "peak bytes while reading": above,
        "dense bytes": dense,
        "demands": demands,
    }


if __name__ == "__main__":
    raise SystemExit(main("read_speed", measure, {"--rounds": 15}, packages=["safetensors"]))
