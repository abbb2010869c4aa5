"""Our side of the layers: the nine weights, and tasks that compute from them packed. Quantizing x is part of a call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import deepcompression as dc
from benchmarks.layers.peers import Made
from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.pruning.criteria import CRITERIA
from deepcompression.sharing.codebook import share_values
from deepcompression.tensors.grid import LIMITS
from deepcompression.tensors.slices import Weights
from deepcompression.tensors.tensor import CompressedTensor

Floats = NDArray[np.float32]

# Rows, columns and density of the paper's layers; NeuralTalk's are those of its pruning companion.
LAYERS = {
    "AlexNet fc6": (4096, 9216, 0.09),
    "AlexNet fc7": (4096, 4096, 0.09),
    "AlexNet fc8": (1000, 4096, 0.25),
    "VGG-16 fc6": (4096, 25088, 0.04),
    "VGG-16 fc7": (4096, 4096, 0.04),
    "VGG-16 fc8": (1000, 4096, 0.23),
    "NeuralTalk We": (600, 4096, 0.10),
    "NeuralTalk Wd": (8791, 600, 0.11),
    "NeuralTalk LSTM": (2400, 1201, 0.10),
}
FLOAT32, GRID, INT8 = "ours float32", "ours float32, int8 grid", "ours int8"
# max|error| / max|y| against the weights as they are shared.
BOUNDS = {FLOAT32: 1e-6, GRID: 1e-6, INT8: 3e-2}
MODULE = "module"


@dataclass(frozen=True)
class Ours:
    """A task of ours: `kind` is a key of `BOUNDS`, `way` an instruction set or `MODULE`.

    The weights are packed in the form that is the fastest with that instruction set.
    """

    kind: str
    way: str
    tensor: CompressedTensor

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.way}"

    @property
    def activations(self) -> str:
        return "int8" if self.kind == INT8 else "float32"

    def force(self) -> None:
        """Before each turn."""
        _core.force_instruction_set("" if self.way == MODULE else self.way)

    def make(self, x: Floats, threads: int) -> Made:
        """As a peer's, with this one's own weights."""
        self.force()
        try:
            return self._module(x) if self.way == MODULE else self._packed(x, threads)
        finally:
            _core.force_instruction_set("")

    def _packed(self, x: Floats, threads: int) -> Made:
        activations, out = self.activations, np.empty((len(x), self.tensor.shape[0]), np.float32)
        packed = packing.pack(self.tensor, batch=len(x), activations=activations)
        multiply.matmul(packed, x, out, activations=activations, threads=threads)
        # as with the peers, addresses and checks are done once
        addresses = (packed.ctypes.data, packed.nbytes, x.ctypes.data, len(x), 0, out.ctypes.data)
        kept = (packed, x, out)

        def run() -> Floats:
            _core.multiply(*addresses, activations == "int8", threads)
            return kept[2]

        return run, packed.nbytes

    def module(self, batch: int) -> torch.nn.Module:
        """The layer as torch's users have it, without a bias."""
        rows, columns = self.tensor.shape
        # on no device: the module that runs never needs the dense weights
        linear = torch.nn.Linear(columns, rows, bias=False, device="meta")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "layer.dcz"
            dc.save_tensors(path, {"weight": self.tensor})
            return dc.run(linear, path, batch=batch, activations=self.activations)

    def _module(self, x: Floats) -> Made:
        small = self.module(len(x))
        given = torch.from_numpy(x)
        held = sum(each.nbytes for each in (*small.parameters(), *small.buffers()))
        return lambda: small(given), held


def weights(name: str, centroids: int = 16) -> CompressedTensor:
    """A layer's weights: normal, the largest kept (an exact number), shared; the same every time."""
    rows, columns, density = LAYERS[name]
    generator = np.random.Generator(np.random.PCG64(list(LAYERS).index(name)))
    dense = generator.standard_normal((rows, columns), np.float32)
    positions = np.flatnonzero(CRITERIA["magnitude"].masks([dense], density, 0)[0])
    codebook, codes = share_values(Weights.of(dense.reshape(-1)[positions]), centroids.bit_length() - 1)
    return CompressedTensor((rows, columns), positions, codebook, codes)


def on_grid(tensor: CompressedTensor, grid: str = "int8") -> CompressedTensor:
    """The same, each centroid moved to the nearest multiple of a step. The step has 8 significant bits, so that its
    multiples are exact.
    """
    step = np.abs(tensor.codebook).max() / LIMITS[grid]
    mantissa, exponent = np.frexp(step)
    step = np.ldexp(np.ceil(mantissa * 256) / 256, exponent)
    codebook = (np.rint(tensor.codebook / step) * step).astype(np.float32)
    return CompressedTensor(tensor.shape, tensor.positions, codebook, tensor.codes)


def tasks(tensor: CompressedTensor, module: bool = True) -> Iterator[Ours]:
    """All of ours for one layer."""
    grid = on_grid(tensor)
    for kind, each in ((FLOAT32, tensor), (GRID, grid), (INT8, tensor)):
        for way in (*_core.instruction_sets(), *((MODULE,) if module else ())):
            yield Ours(kind, way, each)


def values(result: Any) -> NDArray[np.float64]:
    """The result of a call, of whatever type, as an array."""
    found = result.detach() if isinstance(result, torch.Tensor) else result
    return np.asarray(found.numpy() if hasattr(found, "numpy") else found, np.float64)


def error(result: Any, reference: NDArray[np.float64]) -> float:
    """max|error| / max|y|; NaN counts as infinity."""
    found = np.abs(values(result).reshape(reference.shape) - reference).max() / np.abs(reference).max()
    return float(found) if np.isfinite(found) else float("inf")
