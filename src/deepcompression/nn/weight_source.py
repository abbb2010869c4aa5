"""Where the tensors of a runnable model come from: a file, or the model itself. Read one at a time, shared ones without
their dense form.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import torch
from torch import nn

from deepcompression.coding.coders import shared_form
from deepcompression.file.reader import DczFile
from deepcompression.recipe.targets import Target, targets_of
from deepcompression.tensors.from_torch import from_torch, to_torch
from deepcompression.tensors.tensor import CompressedTensor
from deepcompression.training import attach
from deepcompression.training.model_tensors import check_fit
from deepcompression.training.parametrizations import Codebook


class WeightSource(Protocol):
    """shared(target): None for a tensor that is not shared. dense(target): None for one that the model has already."""

    def shared(self, target: Target) -> CompressedTensor | None: ...

    def dense(self, target: Target) -> torch.Tensor | None: ...


class ModelSource:
    """A model that was shared, or whose weights have few values."""

    def shared(self, target: Target) -> CompressedTensor | None:
        codebook = attach.parametrization(target)
        if isinstance(codebook, Codebook):
            centroids = from_torch(target.name, attach.original(target))
            positions, codes = (part.cpu().numpy() for part in (codebook.positions, codebook.codes))
            tensor = CompressedTensor(target.shape, positions, centroids.elements, codes, centroids.dtype)
            return tensor.canonical()
        weight = attach.dense(target)
        if weight.is_meta:
            raise ValueError(f"{target.name} has no memory (it is on the device meta), and there is no file to read")
        return CompressedTensor.from_dense(from_torch(target.name, weight))

    def dense(self, target: Target) -> torch.Tensor | None:
        return None if attach.parametrization(target) is None else attach.dense(target)


class FileSource:
    """A file that fits a model. Raises ValueError, listing names, shapes and dtypes, for one that does not."""

    def __init__(self, file: DczFile, model: nn.Module) -> None:
        self._file = file
        check_fit(model, file.entries, str(file.path), written_to=False)
        for target in targets_of(model):
            self._check_ties(target)

    def _check_ties(self, target: Target) -> None:
        roots = {self._file.entries[name].tied_to or name: name for name in target.names}
        first, *others = roots
        for other in others:
            one, two = self._file.read_dense(first), self._file.read_dense(other)
            if one.elements.tobytes() != two.elements.tobytes():
                raise ValueError(
                    f"{roots[first]} and {roots[other]} are tied in the model, but differ in {self._file.path}: "
                    "untie them first"
                )

    def shared(self, target: Target) -> CompressedTensor | None:
        return shared_form(self._file.read(target.name, os.cpu_count() or 1))

    def dense(self, target: Target) -> torch.Tensor | None:
        return to_torch(self._file.read_dense(target.name, os.cpu_count() or 1))


def rows_apart(tensor: CompressedTensor, count: int) -> list[CompressedTensor]:
    """The rows of a tensor in so many parts, as torch.chunk would make them of rows that divide."""
    rows = tensor.shape[0] // count
    shape = (rows, *tensor.shape[1:])
    size = int(np.prod(shape))
    survives = np.unpackbits(tensor.bits, bitorder="little")
    parts, at = [], 0
    for number in range(count):
        bits = survives[number * size : (number + 1) * size]
        survivors = int(np.count_nonzero(bits))
        packed = np.packbits(bits, bitorder="little")
        parts.append(
            CompressedTensor.from_bits(
                shape, packed, tensor.codebook, tensor.codes[at : at + survivors].copy(), tensor.dtype
            )
        )
        at += survivors
    return parts
