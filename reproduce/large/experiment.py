"""A large network from pictures to a `.dcz` file: trained or pretrained, pruned in turn, shared, encoded, and measured
from the file alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import deepcompression as dc
from reproduce.large.evaluation import NORMALISATIONS, Errors, Means, accelerator_for, errors
from reproduce.large.job import Job, Options
from reproduce.large.networks import LARGE, Large
from reproduce.large.phases import Phase
from reproduce.large.pictures import open_pictures
from reproduce.large.samples import PictureSamples
from reproduce.large.weights import load_weights


def run(options: Options) -> Path | None:
    """The whole job; writes `<name>.dcz`, `<name>.json` and `<name>-dense.safetensors`, and gives the path of the first
    to the main process.

    Called again after a kill, it resumes from `<name>.checkpoint` and ends with the same file. Raises
    FileNotFoundError and ValueError, on every process, for data, weights, recipes and checkpoints that do not fit.
    """
    with Job(options) as job:
        return _run(job)


def _run(job: Job) -> Path | None:
    options = job.options
    if options.weights is not None:
        # a file that does not fit is refused at once
        load_weights(options.model(), options.weights)

    def start(model: Large) -> None:
        if options.weights is not None:
            load_weights(model, options.weights)

    compressing = next(phase for phase in job.phases if phase.prunes or phase.shares)

    def keep_dense(phase: Phase) -> None:
        if phase == compressing:
            job.keep_dense(model)

    model, data = options.model(), job.data()
    stages = job.train(model, job.phases, data, start=start, before=keep_dense)
    job.save(model)
    others: dict[str, Callable[[], Errors]] = {"dense_": lambda: job.tested(job.dense())}
    if options.longer:
        dense, more = job.train_longer(job.phases, data)
        stages = stages + more
        others["longer_dense_"] = lambda: job.tested(dense)
    return job.finish(others, stages, {"phases": [phase.described() for phase in job.phases]})


def evaluate(file: Path, data: Path, limit: int | None, precision: str = "float32") -> tuple[Errors, int]:
    """The test error of a file that `run` wrote, decoded into a new network, and on how many pictures."""
    with dc.DczFile(file) as opened:
        said, classes = opened.metadata, opened.entries["fc8.bias"].shape[0]
    missing = {"network", "width", "size", "normalisation"} - said.keys()
    if missing:
        raise ValueError(f"{file} does not say its {', '.join(sorted(missing))}: it was not written by this job")
    model = LARGE[said["network"]](classes, float(said["width"]), int(said["size"]))
    dc.load(file, into=model)
    _, test = open_pictures(data)
    means = Means(accelerator_for(precision), 64, 0, 0, 0)
    indices = np.arange(len(test.labels))[:limit]
    model.to(means.accelerator.device, memory_format=torch.channels_last)
    samples = PictureSamples(test, model.size)
    return errors(model, samples, indices, NORMALISATIONS[said["normalisation"]], means), len(indices)
