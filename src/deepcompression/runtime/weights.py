"""Weights in memory, and the open file that layers take them from."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

import numpy as np

from deepcompression.coding.coders import shared_form
from deepcompression.common.messages import listed
from deepcompression.file.reader import DczFile
from deepcompression.packed import multiply, packing
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Floats, Shape
from deepcompression.tensors.tensor import CompressedTensor


@dataclass(frozen=True)
class DenseWeight:
    """Weights that are not shared: `matrix` is float32 (rows, columns)."""

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
class SharedWeight:
    """Shared weights, packed: for products, or in the form tile for rows."""

    shape: Shape
    packed: packing.Packed
    activations: str
    threads: int

    @property
    def kernel(self) -> str:
        form = packing.header(self.packed).form
        return f"{form}, {'BLAS' if form == 'tile' else self.activations}"

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    @property
    def survivors(self) -> int:
        return packing.header(self.packed).survivors

    def rows(self, first: int, count: int, scratch: Floats) -> Floats:
        """Dense rows (count, columns), in `scratch`, which has so many elements at least."""
        columns = math.prod(self.shape[1:])
        out = scratch[: count * columns].reshape(count, columns)
        return multiply.rows(self.packed, first, count, out, self.threads)

    def product(self, x: Floats, bias: Floats | None) -> Floats:
        return multiply.matmul(self.packed, x, None, bias, self.activations, self.threads)


# A matrix: the first dimension of `shape` counts its rows, the others together its columns. `kernel` names the code
# that computes from it, `nbytes` is held in memory.
Weight = DenseWeight | SharedWeight


def matrix_weight(tensor: CompressedTensor, activations: str, batch: int, threads: int) -> SharedWeight:
    """Packed in the form that multiplies about `batch` vectors fastest."""
    return SharedWeight(tensor.shape, packing.pack(tensor, activations, batch), activations, threads)


def tile_weight(tensor: CompressedTensor, threads: int) -> SharedWeight:
    """Packed in the form that rows are decoded from."""
    return SharedWeight(tensor.shape, packing.pack(tensor, form="tile"), "float32", threads)


class FileTensors:
    """The tensors of an open file, by their names.

    taken  the names of the tensors that layers took

    Methods raise ValueError or TypeError for a tensor that is missing or does not fit, FormatError for a bad file.
    """

    def __init__(self, file: DczFile, activations: str, batch: int, threads: int) -> None:
        self.file, self.activations, self.batch, self.threads = file, activations, batch, threads
        self.taken: set[str] = set()
        # tied weights, and those of a layer that runs twice, are held once
        self._held: dict[str, Weight] = {}

    def weight(self, name: str, dimensions: int) -> Weight:
        """The matrix of a fully connected layer, or the weight of a convolution, of more than two dimensions."""
        self._check(name, dimensions)
        root = self.file.entries[name].tied_to or name
        if root not in self._held:
            self._held[root] = self._read(name)
        return self._held[root]

    def vector(self, name: str, length: int) -> Floats:
        """A tensor of one dimension, as float32."""
        self._check(name, 1)
        if (found := self.file.entries[name].shape) != (length,):
            raise ValueError(f"{name} has shape {list(found)}, expected [{length}]")
        return np.ascontiguousarray(self.file.read_dense(name).numpy(), np.float32)

    def vector_or_none(self, name: str, length: int) -> Floats | None:
        return self.vector(name, length) if name in self.file.entries else None

    def length(self, name: str) -> int:
        """The length of a tensor of one dimension."""
        self._check(name, 1)
        return self.file.entries[name].shape[0]

    def left(self) -> list[str]:
        """The names that no layer took."""
        return [name for name in self.file.entries if name not in self.taken]

    def _read(self, name: str) -> Weight:
        found = self.file.read(name, self.threads)
        tensor = shared_form(found)
        if tensor is None:
            matrix = found.numpy().reshape(found.shape[0], math.prod(found.shape[1:]))
            return DenseWeight(found.shape, np.ascontiguousarray(matrix, np.float32))
        if len(tensor.shape) == 2:
            return matrix_weight(tensor, self.activations, self.batch, self.threads)
        return tile_weight(tensor, self.threads)

    def _check(self, name: str, dimensions: int) -> None:
        names = self.file.entries
        if name not in names:
            near = listed(difflib.get_close_matches(name, names, 3, 0.5) or names) or "none: it is empty"
            raise ValueError(f"the file has no tensor {name}; near names are {near}")
        entry = names[name]
        if entry.dtype not in WEIGHT_DTYPES:
            raise TypeError(f"{name} is of dtype {entry.dtype}, expected {', '.join(WEIGHT_DTYPES)}")
        if len(entry.shape) != dimensions:
            raise ValueError(f"{name} has shape {list(entry.shape)}, expected {dimensions} dimensions")
        self.taken.add(name)
