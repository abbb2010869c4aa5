"""The decoder in WebAssembly beside the core's -> benchmarks/results/browser_decode.json.

    python -m benchmarks.browser.decode

Both run on one core, from a file's bytes in memory to dense tensors, checksums included. Node runs what `npm run build`
made in browser/. Times are the least of `ROUNDS`, or of `FILE_ROUNDS` for committed networks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device.decoders import shared
from benchmarks.environment import ROOT, demand, main
from deepcompression import _core
from deepcompression.coding.encode_part import Encode
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor, Tensor

ROUNDS = 11
FILE_ROUNDS = 2
SEED = 0
# `small` decodes a bit at a time: a quarter of the weights is enough.
SHAPES = {"fast": (2048, 2048), "small": (1024, 1024)}
FILES = ("lenet-300-100", "lenet-5", "alexnet", "vgg-16")
BROWSER = ROOT / "browser"

# Weights a second that `fast` must reach in WebAssembly.
LEAST_A_SECOND = 100e6


def subjects(coder: str) -> Iterator[tuple[str, Tensor]]:
    rng = np.random.default_rng(SEED)
    shape = SHAPES[coder]
    for density in (0.1, 0.5, 1.0):
        for centroids in (16, 256):
            yield f"{density:.0%}, {centroids} centroids", shared(shape, density, centroids, rng)
        values = rng.normal(size=shape).astype("<f4")
        values[rng.random(shape) >= density] = 0
        yield f"{density:.0%}, values", DenseTensor("F32", values)


def node(paths: Sequence[Path], rounds: int) -> list[dict[str, Any]]:
    script = [str(BROWSER / "benchmarks" / "decode.mjs"), str(rounds), *map(str, paths)]
    done = subprocess.run(["node", *script], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def native(path: Path, instruction_set: str, rounds: int) -> float:
    """Milliseconds that the core takes for all tensors of a file, one after the other."""
    _core.force_instruction_set(instruction_set)
    with DczFile(path) as file:
        total = 0.0
        for name in (name for name, entry in file.all_entries.items() if entry.tied_to is None):
            least = float("inf")
            for _ in range(rounds):
                start = time.perf_counter()
                file.read_dense(name)
                least = min(least, time.perf_counter() - start)
            total += 1e3 * least
    return total


def row(name: str, coder: str, path: Path, rounds: int) -> dict[str, Any]:
    """One file's figures; those of WebAssembly are taken between those of the core."""
    with DczFile(path) as file:
        own = [entry for entry in file.all_entries.values() if entry.tied_to is None]
        weights = sum(int(np.prod(entry.shape)) for entry in own)
        payload = sum(entry.length for entry in own)
    portable = native(path, "portable", rounds)
    found = node([path], rounds)[0]
    wasm = sum(tensor["ms"] for tensor in found["tensors"].values())
    best = native(path, _core.instruction_sets()[-1], rounds)
    return {
        "name": name,
        "coder": coder,
        "weights": weights,
        "payload": payload,
        "memory": found["memory"],
        "ms": {"wasm": wasm, "portable": portable, "best": best},
        "millions_a_second": weights / wasm / 1e3,
    }


def write_subjects(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, coder and file of every tensor that is measured."""
    for coder in SHAPES:
        for name, tensor in subjects(coder):
            path = folder / f"{coder}, {name}.dcz"
            save_tensors(path, {"w": tensor}, {}, {"w": Encode(coder=coder)})
            yield name, coder, path


def module() -> dict[str, Any]:
    data = (BROWSER / "dist" / "decode.wasm").read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def measure(_: argparse.Namespace) -> dict[str, Any]:
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for subject, coder, path in write_subjects(Path(name)):
            print(f"{coder}, {subject}", file=sys.stderr)
            rows.append(row(subject, coder, path, ROUNDS))
    for name in FILES:
        print(name, file=sys.stderr)
        rows.append(row(name, "file", ROOT / "reproduce" / "results" / f"{name}.dcz", FILE_ROUNDS))
    result = {
        "versions": {"node": version.removeprefix("v")},
        "seed": SEED,
        "load": os.getloadavg()[0],
        "instruction_sets": _core.instruction_sets(),
        "wasm": module(),
        "rows": rows,
    }
    return {**result, "demands": demands(rows)}


def demands(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the result must show."""
    found = min(row["millions_a_second"] for row in rows if row["coder"] == "fast")
    least = LEAST_A_SECOND / 1e6
    return [demand(f"fast: at least {least:.0f} million weights a second", found, found >= least)]


if __name__ == "__main__":
    sys.exit(main("browser_decode", measure, {}))
