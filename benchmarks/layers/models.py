"""Times whole networks dense and compressed, their peak memory, and the first result from a file that no cache holds.

The two LeNets as they were trained, AlexNet and VGG-16 with synthetic weights at the paper's densities. Each
measurement has a process of its own, and the ways take turns. Memory is the resident peak less the memory after the
imports. Only the file of the weights is cold, the libraries are not. Loading includes what a call imports at its first
use, from compiled Python, as pip leaves it.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import deepcompression as dc
from benchmarks import timing
from benchmarks.environment import ROOT, demand, main
from benchmarks.networks import NETWORKS
from deepcompression.checkpoint import write_tensors

BATCHES = (1, 64)
# Way -> the ending of its file and, of those that compute compressed, the activations.
WAYS = {
    "dense, torch.load": (".pt", None),
    "dense, safetensors": (".safetensors", None),
    "compressed, float32": (".dcz", "float32"),
    "compressed, int8": (".dcz", "int8"),
}
DENSE, COMPRESSED = list(WAYS)[:2], list(WAYS)[2:]
# max|error| / max|y| against the dense network, which computes in float32 too.
BOUNDS = {"dense, safetensors": 1e-6, "compressed, float32": 1e-5, "compressed, int8": 1e-1}
# Three layers that are 494 MB dense must load and run in less than this.
CLASSIFIER, CLASSIFIER_BYTES = "VGG-16 fc6-8", 60_000_000
# Until a network is loaded from a cold file, by a process that has imported torch and the package.
MOST_MS = {"LeNet-300-100": 8, "LeNet-5": 8, "AlexNet": 80, "VGG-16": 130, CLASSIFIER: 90}
REPEATS, LEAST_CALLS = 3, 3

LOADING, FIRST = "loading, cold", "first result, cold"

WORK = """
import json, sys
from benchmarks.layers.models import work
print(json.dumps(work(*json.loads(sys.argv[1]))))
"""

Found = dict[str, Any]


def write_files(name: str, folder: Path) -> dict[str, int]:
    """The network's weights in each of the formats; their sizes by ending."""
    tensors = NETWORKS[name].tensors()
    dc.save_tensors(folder / "model.dcz", tensors)
    dense = {key: each.dense() for key, each in tensors.items()}
    write_tensors(folder / "model.safetensors", dense, {})
    torch.save({key: torch.from_numpy(each.numpy()) for key, each in dense.items()}, folder / "model.pt")
    return {path.suffix: path.stat().st_size for path in folder.iterdir()}


def forget(path: Path) -> None:
    """Drops a file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def load(model: torch.nn.Module, path: Path, activations: str | None, batch: int) -> torch.nn.Module:
    """The network with the weights of a file, ready to run."""
    if activations is not None:
        ready: torch.nn.Module = dc.run(model, path, batch=batch, activations=activations)
        return ready.eval()
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
    else:
        from safetensors.torch import load_file

        state = load_file(path)
    model.load_state_dict(state, assign=True)
    return model.eval()


def resident(name: str) -> int:
    """Bytes: `VmRSS` now, `VmHWM` at the peak."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def inputs(name: str, batch: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).standard_normal((batch, *NETWORKS[name].shape), np.float32))


def work(name: str, way: str, batch: int, threads: int, seconds: float, place: str) -> Found:
    """In a process of its own: the first result from the cold file, then calls for some seconds; y is written."""
    folder = Path(place)
    torch.set_num_threads(threads)
    ending, activations = WAYS[way]
    path, x = folder / f"model{ending}", inputs(name, batch)
    # on no device: no weights are made that are then replaced. Its own imports and times are nobody's
    with torch.device("meta"):
        network = NETWORKS[name].build()
    forget(path)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    with torch.inference_mode():
        start = time.perf_counter()
        model = load(network, path, activations, batch)
        loaded = time.perf_counter()
        y = model(x)
        first = time.perf_counter()
        calls: list[float] = []
        while len(calls) < LEAST_CALLS or time.perf_counter() < first + seconds:
            begun = time.perf_counter()
            model(x)
            calls.append(time.perf_counter() - begun)
    np.save(folder / f"{way}.npy", y.numpy())
    return {
        "seconds": statistics.median(calls),
        "peak bytes": resident("VmHWM") - before,
        LOADING: loaded - start,
        FIRST: first - start,
    }


def measure(
    name: str, batch: int, arguments: argparse.Namespace, folder: Path, missing: dict[str, str]
) -> dict[str, Found]:
    """Medians by way, each with its error against the first; those that fail go to `missing`, with the reason."""
    found: dict[str, list[Found]] = {}
    for _ in range(arguments.repeats):
        for way in arguments.ways:
            label = f"{name}, batch {batch}, {way}"
            if label in missing:
                continue
            task = [name, way, batch, arguments.threads, arguments.seconds, str(folder)]
            run = [sys.executable, "-c", WORK, json.dumps(task)]
            done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                missing[label] = (done.stderr.strip().splitlines() or ["?"])[-1][:200]
                print(f"{label}: {missing[label]}", flush=True)
            else:
                found.setdefault(way, []).append(json.loads(done.stdout.splitlines()[-1]))
    if not found:
        return {}
    reference = np.load(folder / f"{next(iter(found))}.npy")
    medians = {}
    for way, runs in found.items():
        medians[way] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        error = np.abs(np.load(folder / f"{way}.npy") - reference).max() / np.abs(reference).max()
        medians[way]["error"] = float(error)
        print(f"{name}, batch {batch}, {way}: {medians[way]}", flush=True)
    return medians


def demands(networks: dict[str, Found]) -> list[Found]:
    """The demands on errors, on memory, and on the time to the first result."""
    rows = []
    for way, bound in BOUNDS.items():
        errors = {
            name: ways[way]["error"]
            for name, network in networks.items()
            for ways in network["batch"].values()
            if way in ways
        }
        if errors:
            worst = max(errors, key=lambda name: errors[name])
            text = f"{way}: max|error| / max|y| at most {bound:g} against dense"
            rows.append(demand(text, f"{errors[worst]:.2g} ({worst})", errors[worst] <= bound))
    for way in COMPRESSED:
        one = networks.get(CLASSIFIER, {}).get("batch", {}).get("1", {}).get(way)
        text = f"{CLASSIFIER}, {way}: loads and runs in less than {CLASSIFIER_BYTES:,} bytes"
        if one is None:
            rows.append(demand(text, "not measured", False))
        else:
            rows.append(demand(text, f"{one['peak bytes']:,.0f}", one["peak bytes"] < CLASSIFIER_BYTES))
    return rows + [
        row for name, network in networks.items() for row in first_answers(name, network["batch"].get("1", {}))
    ]


def first_answers(name: str, ways: dict[str, Found]) -> list[Found]:
    """The demands on the first result for one input, where both ways were measured."""
    dense, ours = ways.get(DENSE[1]), ways.get(COMPRESSED[0])
    if dense is None or ours is None:
        return []
    loading, first, theirs = (1e3 * each for each in (ours[LOADING], ours[FIRST], dense[FIRST]))
    return [
        demand(f"{name}: loads in at most {MOST_MS[name]} ms", f"{loading:.1f} ms", loading <= MOST_MS[name]),
        demand(
            f"{name}: the first result no later than from safetensors",
            f"{first:.1f} ms against {theirs:.1f}",
            first <= theirs,
        ),
    ]


def measure_all(arguments: argparse.Namespace) -> Found:
    timing.clean_environment()
    compileall.compile_dir(Path(dc.__file__).parent, quiet=1)
    networks: dict[str, Found] = {}
    missing: dict[str, str] = {}
    for name in arguments.networks:
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as made:
            folder = Path(made)
            sizes = write_files(name, folder)
            batches = {str(batch): measure(name, batch, arguments, folder, missing) for batch in arguments.batch}
        networks[name] = {"file bytes": sizes, "batch": batches}
    return {"networks": networks, "missing": missing, "demands": demands(networks)}


OPTIONS = {
    "--networks": {"nargs": "+", "choices": NETWORKS, "default": tuple(NETWORKS), "metavar": "NAME"},
    "--batch": {"type": int, "nargs": "+", "choices": BATCHES, "default": BATCHES},
    "--ways": {"nargs": "+", "choices": WAYS, "default": tuple(WAYS), "metavar": "WAY"},
    "--threads": 2,
    "--repeats": {"type": int, "default": REPEATS, "help": "processes of each kind"},
    "--seconds": {"type": float, "default": 3, "help": "of calls in each process"},
}

if __name__ == "__main__":
    raise SystemExit(main("models", measure_all, OPTIONS, ["networks", "batch", "ways"], ["torch", "safetensors"]))
