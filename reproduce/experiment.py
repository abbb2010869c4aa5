"""A LeNet of the paper from scratch to a `.dcz` file: trained, pruned, shared, encoded; measured by the file alone."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

import deepcompression as dc
from benchmarks.environment import environment as common_environment
from reproduce.data import Distortion, Images, load_test, load_training
from reproduce.models import LeNet5, LeNet300100
from reproduce.training import BATCH, Phase, error_percent, train

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Network:
    """A network of the paper with the training found for it; `paper` are the error and size of its table 1."""

    model: type[nn.Module]
    dense: Phase
    prune: Phase
    tune: Phase
    distortion: Distortion
    paper: dict[str, float]

    def recipe(self, name: str) -> dc.Recipe:
        return dc.Recipe.load(HERE / "recipes" / f"{name}.yaml")


NETWORKS = {
    "lenet-300-100": Network(
        LeNet300100,
        Phase("train", 6, 2e-3, warmup=300),
        Phase("prune", 76, 2e-3),
        Phase("share", 4, 1e-3),
        Distortion(degrees=10, scale=0.1, shear=0.1, pixels=1.5),
        {"error_percent": 1.58, "reference_error_percent": 1.64, "file_bytes": 27_000, "ratio": 40},
    ),
    "lenet-5": Network(
        LeNet5,
        Phase("train", 6, 0.05, warmup=300, optimizer="sgd"),
        Phase("prune", 26, 0.05, optimizer="sgd"),
        Phase("share", 3, 1e-3),
        Distortion(degrees=6, scale=0.06, shear=0.06, pixels=1.5),
        {"error_percent": 0.74, "reference_error_percent": 0.80, "file_bytes": 44_000, "ratio": 39},
    ),
}


def run(name: str, seed: int, data: Path | None, out: Path) -> Path:
    """The whole job; writes `<name>.dcz` and `<name>.json` (`<name>-seed-<seed>` for other seeds than 0) and returns
    the file.
    """
    network, started_in = NETWORKS[name], environment()
    stem = name if seed == 0 else f"{name}-seed-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{stem}.dcz"
    training, validation = load_training(data)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network.model()
    stages: dict[str, dict[str, float]] = {}
    start = time.perf_counter()

    def finished(stage: str) -> None:
        nonlocal start
        error = error_percent(model, validation)
        stages[stage] = {"validation_error_percent": error, "seconds": time.perf_counter() - start}
        start = time.perf_counter()

    recipe = network.recipe(name)
    train(model, network.dense, training, validation, generator, network.distortion)
    finished("train")
    dense = copy.deepcopy(model)
    pruner = dc.prune(model, recipe)
    train(model, network.prune, training, validation, generator, network.distortion, pruner.step)
    assert pruner.done, "the schedule is longer than the training"
    finished("prune")
    dc.share(model, recipe)
    train(model, network.tune, training, validation, generator, network.distortion)
    finished("share")
    dc.save(model, path, recipe)
    finished("encode")

    # From here on the file alone counts. The test images are read for the first time.
    test = load_test(data)
    decoded = dc.load(path, into=network.model())
    result = {
        "network": name,
        "seed": seed,
        "test_error_percent": error_percent(decoded, test),
        "dense_test_error_percent": error_percent(dense, test),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "paper": network.paper,
        "stages": stages,
        "training": {"batch": BATCH, "distortion": asdict(network.distortion)}
        | {phase.name: asdict(phase) for phase in (network.dense, network.prune, network.tune)},
        "recipe": yaml.safe_load(recipe.to_yaml()),
        "report": dc.Report.of(path).to_dict(),
        "command": f"python -m reproduce {name} --seed {seed}",
        "environment": started_in,
    }
    path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    return path


def evaluate(name: str, path: Path, images: Images) -> float:
    """The test error, in percent, of a file alone, decoded into a new model."""
    return error_percent(dc.load(path, into=NETWORKS[name].model()), images)


def environment() -> dict[str, Any]:
    """Commit, versions and machine, as every result names them; and what torch computes with."""
    named = common_environment(["torch"])
    # the widest instructions that torch found
    named["machine"]["cpu"] += f" ({torch.backends.cpu.get_cpu_capability()})"
    named["machine"]["threads"] = torch.get_num_threads()
    return named
