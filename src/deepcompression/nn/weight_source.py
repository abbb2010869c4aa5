"""Sources of a running model's tensors: a file, or the model itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import nn

from deepcompression.coding.coders import shared_form
from deepcompression.file.read_ahead import ReadAhead
from deepcompression.file.reader import DczFile
from deepcompression.recipe.targets import Target, targets_of
from deepcompression.tensors.from_torch import from_torch, to_torch
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor
from deepcompression.training import attach
from deepcompression.training.joined import Joined
from deepcompression.training.model_tensors import check_fit
from deepcompression.training.parametrizations import Codebook


class WeightSource(Protocol):
    """Tensors, read one at a time; shared ones without their dense form.

    targets  those of the model
    kept     tensors of the model that it does not have, by name
    """

    @property
    def targets(self) -> list[Target]: ...

    @property
    def kept(self) -> Mapping[str, torch.Tensor]: ...

    def shared(self, target: Target) -> CompressedTensor | None:
        """None for a tensor that is not shared."""

    def dense(self, target: Target) -> torch.Tensor | None:
        """None for a tensor that the model has already."""


class ModelSource:
    """A model that was shared, or whose weights have few distinct values."""

    def __init__(self, model: nn.Module) -> None:
        self.targets = targets_of(model)

    @property
    def kept(self) -> Mapping[str, torch.Tensor]:
        return {}

    def shared(self, target: Target) -> CompressedTensor | None:
        codebook = attach.parametrization(target)
        if isinstance(codebook, Codebook):
            centroids = from_torch(target.name, codebook.on_grid(attach.original(target)))
            positions, codes = (part.cpu().numpy() for part in (codebook.positions, codebook.codes))
            tensor = CompressedTensor(target.shape, positions, centroids.elements, codes, centroids.dtype)
            return tensor.canonical()
        return CompressedTensor.from_dense(from_torch(target.name, attach.dense(target)))

    def dense(self, target: Target) -> torch.Tensor | None:
        return None if attach.parametrization(target) is None else attach.dense(target)


class FileSource:
    """A file that fits a model. Raises ValueError, listing names, shapes and dtypes, for a file that does not.

    fit  the names of the model's tensors in the file
    """

    def __init__(self, file: DczFile, model: nn.Module, strict: bool = True) -> None:
        self._file = file
        self._joined = Joined(model, file.entries)
        # the tensor that `shared` read last, which `dense` need not read again
        self._last: tuple[str, Tensor] | None = None
        self.fit = check_fit(model, self._joined.entries, str(file.path), strict)
        self.targets = targets_of(model)
        for target in self.targets:
            self._check_ties(target)
        # vectors are read faster than another thread is asked for them
        matrices = [self._name(target) for target in self.targets if len(target.shape) > 1]
        names = [file.entries[name].tied_to or name for name in matrices if name in file.entries]
        self._ahead = ReadAhead(file, names, os.cpu_count() or 1)

    @property
    def kept(self) -> Mapping[str, torch.Tensor]:
        return self.fit.kept

    def _name(self, target: Target) -> str | None:
        """The target's first name in the file; None if it is not in it."""
        return next((self.fit.names[name] for name in target.names if name in self.fit.names), None)

    def _root(self, name: str) -> str:
        """The name of the tensor that a tied name stands for."""
        return self._joined.entries[name].tied_to or name

    def stored(self, target: Target) -> str | None:
        """The name in the file of a tensor that it holds as the model does; None if that is not in it, or is joined."""
        name = self._name(target)
        root = None if name is None else self._root(name)
        return root if root in self._file.entries else None

    def close(self) -> None:
        """Ends the reading in the background."""
        self._ahead.close()

    def _check_ties(self, target: Target) -> None:
        found = [(name, self.fit.names[name]) for name in target.names if name in self.fit.names]
        roots = {self._joined.entries[theirs].tied_to or theirs: name for name, theirs in reversed(found)}
        *others, first = roots or [""]
        for other in others:
            one, two = self._dense(first), self._dense(other)
            if one.elements.tobytes() != two.elements.tobytes():
                raise ValueError(
                    f"{roots[first]} and {roots[other]} are tied in the model, but differ in {self._file.path}: "
                    "untie them first"
                )

    def shared(self, target: Target) -> CompressedTensor | None:
        self._last = None
        if (name := self._name(target)) is None:
            return None
        tensor = self._joined.read(self._root(name), self._ahead.read)
        self._last = name, tensor
        return shared_form(tensor)

    def dense(self, target: Target) -> torch.Tensor | None:
        if (name := self._name(target)) is None:
            return None
        last, self._last = self._last, None
        if last is not None and last[0] == name:
            return to_torch(last[1].dense())
        return to_torch(self._dense(name))

    def _dense(self, name: str) -> DenseTensor:
        return self._joined.read(name, lambda name: self._file.read_dense(name, os.cpu_count() or 1))


def rows_apart(tensor: CompressedTensor, count: int) -> list[CompressedTensor]:
    """The rows of a tensor in `count` equal parts, which torch.chunk would make of them."""
    shape = (tensor.shape[0] // count, *tensor.shape[1:])
    survives = np.unpackbits(tensor.bits, count=tensor.size, bitorder="little").reshape(count, -1)
    codes = np.split(tensor.codes, np.cumsum(np.count_nonzero(survives, axis=1))[:-1])
    return [
        CompressedTensor.from_bits(shape, np.packbits(bits, bitorder="little"), tensor.codebook, own, tensor.dtype)
        for bits, own in zip(survives, codes, strict=True)
    ]


def turned(tensor: CompressedTensor) -> CompressedTensor:
    """The transpose of a matrix."""
    survives = np.unpackbits(tensor.bits, count=tensor.size, bitorder="little").astype(bool).reshape(tensor.shape)
    codes = np.zeros(tensor.shape, tensor.codes.dtype)
    codes[survives] = tensor.codes
    bits = np.packbits(survives.T, bitorder="little")
    return CompressedTensor.from_bits(tensor.shape[::-1], bits, tensor.codebook, codes.T[survives.T], tensor.dtype)
