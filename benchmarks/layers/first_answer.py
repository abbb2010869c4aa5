"""Times the first result of a new process from a file that no cache holds, beside dense safetensors.

Two threads, one input, the networks of `benchmarks.layers.models`. Each measurement has a process of its own, which has
imported torch, and the ways take turns. The import of the library that reads the file (the package, or safetensors) is
timed apart, on both sides. Loading and the first result count from there; they are also compared with it.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import deepcompression as dc
from benchmarks import timing
from benchmarks.environment import ROOT, demand, main
from benchmarks.layers.models import CLASSIFIER, COMPRESSED, DENSE, FIRST, LOADING, MOST_MS, Found, write_files
from benchmarks.networks import NETWORKS

# What a first call would import: all modules that `dc.run` uses, or safetensors.
LIBRARIES = {
    DENSE[1]: ["safetensors.torch"],
    COMPRESSED[0]: ["deepcompression", "deepcompression.nn.run", "deepcompression.nn.build"],
}
CHOSEN = ("LeNet-300-100", "AlexNet", "VGG-16", CLASSIFIER)
IMPORTING, REPEATS = "importing", 5

WORK = """
import importlib, json, sys, time
import torch
name, way, threads, folder, modules = json.loads(sys.argv[1])
begun = time.perf_counter()
for module in modules:
    importlib.import_module(module)
importing = time.perf_counter() - begun
from benchmarks.layers.models import work
print(json.dumps(work(name, way, 1, threads, 0, folder) | {"importing": importing}))
"""


def measure(name: str, threads: int, repeats: int, folder: Path) -> dict[str, Found]:
    """Medians in seconds by way. Raises subprocess.CalledProcessError if a way fails."""
    runs: dict[str, list[Found]] = {way: [] for way in LIBRARIES}
    for _ in range(repeats):
        for way, modules in LIBRARIES.items():
            task = json.dumps([name, way, threads, str(folder), modules])
            done = subprocess.run([sys.executable, "-c", WORK, task], cwd=ROOT, stdout=subprocess.PIPE, check=True)
            runs[way].append(json.loads(done.stdout.splitlines()[-1]))
    kept = (IMPORTING, LOADING, FIRST, "peak bytes")
    return {way: {key: statistics.median(run[key] for run in found) for key in kept} for way, found in runs.items()}


def demands(name: str, ways: dict[str, Found]) -> list[Found]:
    """What one network must show."""
    theirs, ours = (ways[way] for way in LIBRARIES)
    first, dense = 1e3 * ours[FIRST], 1e3 * theirs[FIRST]
    all_first, all_dense = first + 1e3 * ours[IMPORTING], dense + 1e3 * theirs[IMPORTING]
    loading = 1e3 * ours[LOADING]
    later = "the first result no later than from safetensors"
    return [
        demand(f"{name}: loads in at most {MOST_MS[name]} ms", f"{loading:.1f} ms", loading <= MOST_MS[name]),
        demand(f"{name}: {later}", f"{first:.1f} ms against {dense:.1f}", first <= dense),
        demand(
            f"{name}: {later}, with the import of each library",
            f"{all_first:.1f} ms against {all_dense:.1f}",
            all_first <= all_dense,
        ),
    ]


def measure_all(arguments: argparse.Namespace) -> Found:
    timing.clean_environment()
    compileall.compile_dir(Path(dc.__file__).parent, quiet=1)
    networks: dict[str, dict[str, Found]] = {}
    for name in arguments.networks:
        (ROOT / "build").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as made:
            write_files(name, Path(made))
            networks[name] = measure(name, arguments.threads, arguments.repeats, Path(made))
        print(f"{name}: {networks[name]}", flush=True)
    return {
        "networks": networks,
        "demands": [row for name, ways in networks.items() for row in demands(name, ways)],
    }


OPTIONS = {
    "--networks": {"nargs": "+", "choices": NETWORKS, "default": CHOSEN, "metavar": "NAME"},
    "--threads": 2,
    "--repeats": {"type": int, "default": REPEATS, "help": "processes of each kind"},
}

if __name__ == "__main__":
    raise SystemExit(main("first_answer", measure_all, OPTIONS, ["networks", "threads"], ["torch", "safetensors"]))
