"""How `run` would hold the weights of a file, and the times that it expects of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import nn

from deepcompression import _core
from deepcompression.bench.results import Settings
from deepcompression.file.index import Entry
from deepcompression.nn.convolve import has_kernel
from deepcompression.nn.on_device import why_dense_on
from deepcompression.nn.what_pays import LEAST_WEIGHTS, Expected, Rule, convolution_times
from deepcompression.packed.costs import costs
from deepcompression.recipe.targets import Target
from deepcompression.tensors.dtypes import WEIGHT_DTYPES
from deepcompression.tensors.tensor import CompressedTensor

_CONVOLUTIONS: dict[int, type[nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


class Held(NamedTuple):
    """How `run` holds a weight: `compressed`, or `dense` with the reason. `times` are None where it expects none."""

    run: str
    times: Expected | None = None


class Expectations:
    """Of the weights of a file, of which all matrices are layers with the names of embedding tables or `Linear`."""

    def __init__(self, entries: Iterable[Entry], settings: Settings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._modules = {entry.name: _module(entry, settings) for entry in entries if _is_weight(entry)}
        targets = [
            Target((entry.name,), entry.shape, True, True, ((self._modules[entry.name], "weight"),))
            for entry in entries
            if entry.name in self._modules
        ]
        self._rule = Rule("time", settings.activations, settings.batch, targets)

    def of(self, name: str, tensor: CompressedTensor, held_bytes: int) -> Held:
        """For a shared weight that takes so many bytes packed."""
        shape, survivors = tensor.shape, len(tensor.codes)
        if tensor.size < LEAST_WEIGHTS:
            return Held(f"dense: fewer than {LEAST_WEIGHTS:,} weights")
        if held_bytes >= 4 * tensor.size:
            return Held("dense: it takes no fewer bytes packed")
        use: Literal["convolution", "linear", "embedding"] = "convolution" if len(shape) > 2 else "linear"
        module = self._modules[name]
        if isinstance(module, nn.Embedding):
            use = "embedding"
        if self._device.type != "cpu":
            slow = why_dense_on(self._device, use, survivors / tensor.size, self._settings.batch)
            return Held("compressed" if slow is None else f"dense: {slow}")
        found = self._rule.verdict(use, (module, "weight"), shape, survivors)
        times = found.expected[0] if found.expected else None
        side = [max(self._settings.size, extent) for extent in shape[2:]]
        if use == "convolution" and has_kernel(shape, (1, 1), 1, survivors / tensor.size, side):
            known = costs(_core.instruction_set(), torch.get_num_threads())
            times = convolution_times(known, shape, survivors, shape[1], side, self._settings.batch)
            if found.pays and times.packed > times.dense:
                return Held(f"compressed, and dense for images of extent {self._settings.size}", times)
        return Held("compressed" if found.pays else f"dense: {found.why}", times)


def _is_weight(entry: Entry) -> bool:
    few = 2 <= len(entry.shape) <= max(_CONVOLUTIONS) and math.prod(entry.shape) > 0
    return few and not entry.tied_to and entry.dtype in WEIGHT_DTYPES


def _module(entry: Entry, settings: Settings) -> nn.Module:
    rows, columns, *kernel = entry.shape
    with torch.device("meta"):
        if kernel:
            return _CONVOLUTIONS[len(entry.shape)](columns, rows, kernel)
        if settings.is_table(entry.name):
            return nn.Embedding(rows, columns)
        return nn.Linear(columns, rows)
