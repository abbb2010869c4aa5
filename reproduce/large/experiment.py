"""A large network from pictures to a `.dcz` file: trained or given, pruned in turn, shared, encoded, and measured from
the file alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from accelerate.utils import broadcast_object_list
from safetensors.torch import save_file

import deepcompression as dc
from reproduce.experiment import HERE, environment
from reproduce.large.networks import LARGE, Large
from reproduce.large.phases import Phase, Rates, check_recipe, schedule, without_compression
from reproduce.large.pictures import Pictures, check_pictures, open_pictures
from reproduce.large.samples import PictureSamples, held_back
from reproduce.large.training import IMAGENET, Data, Means, Trainer, accelerator_for, errors
from reproduce.large.weights import load_weights

PAPER = {
    "alexnet": {
        "data": "ImageNet",
        "error_percent": 42.78,
        "reference_error_percent": 42.78,
        "top5_error_percent": 19.70,
        "reference_top5_error_percent": 19.73,
        "file_bytes": 6_900_000,
        "ratio": 35,
    },
    "vgg-16": {
        "data": "ImageNet",
        "error_percent": 31.17,
        "reference_error_percent": 31.50,
        "top5_error_percent": 10.91,
        "reference_top5_error_percent": 11.32,
        "file_bytes": 11_300_000,
        "ratio": 49,
    },
}
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What a user chooses, as `python -m reproduce alexnet --help` explains."""

    name: str
    data: Path
    out: Path
    weights: Path | None
    recipe: Path | None
    rates: Rates
    batch: int
    seed: int
    classes: int
    width: float
    size: int | None
    precision: str
    workers: int
    save_minutes: float
    longer: bool

    def model(self) -> Large:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return LARGE[self.name](self.classes, self.width, self.size)

    @property
    def stem(self) -> str:
        return self.name if self.seed == 0 else f"{self.name}-seed-{self.seed}"


def run(options: Options) -> Path | None:
    """The whole job; writes `<name>.dcz`, `<name>.json` and `<name>-dense.safetensors` and returns the first, to the main
    process alone.

    Called again after it was killed, it goes on from `<name>.checkpoint`, and ends with the same file. Raises
    FileNotFoundError and ValueError, on every process, for data, weights, recipes and checkpoints that will not do.
    """
    started_in = environment()
    means = Means(
        accelerator_for(options.precision), options.batch, options.seed, options.workers, options.save_minutes
    )
    recipe = dc.Recipe.load(options.recipe or HERE / "recipes" / f"{options.name}.yaml")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.stem}.dcz"
    training, test = open_pictures(options.data)
    if len(training.classes) > options.classes:
        raise ValueError(
            f"{options.data} has {len(training.classes)} classes, the network {options.classes} outputs; "
            f"give --classes {len(training.classes)}"
        )
    model = options.model()
    check_recipe(recipe, model)
    phases = schedule(recipe, model, options.rates)
    if options.weights is not None:
        load_weights(model, options.weights)
    _together(means, lambda: check_pictures([training, test]))
    source = PictureSamples(training, model.size)
    chosen, validation = held_back(len(training.labels))
    data = Data(source, chosen, validation)
    settings = _settings(options, training, means)
    dense_path = options.out / f"{options.stem}-dense.safetensors"

    def keep_dense(phase: Phase) -> None:
        first = next(each for each in phases if each.prunes or each.shares)
        if phase == first and means.accelerator.is_main_process:
            tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
            partial = dense_path.with_suffix(".partial")
            save_file(tensors, partial)
            partial.replace(dense_path)

    job = Trainer(model, recipe, phases, data, means, settings, path.with_suffix(".checkpoint"), keep_dense)
    job.run()
    _together(means, lambda: dc.save(model, path, recipe, profile="small"))

    dense = options.model()
    load_weights(dense, dense_path)
    longer_stages = []
    if options.longer:
        longer_phases = without_compression(phases, options.rates)
        longer_model = options.model()
        load_weights(longer_model, dense_path)
        longer = Trainer(
            longer_model, recipe, longer_phases, data, means, settings, path.with_suffix(".longer.checkpoint")
        )
        longer.run()
        longer_stages = longer.progress.stages

    # From here on the file alone counts, and the test pictures are looked at for the first time.
    measured = {"": dc.load(path, into=options.model()), "dense_": dense}
    if options.longer:
        measured["longer_dense_"] = longer_model
    tested = PictureSamples(test, dense.size)
    found: dict[str, float] = {}
    for prefix, network in measured.items():
        network.to(means.accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        error = errors(network, tested, torch.arange(len(test.labels)).numpy(), IMAGENET, means)
        found |= {f"{prefix}test_error_percent": error.top1, f"{prefix}test_top5_error_percent": error.top5}
    result = {
        "network": options.name,
        "seed": options.seed,
        "data": {
            "name": options.data.resolve().name,
            "training": len(chosen),
            "validation": len(validation),
            "test": len(test.labels),
            "classes": len(training.classes),
        },
        **found,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "paper": PAPER[options.name],
        "stages": job.progress.stages + longer_stages,
        "training": settings | {"phases": [phase.described() for phase in phases], "rates": asdict(options.rates)},
        "recipe": yaml.safe_load(recipe.to_yaml()),
        "report": dc.Report.of(path).to_dict(),
        "command": " ".join(["python -m reproduce", *sys.argv[1:]]),
        "environment": started_in,
    }
    if means.accelerator.is_main_process:
        path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    means.accelerator.wait_for_everyone()
    return path if means.accelerator.is_main_process else None


def _settings(options: Options, pictures: Pictures, means: Means) -> dict[str, Any]:
    """What must be the same when a job goes on, beside its phases; not the number of processes."""
    labels = hashlib.sha256(pictures.labels.tobytes() + repr(pictures.classes).encode()).hexdigest()
    return {
        "network": options.name,
        "classes": options.classes,
        "width": options.width,
        "size": options.size,
        "seed": options.seed,
        "batch": options.batch,
        "precision": means.accelerator.mixed_precision,
        "weights": None if options.weights is None else options.weights.name,
        "data": f"{len(pictures.labels)} pictures, labels {labels[:16]}",
    }


def _together(means: Means, action: Callable[[], object]) -> None:
    """Done by the main process alone; what it raises is raised by all, so that none waits for ever."""
    problem: list[str | None] = [None]
    if means.accelerator.is_main_process:
        try:
            action()
        except (ValueError, OSError) as error:
            if means.accelerator.num_processes == 1:
                raise
            problem = [str(error)]
    if means.accelerator.num_processes > 1:
        broadcast_object_list(problem)
    if problem[0] is not None:
        raise ValueError(problem[0])
