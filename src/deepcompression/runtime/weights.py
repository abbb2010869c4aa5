"""Weights as the runtime holds them, and the open file that layers take them from."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deepcompression.coding.coders import shared_form
from deepcompression.file.reader import DczFile
from deepcompression.packed import multiply, packing
from deepcompression.tensors.dtypes import WEIGHT_DTYPES
from deepcompression.tensors.tensor import CompressedTensor

Floats = NDArray[np.float32]
Shape = tuple[int, ...]

# A message lists at most so many names.
_NAMES_SHOWN = 8


class Weight(Protocol):
    """A matrix: the first dimension of `shape` counts its rows, the others together its columns.

    kernel    what computes from it
    nbytes    held in memory
    survivors of its weights
    """

    @property
    def shape(self) -> Shape: ...
    @property
    def kernel(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def survivors(self) -> int: ...

    def rows(self, first: int, count: int, scratch: Floats) -> Floats:
        """Rows as float32 (count, columns), in `scratch` (at least so many elements) or not."""

    def product(self, x: Floats, bias: Floats | None) -> Floats:
        """x W^T + bias, for x (..., columns)."""


@dataclass(frozen=True)
class DenseWeight:
    """Weights that no codebook shares, float32 (rows, columns)."""

    shape: Shape
    matrix: Floats
    kernel: str = "dense, BLAS"

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes

    @property
    def survivors(self) -> int:
        return int(np.count_nonzero(self.matrix))

    def rows(self, first: int, count: int, scratch: Floats) -> Floats:
        return self.matrix[first : first + count]

    def product(self, x: Floats, bias: Floats | None) -> Floats:
        y: Floats = np.matmul(x, self.matrix.T)
        return y if bias is None else np.add(y, bias, out=y)


@dataclass(frozen=True)
class MatrixWeight:
    """Shared weights in a form that products are computed from."""

    shape: Shape
    packed: packing.Packed
    activations: str
    threads: int

    @property
    def kernel(self) -> str:
        return f"{packing.header(self.packed).form}, {self.activations}"

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    @property
    def survivors(self) -> int:
        return packing.header(self.packed).survivors

    def rows(self, first: int, count: int, scratch: Floats) -> Floats:
        raise TypeError("these weights are packed for products: convolutions take the form tile")

    def product(self, x: Floats, bias: Floats | None) -> Floats:
        return multiply.matmul(self.packed, x, None, bias, self.activations, self.threads)


@dataclass(frozen=True)
class TileWeight:
    """Shared weights whose rows are decoded a few at a time, into a buffer that fits a cache."""

    shape: Shape
    packed: packing.Packed
    threads: int
    kernel: str = "tile, BLAS"

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    @property
    def survivors(self) -> int:
        return packing.header(self.packed).survivors

    def rows(self, first: int, count: int, scratch: Floats) -> Floats:
        columns = math.prod(self.shape[1:])
        out = scratch[: count * columns].reshape(count, columns)
        return multiply.rows(self.packed, first, count, out, self.threads)

    def product(self, x: Floats, bias: Floats | None) -> Floats:
        raise TypeError("these weights are packed in the form tile, which does not multiply")


def matrix_weight(tensor: CompressedTensor, activations: str, batch: int, threads: int) -> Weight:
    """In the form that products with about `batch` vectors are fastest from."""
    return MatrixWeight(tensor.shape, packing.pack(tensor, activations, batch), activations, threads)


def tile_weight(tensor: CompressedTensor, threads: int) -> Weight:
    """In the form that rows are decoded from."""
    return TileWeight(tensor.shape, packing.pack(tensor, form="tile"), threads)


class FileTensors:
    """An open file that layers take their tensors from, each by its name, checked.

    taken  the names that were asked for

    Its methods raise ValueError or TypeError for a tensor that is missing or does not fit, FormatError for a bad file.
    """

    def __init__(self, file: DczFile, activations: str, batch: int, threads: int) -> None:
        self.file, self.activations, self.batch, self.threads = file, activations, batch, threads
        self.taken: set[str] = set()
        # by name and form, so that tied weights, and those of a layer that runs twice, are held once
        self._held: dict[tuple[str, str], Any] = {}

    def matrix(self, name: str) -> Weight:
        """A weight of two dimensions, to be multiplied by."""
        return self._weight(name, 2, "matrix")

    def filters(self, name: str, dimensions: int) -> Weight:
        """The weight of a convolution, (outputs, inputs of a group, *kernel)."""
        return self._weight(name, dimensions + 2, "filters")

    def vector(self, name: str, length: int) -> Floats:
        """A tensor of one dimension, as float32."""
        self._check(name, 1)
        if (found := self.file.entries[name].shape) != (length,):
            raise ValueError(f"{name} has shape {list(found)}, expected [{length}]")
        return np.ascontiguousarray(self.file.read_dense(name).numpy(), np.float32)

    def vector_or_none(self, name: str, length: int) -> Floats | None:
        return self.vector(name, length) if name in self.file.entries else None

    def length(self, name: str) -> int:
        """Of a tensor of one dimension."""
        self._check(name, 1)
        return self.file.entries[name].shape[0]

    def left(self) -> list[str]:
        """The names that no layer took."""
        return [name for name in self.file.entries if name not in self.taken]

    def _weight(self, name: str, dimensions: int, use: str) -> Weight:
        self._check(name, dimensions)
        key = (self.file.entries[name].tied_to or name, use)
        if key not in self._held:
            self._held[key] = self._read(name, use)
        weight: Weight = self._held[key]
        return weight

    def _read(self, name: str, use: str) -> Weight:
        found = self.file.read(name, self.threads)
        tensor = shared_form(found)
        if tensor is None:
            dense = found.numpy()
            shape: Shape = dense.shape
            matrix = dense.reshape(shape[0], math.prod(shape[1:]))
            return DenseWeight(shape, np.ascontiguousarray(matrix, np.float32))
        if use == "matrix":
            return matrix_weight(tensor, self.activations, self.batch, self.threads)
        return tile_weight(tensor, self.threads)

    def _check(self, name: str, dimensions: int) -> None:
        names = self.file.entries
        if name not in names:
            near = difflib.get_close_matches(name, names, 3, 0.5) or list(names)[:_NAMES_SHOWN]
            raise ValueError(f"the file has no tensor {name}; near names are {', '.join(near) or 'none: it is empty'}")
        entry = names[name]
        if entry.dtype not in WEIGHT_DTYPES:
            raise TypeError(f"{name} is of dtype {entry.dtype}, expected {', '.join(WEIGHT_DTYPES)}")
        if len(entry.shape) != dimensions:
            raise ValueError(f"{name} has shape {list(entry.shape)}, expected {dimensions} dimensions")
        self.taken.add(name)
