"""A sequence of layers: loaded from a file, checked, run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from deepcompression.common.binary import LIMIT_BYTES, FormatError
from deepcompression.common.messages import aligned, listed, show
from deepcompression.common.options import checked_count, checked_flag
from deepcompression.file.reader import DczFile
from deepcompression.packed import packing
from deepcompression.runtime.layers import Layer, Step
from deepcompression.runtime.weights import FileTensors
from deepcompression.tensors.dtypes import Floats, Shape


class LayerFacts(NamedTuple):
    """One layer of a `Sequence`.

    shape        of its weight; None for a layer without one
    kernel       names the code that computes it
    held_bytes   held in memory
    dense_bytes  size of its weight, dense in float32
    """

    layer: str
    shape: Shape | None
    survivors: int
    kernel: str
    held_bytes: int
    dense_bytes: int


class Sequence:
    """Layers that run one after another, on float32 arrays whose first dimension counts the images or vectors.

    Threads may share one, because calls do not change it.
    """

    def __init__(self, names: list[str], steps: list[Step]) -> None:
        self._names, self._steps = names, steps

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        layers: Iterable[Layer],
        *,
        activations: str = "float32",
        batch: int = 1,
        threads: int | None = None,
        input_shape: Shape | None = None,
        strict: bool = True,
        limit_bytes: int = LIMIT_BYTES,
    ) -> Sequence:
        """Layers with the weights of a `.dcz` file. No shared weight becomes dense.

        activations  "float32", or "int8", to which fully connected layers then round their inputs
        batch        usual number of vectors in a call; the form is chosen for it, and other numbers work too
        threads      for products with compressed weights, by default one a CPU; results do not depend on it.
                     Convolutions use NumPy's BLAS, whose threads OMP_NUM_THREADS sets
        input_shape  of one input, without the count: the layers are checked against it
        strict       refuse a file with tensors that no layer takes

        Raises FormatError for a bad file. Raises ValueError or TypeError, naming the layer, for tensors that are
        missing or do not fit.
        """
        packing.check_activations(activations)
        threads = (os.cpu_count() or 1) if threads is None else threads
        batch, threads = checked_count("batch", "vectors", batch), checked_count("threads", "threads", threads)
        strict = checked_flag("strict", strict)
        names: list[str] = []
        steps: list[Step] = []
        with DczFile(path, limit_bytes) as file:
            tensors = FileTensors(file, activations, batch, threads)
            for number, layer in enumerate(layers, 1):
                if not isinstance(layer, Layer):
                    raise TypeError(f"layer {number} is no layer of deepcompression.runtime; found {layer!r}")
                names.append(str(layer))
                try:
                    steps.append(layer.bind(tensors))
                except FormatError:
                    raise
                except (ValueError, TypeError) as error:
                    raise type(error)(f"{file.path}: layer {number} ({layer}): {error}") from None
            if strict and (left := tensors.left()):
                raise ValueError(f"{file.path}: no layer takes {listed(left)}; with strict=False they are left out")
        net = cls(names, steps)
        if input_shape is not None:
            net.shape((1, *input_shape))
        return net

    def shape(self, given: Shape) -> Shape:
        """The shape of the output for an input of a shape; computes nothing.

        Raises ValueError, naming the layer, for a shape that does not fit.
        """
        given = tuple(given)
        if not given:
            raise ValueError("an input has at least one dimension, the count; found a scalar")
        for number, (name, step) in enumerate(zip(self._names, self._steps, strict=True), 1):
            try:
                given = step.shape(given)
            except ValueError as error:
                raise ValueError(f"layer {number} ({name}): {error}") from None
        return given

    def __call__(self, x: Floats) -> Floats:
        """Runs all layers. `x` is not changed. Infinities and NaNs spread as in torch.

        Raises TypeError for a dtype other than float32, and ValueError for a shape that does not fit, both before
        anything is computed.
        """
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            found = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"an input is a float32 NumPy array; found {found}; numpy.asarray(x, 'float32') makes one")
        self.shape(x.shape)
        with np.errstate(all="ignore"):
            for step in self._steps:
                x = step(x)
        return x

    @property
    def held_bytes(self) -> int:
        """Memory of all weights and biases; tied weights count once."""
        weights = {id(step.weight): step.weight.nbytes for step in self._steps if step.weight is not None}
        others = sum(step.nbytes - (step.weight.nbytes if step.weight else 0) for step in self._steps)
        return sum(weights.values()) + others

    def facts(self) -> list[LayerFacts]:
        """The facts of each layer."""
        found = []
        for name, step in zip(self._names, self._steps, strict=True):
            weight = step.weight
            shape, survivors = (None, 0) if weight is None else (weight.shape, weight.survivors)
            dense_bytes = 0 if shape is None else 4 * math.prod(shape)
            found.append(LayerFacts(name, shape, survivors, step.kernel, step.nbytes, dense_bytes))
        return found

    def explain(self) -> None:
        """Prints `describe()`."""
        show(self.describe())

    def describe(self) -> str:
        """A table of the layers: shape of the weight, kernel, bytes held, bytes of the dense weight."""
        rows = [("layer", "shape", "kernel", "bytes held", "bytes dense")]
        for fact in self.facts():
            shape = "" if fact.shape is None else "x".join(map(str, fact.shape))
            numbers = (f"{fact.held_bytes:,}", f"{fact.dense_bytes:,}") if fact.held_bytes else ("", "")
            rows.append((fact.layer, shape, fact.kernel, *numbers))
        return aligned(rows)

    def __repr__(self) -> str:
        return f"Sequence({', '.join(self._names)}; {self.held_bytes:,} bytes held)"
