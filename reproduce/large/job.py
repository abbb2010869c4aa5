"""A job that makes the file of a large network: its options, data, settings, files and test."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import torch
import yaml
from accelerate.utils import broadcast_object_list
from safetensors.torch import save_file

import deepcompression as dc
from reproduce.experiment import HERE, environment
from reproduce.large.evaluation import NORMALISATIONS, Errors, Means, accelerator_for, errors
from reproduce.large.networks import LARGE, Large
from reproduce.large.phases import Phase, Rates, check_recipe, schedule, without_compression
from reproduce.large.pictures import Pictures, check_pictures, open_pictures
from reproduce.large.samples import PictureSamples, held_back
from reproduce.large.training import Data, Trainer
from reproduce.large.weights import load_weights

# figures of the paper's table 1
PAPER = {
    "alexnet": {
        "data": "imagenet",
        "error_percent": 42.78,
        "reference_error_percent": 42.78,
        "top5_error_percent": 19.70,
        "reference_top5_error_percent": 19.73,
        "file_bytes": 6_900_000,
        "ratio": 35,
    },
    "vgg-16": {
        "data": "imagenet",
        "error_percent": 31.17,
        "reference_error_percent": 31.50,
        "top5_error_percent": 10.91,
        "reference_top5_error_percent": 11.32,
        "file_bytes": 11_300_000,
        "ratio": 49,
    },
}


@dataclass(frozen=True)
class Options:
    """The user's choices, as `python -m reproduce alexnet --help` explains."""

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
    images: int | None
    normalisation: str
    precision: str
    workers: int
    save_minutes: float
    longer: bool

    def model(self) -> Large:
        """A new network, with the same weights at every call."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return LARGE[self.name](self.classes, self.width, self.size)


class Job:
    """Data and settings, checked before any training; files; the test. After its `with`, other jobs may work in the
    folder, and the processes have left their group.
    """

    def __init__(self, options: Options, frozen: tuple[str, ...] = ()) -> None:
        self.options, self._started_in = options, environment()
        if options.normalisation not in NORMALISATIONS:
            raise ValueError(f"unknown normalisation {options.normalisation}; known are {', '.join(NORMALISATIONS)}")
        accelerator = accelerator_for(options.precision)
        self.means = Means(accelerator, options.batch, options.seed, options.workers, options.save_minutes)
        self.recipe = dc.Recipe.load(options.recipe or HERE / "recipes" / f"{options.name}.yaml")
        options.out.mkdir(parents=True, exist_ok=True)
        self.stem = options.name if options.seed == 0 else f"{options.name}-seed-{options.seed}"
        self.training, self.test = open_pictures(options.data)
        if len(self.training.classes) > options.classes:
            raise ValueError(
                f"{options.data} has {len(self.training.classes)} classes, the network {options.classes} outputs; "
                f"give --classes {len(self.training.classes)}"
            )
        model = options.model()
        check_recipe(self.recipe, model)
        self.phases = schedule(self.recipe, model, options.rates, frozen)
        self.size = model.size
        self.chosen, self.validation = held_back(len(self.training.labels))
        self.chosen = self.chosen[: options.images]
        if not any(options.out.glob(f"{self.stem}*.checkpoint")):
            self.together(lambda: check_pictures([self.training, self.test]))
        self._locked: IO[str] | None = None
        self.together(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._locked is not None:
            self._locked.close()
        if kind is None:
            # a thread of gloo that still holds a tensor while the interpreter ends would abort the process
            self.means.accelerator.free_memory()
            self.means.accelerator.end_training()

    def _lock(self) -> None:
        """Held as long as the job lives: processes may still work after their launcher was killed."""
        self._locked = self.path(".lock").open("w")
        try:
            fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another job is at work on {self.path('.dcz')}: end it first, or give another --out"
            ) from None
        except OSError:
            # some file systems of clusters know no locks
            pass

    def path(self, ending: str) -> Path:
        return self.options.out / f"{self.stem}{ending}"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a resumed job must have, beside its phases; not the number of processes."""
        options, labels = self.options, hashlib.sha256(self.training.labels.tobytes())
        labels.update(repr(self.training.classes).encode())
        return {
            "network": options.name,
            "classes": options.classes,
            "width": options.width,
            "size": self.size,
            "seed": options.seed,
            "batch": options.batch,
            "precision": self.means.accelerator.mixed_precision,
            "normalisation": options.normalisation,
            "weights": None if options.weights is None else options.weights.name,
            "data": f"{len(self.chosen)} of {len(self.training.labels)} pictures, labels {labels.hexdigest()[:16]}",
        }

    def pictures(self, pictures: Pictures) -> PictureSamples:
        return PictureSamples(pictures, self.size)

    def data(self) -> Data:
        normalisation = NORMALISATIONS[self.options.normalisation]
        return Data(self.pictures(self.training), self.chosen, self.validation, normalisation)

    def train(
        self,
        model: Large,
        phases: list[Phase],
        data: Data,
        checkpoint: str = ".checkpoint",
        recipe: dc.Recipe | None = None,
        **moments: Callable[..., object],
    ) -> list[dict[str, Any]]:
        """Takes a model through phases, by `recipe` or the job's; gives the finished stages.

        `checkpoint` is the ending of its path; `moments` are `start` and `before` of `Trainer`.
        """
        path = self.path(checkpoint)
        trainer = Trainer(model, recipe or self.recipe, phases, data, self.means, self.settings, path, **moments)
        trainer.run()
        return trainer.progress.stages

    def train_longer(self, phases: list[Phase], data: Data) -> tuple[Large, list[dict[str, Any]]]:
        """The dense network, trained for as long as these phases without compression, and the finished stages."""
        dense = self.dense()
        return dense, self.train(dense, without_compression(phases, self.options.rates), data, ".longer.checkpoint")

    def together(self, action: Callable[[], object]) -> None:
        """The main process alone acts. All raise its error, so none waits for ever."""
        problem: list[str | None] = [None]
        accelerator = self.means.accelerator
        if accelerator.is_main_process:
            try:
                action()
            except (ValueError, OSError) as error:
                if accelerator.num_processes == 1:
                    raise
                problem = [str(error)]
        if accelerator.num_processes > 1:
            broadcast_object_list(problem)
        if problem[0] is not None:
            raise ValueError(problem[0])

    def keep_dense(self, model: Large) -> None:
        """Writes a network that is not yet pruned."""
        if self.means.accelerator.is_main_process:
            tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
            partial = self.path("-dense.partial")
            save_file(tensors, partial)
            partial.replace(self.path("-dense.safetensors"))

    def dense(self) -> Large:
        model = self.options.model()
        load_weights(model, self.path("-dense.safetensors"))
        return model

    def save(self, model: Large) -> None:
        """Writes the file, with the images that it expects in its metadata."""
        metadata = {
            "network": self.options.name,
            "width": str(self.options.width),
            "size": str(self.size),
            "normalisation": self.options.normalisation,
        }
        self.together(lambda: dc.save(model, self.path(".dcz"), self.recipe, metadata, profile="small"))

    def tested(self, model: Large) -> Errors:
        model.to(self.means.accelerator.device, memory_format=torch.channels_last)
        indices = np.arange(len(self.test.labels))
        normalisation = NORMALISATIONS[self.options.normalisation]
        return errors(model, self.pictures(self.test), indices, normalisation, self.means)

    def finish(
        self, others: Mapping[str, Callable[[], Errors]], stages: Sequence[dict[str, Any]], more: dict[str, Any]
    ) -> Path | None:
        """Tests the file, then `others` by the prefix of their errors' names, and writes the result. The test pictures
        are read here for the first time. Gives the file's path to the main process.
        """
        path = self.path(".dcz")
        found: dict[str, float] = {}
        tests = {"": lambda: self.tested(dc.load(path, into=self.options.model())), **others}
        for prefix, test in tests.items():
            error = test()
            found |= {f"{prefix}test_error_percent": error.top1, f"{prefix}test_top5_error_percent": error.top5}
        if not self.means.accelerator.is_main_process:
            return None
        result = {
            "network": self.options.name,
            "seed": self.options.seed,
            "data": {
                "name": self.options.data.resolve().name,
                "training": len(self.chosen),
                "validation": len(self.validation),
                "test": len(self.test.labels),
                "classes": len(self.training.classes),
            },
            **found,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "paper": PAPER[self.options.name],
            "stages": list(stages),
            "training": self.settings | {"rates": asdict(self.options.rates)} | more,
            "recipe": yaml.safe_load(self.recipe.to_yaml()),
            "report": dc.Report.of(path).to_dict(),
            "command": " ".join(["python -m reproduce", *sys.argv[1:]]),
            "environment": self._started_in,
        }
        self.path(".json").write_text(json.dumps(result, indent=1) + "\n")
        return path
