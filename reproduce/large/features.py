"""Features: the outputs of frozen convolutions, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reproduce.large.evaluation import Means, Normalisation, inputs_of
from reproduce.large.networks import Large
from reproduce.large.samples import InOrder, Source, batches

# pictures between two marks of progress
_BLOCK = 1024


class FeatureSamples(Dataset[tuple[Tensor, int]]):
    """Rows of features: float16 (inputs of fc6,)."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray) -> None:
        self.rows, self.labels = rows, labels

    def __getitem__(self, key: Any) -> tuple[Tensor, int]:
        return torch.from_numpy(np.array(self.rows[key.index])), int(self.labels[key.index])


def features(
    model: Large, source: Source, indices: np.ndarray, normalisation: Normalisation, means: Means, path: Path
) -> FeatureSamples:
    """The features of some samples, in their order, from the file `path`. All processes together compute those that it
    lacks, and resume an interrupted computation.

    Raises ValueError for a file of other pictures or convolutions, and for features beyond float16.
    """
    accelerator = means.accelerator
    model.to(accelerator.device, memory_format=torch.channels_last)
    model.eval()
    labels = np.asarray(source.labels)[indices]
    width = model.fc6.in_features
    made_of = _made_of(model, indices, labels, normalisation, accelerator.mixed_precision)
    mark = path.with_suffix(".json")
    found = json.loads(mark.read_text()) if mark.exists() and path.exists() else {"made_of": made_of, "done": 0}
    if found["made_of"] != made_of:
        raise ValueError(f"{path} holds features of other pictures or convolutions; delete it, or give another --out")
    done, count = found["done"], len(indices)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and not done:
        np.lib.format.open_memmap(path, "w+", np.float16, (count, width)).flush()
    accelerator.wait_for_everyone()
    rows = np.load(path, mmap_mode="r+")
    for first in range(done, count, _BLOCK):
        block = np.arange(first, min(count, first + _BLOCK))
        own = block[accelerator.process_index :: accelerator.num_processes]
        order = InOrder(indices[own], 32, 0, 1)
        at = 0
        with torch.inference_mode():
            for samples, _ in batches(source, order, means.workers):
                with accelerator.autocast():
                    computed = model.features(inputs_of(samples, accelerator.device, normalisation)).half().cpu()
                if not computed.isfinite().all():
                    raise ValueError(
                        f"features beyond float16 among the pictures {own[at]} to {own[at] + len(computed)}"
                    )
                rows[own[at : at + len(computed)]] = computed.numpy()
                at += len(computed)
        rows.flush()
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            partial = mark.with_suffix(".partial")
            partial.write_text(json.dumps({"made_of": made_of, "done": int(block[-1]) + 1}))
            partial.replace(mark)
        accelerator.print(f"features: {block[-1] + 1} of {count} pictures", flush=True)
    return FeatureSamples(np.load(path, mmap_mode="r"), labels)


def _made_of(
    model: Large, indices: np.ndarray, labels: np.ndarray, normalisation: Normalisation, precision: str
) -> str:
    digest = hashlib.sha256(repr((indices.tolist(), labels.tolist(), normalisation, precision, model.size)).encode())
    for name, module in model.named_children():
        if name.startswith("conv"):
            for parameter in (module.weight, module.bias):
                digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
