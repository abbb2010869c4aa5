"""Instructions of products on 64-bit ARM, counted under emulation: `core/cross/count` builds what this runs.

The nine layers of `benchmarks.layers`, in full, by every form and kernel that could serve them. Instructions are no
cycles: how many are executed at once, how long each takes and how long memory takes is not in them. They are exact, and
the same in every run.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.environment import RESULTS, ROOT, environment, write_result
from benchmarks.layers import ours as layer_ours
from deepcompression.packed import packing

BUILD = ROOT / "build" / "cross" / "count"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"

# More vectors are multiplied in tiles of 8 or 16, so that 16 stand for all that follow.
BATCHES = (1, 2, 4, 8, 12, 16)
MANY, WHERE_MANY = 64, "NeuralTalk We"
# Codebooks of 5 and 8 bits take other instructions: small layers show them.
SMALL = ("NeuralTalk We", "NeuralTalk Wd", "NeuralTalk LSTM")
CODEBOOKS = {16: tuple(layer_ours.LAYERS), 32: SMALL, 256: SMALL}

# kind of product -> the grid of its codebook, its activations
KINDS = {
    "float32": (None, "float32"),
    "float32, int8 grid": ("int8", "float32"),
    "float32, int16 grid": ("int16", "float32"),
    "int8": (None, "int8"),
}

# An emulated CPU with `sdot`, and one without.
SDOT, NO_SDOT = "neoverse-n1", "cortex-a72"

LIMITS = (
    "instructions, not cycles: how many a CPU executes at once, and what each takes, is not counted",
    "caches and memory are not emulated",
    "one thread; preparing x and writing y are counted, packing is not",
    "one compiler; another one gives other counts",
)


class Candidate(NamedTuple):
    """A form, the instruction set of the kernel that multiplies by it, the CPU, and the kinds that are counted.

    A kind that is not counted takes the instructions of the one in `same`, or has no kernel.
    """

    form: str
    instruction_set: str
    cpu: str
    kinds: tuple[str, ...]
    same: str | None = None


# `panel` and `factored` sum floats for every kind. The portable `window` sums integers of one width for all grids.
FLOATS, INTEGERS = ("float32",), ("float32, int8 grid", "float32, int16 grid", "int8")
CANDIDATES = {
    "window, neon": Candidate("window", "neon", NO_SDOT, FLOATS + INTEGERS),
    "window, neon with sdot": Candidate("window", "neon", SDOT, FLOATS + INTEGERS),
    "window, portable": Candidate("window", "portable", NO_SDOT, ("float32", "int8"), same="int8"),
    "panel, neon": Candidate("panel", "neon", NO_SDOT, FLOATS, same="float32"),
    "panel, portable": Candidate("panel", "portable", NO_SDOT, FLOATS, same="float32"),
    "factored": Candidate("factored", "portable", NO_SDOT, FLOATS, same="float32"),
}

Counts = dict[str, dict[str, dict[str, float]]]


def counted(lines: list[str], cpu: str, program: str = "counted") -> list[int]:
    """The instructions of products, a line of the program's input each."""
    ran = subprocess.run(
        [EMULATOR, "-cpu", cpu, "-plugin", str(BUILD / "count.so"), str(BUILD / program)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in ran.stdout.split()]


def measure(layer: str, centroids: int, batches: tuple[int, ...], pool: Executor) -> Counts:
    """Instructions a survivor and vector: kind -> batch -> candidate."""
    counts: Counts = {kind: {str(batch): {} for batch in batches} for kind in KINDS}
    weights = layer_ours.weights(layer, centroids)
    with tempfile.TemporaryDirectory() as folder:
        running: dict[tuple[str, str], Future[list[int]]] = {}
        for kind, (grid, activations) in KINDS.items():
            tensor = layer_ours.on_grid(weights, grid) if grid else weights
            for name, candidate in CANDIDATES.items():
                if kind in candidate.kinds:
                    lines = []
                    for batch in batches:
                        # the layout of the form `window` for one vector differs from that for more
                        path = Path(folder) / f"{len(running)}-{min(batch, 2)}"
                        if not path.exists():
                            way = (tensor, activations, batch)
                            packing.pack(*way, form=candidate.form, instruction_set="neon").tofile(path)
                        lines.append(f"{path} {candidate.instruction_set} {activations} {batch}")
                    running[kind, name] = pool.submit(counted, lines, candidate.cpu)
        for kind in KINDS:
            for name, candidate in CANDIDATES.items():
                source = kind if kind in candidate.kinds else candidate.same
                if source is not None:
                    for batch, count in zip(batches, running[source, name].result(), strict=True):
                        counts[kind][str(batch)][name] = round(count / (batch * len(weights.codes)), 3)
    return counts


def check_many(centroids: int, pool: Executor) -> None:
    """Raises RuntimeError if a vector takes other instructions in a batch of `MANY` than in the last of `BATCHES`."""
    found = measure(WHERE_MANY, centroids, (max(BATCHES), MANY), pool)
    for kind, batches in found.items():
        few, many = batches.values()
        for name, count in few.items():
            if abs(many[name] / count - 1) > 0.01:
                raise RuntimeError(f"{name}, {kind}: {count} instructions, but {many[name]} in batch {MANY}")


def means(layers: dict[str, Counts]) -> Counts:
    """The geometric mean over layers."""
    first = next(iter(layers.values()))
    return {
        kind: {
            batch: {
                name: round(
                    math.exp(sum(math.log(layer[kind][batch][name]) for layer in layers.values()) / len(layers)), 3
                )
                for name in names
            }
            for batch, names in batches.items()
        }
        for kind, batches in first.items()
    }


def fewest(layers: dict[str, Counts]) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """On how many layers a candidate needs the fewest: CPU -> kind -> batch -> candidate."""
    found: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for cpu in (NO_SDOT, SDOT):
        found[cpu] = {kind: {str(batch): {} for batch in BATCHES} for kind in KINDS}
        for layer in layers.values():
            for kind, batches in layer.items():
                for batch, names in batches.items():
                    able = {name: count for name, count in names.items() if runs_on(cpu, CANDIDATES[name], kind)}
                    best, wins = min(able, key=lambda name: able[name]), found[cpu][kind][batch]
                    wins[best] = wins.get(best, 0) + 1
    return found


def runs_on(cpu: str, candidate: Candidate, kind: str) -> bool:
    """Whether this CPU would use the candidate's kernel: with `sdot`, integers are never multiplied without it."""
    by_instructions = candidate.form == "window" and candidate.instruction_set == "neon"
    return candidate.cpu == cpu or not by_instructions


def show(centroids: int, mean: Counts) -> None:
    """Prints the means, the fewest instructions first."""
    for kind, batches in mean.items():
        for batch, names in batches.items():
            counts = ", ".join(f"{name} {count:.2f}" for name, count in sorted(names.items(), key=lambda n: n[1]))
            print(f"{centroids} centroids, {kind}, batch {batch}: {counts}", flush=True)


def version(program: str) -> str:
    """The first line that a program prints about itself."""
    ran = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()[0]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="core/cross/count", description=__doc__)
    parser.add_argument("--centroids", type=int, nargs="+", default=list(CODEBOOKS), choices=CODEBOOKS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the result")
    return parser.parse_args()


def main() -> int:
    """Measures, prints the means, writes the result."""
    arguments = parse()
    found: dict[str, Any] = environment()
    found["versions"] |= {"compiler": version(COMPILER), "emulator": version(EMULATOR)}
    found["emulated"] = {"without sdot": NO_SDOT, "with sdot": SDOT}
    result: dict[str, Any] = {
        "command": " ".join(["core/cross/count", *sys.argv[1:]]),
        **found,
        "unit": "instructions a survivor and vector",
        "limits": LIMITS,
        "centroids": {},
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for centroids in arguments.centroids:
            check_many(centroids, pool)
            layers = {layer: measure(layer, centroids, BATCHES, pool) for layer in CODEBOOKS[centroids]}
            mean = means(layers)
            result["centroids"][str(centroids)] = {"means": mean, "fewest": fewest(layers), "layers": layers}
            show(centroids, mean)
            write_result("neon_instructions", result, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
