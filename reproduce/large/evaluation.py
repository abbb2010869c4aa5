"""The parts that training and tests share: processes and precision, inputs made of samples, errors of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

from reproduce.large.networks import Large
from reproduce.large.samples import InOrder, Source, batches


class Normalisation(NamedTuple):
    """Mean and deviation of red, green and blue, from 0 to 1: a network's input is (pixel - mean) / deviation."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


NORMALISATIONS = {
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # of Caffe's networks: the mean is subtracted from bytes
    "caffe": Normalisation((122.67892 / 255, 116.66877 / 255, 104.00699 / 255), (1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True)
class Means:
    """The means of training on this machine. `batch` is that of all processes together."""

    accelerator: Accelerator
    batch: int
    seed: int
    workers: int
    save_minutes: float


@dataclass(frozen=True)
class Errors:
    """Percentages of samples whose label is not the largest logit's, or not among the five largest."""

    top1: float
    top5: float


def accelerator_for(precision: str) -> Accelerator:
    """For `float32`, `bf16`, `fp16`, or what suits the device (`auto`)."""
    if precision == "auto":
        precision = "bf16" if not torch.cuda.is_available() or torch.cuda.is_bf16_supported() else "fp16"
    # every rank makes the same masks, codebooks and codes: a step need not send them
    quiet = DistributedDataParallelKwargs(broadcast_buffers=False)
    mixed = "no" if precision == "float32" else precision
    return Accelerator(mixed_precision=mixed, kwargs_handlers=[quiet], cpu=not torch.cuda.is_available())


def inputs_of(samples: Tensor, device: torch.device, normalisation: Normalisation) -> Tensor:
    """Samples as a network takes them: uint8 images normalised, features as they are; float32."""
    if samples.ndim == 2:
        return samples.to(device, torch.float32)
    mean, deviation = (torch.tensor(values, device=device).view(3, 1, 1) for values in normalisation)
    images = samples.to(device).contiguous(memory_format=torch.channels_last)
    return images.float().div_(255).sub_(mean).div_(deviation)


def errors(model: Large, source: Source, indices: np.ndarray, normalisation: Normalisation, means: Means) -> Errors:
    """The errors of a model on some samples, by all processes together."""
    accelerator = means.accelerator
    ranks = accelerator.num_processes
    order = InOrder(indices, max(1, means.batch // ranks), accelerator.process_index, ranks)
    training = model.training
    model.eval()
    wrong = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    with torch.inference_mode():
        for samples, labels in batches(source, order, means.workers):
            with accelerator.autocast():
                logits = model(inputs_of(samples, accelerator.device, normalisation))
            best = logits.topk(min(5, logits.shape[1]), 1).indices == labels.to(accelerator.device)[:, None]
            wrong += torch.stack([(~best[:, 0]).sum(), (~best.any(1)).sum()])
    model.train(training)
    total = accelerator.reduce(wrong.float(), "sum")
    top1, top5 = (100 * total.double() / max(1, len(indices))).tolist()
    return Errors(top1, top5)
