"""Graphs, operator by operator: the layers and functions that both front ends call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from deepcompression.embedded.build_shapes import ShapeBuilder
from deepcompression.embedded.functions import FUNCTIONS
from deepcompression.embedded.geometry import MissingError, check_filled, spread, window_of
from deepcompression.embedded.graph import (
    Add,
    AveragePool,
    Clip,
    Conv,
    Floats,
    Linear,
    MaxPool,
    Multiply,
    Pairwise,
    Recurrent,
    Scale,
    Shape,
    Softmax,
    Unary,
    Weight,
    as_floats,
)
from deepcompression.tensors.dtypes import Array


class Named(NamedTuple):
    """A constant of the model and its name."""

    name: str
    values: Array

    @property
    def floats(self) -> Floats:
        return as_floats(self.values)


class Builder(ShapeBuilder):
    """The graph so far, with its layers and functions."""

    # layers

    def linear(self, x: str, output: str, weight: Named, bias: Floats | None) -> None:
        """`weight` (rows, columns), of vectors along the last axis."""
        rows, columns = weight.values.shape
        shape = self.shapes[x]
        if shape[-1:] != (columns,):
            raise MissingError(f"its input is {list(shape)}, its weight {[rows, columns]}")
        matrix = Weight(weight.name, weight.floats)
        vectors = math.prod(shape[:-1])
        self._add(Linear(self.name, (x,), output, matrix, *_affine(rows, bias), vectors), (*shape[:-1], rows))

    def conv(
        self,
        x: str,
        output: str,
        weight: Named,
        bias: Floats | None,
        strides: Sequence[int],
        pads: Sequence[int],
        dilations: Sequence[int],
        groups: int,
    ) -> None:
        """`weight` (rows, columns of a group, ...); `pads` at the start of each axis, then at the end of each."""
        kernel = weight.values.shape[2:]
        window, shape = window_of(self.shapes[x], weight.values.shape[0], kernel, strides, pads, dilations, False)
        if window.source[0] != weight.values.shape[1] * groups:
            raise MissingError(
                f"its input has {window.source[0]} channels, its weight {weight.values.shape[1]} x {groups}"
            )
        values = weight.floats.reshape(*weight.values.shape[:2], *window.kernel)
        rows = _affine(len(values), bias)
        self._add(Conv(self.name, (x,), output, Weight(weight.name, values), *rows, window, groups), shape)

    def max_pool(
        self,
        x: str,
        output: str,
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[int],
        dilations: Sequence[int],
        ceil: bool,
    ) -> None:
        if any(each != 1 for each in dilations):
            raise MissingError("it is dilated")
        window, shape = window_of(self.shapes[x], None, kernel, strides, pads, dilations, ceil)
        check_filled(window)
        self._add(MaxPool(self.name, (x,), output, window), shape)

    def average_pool(
        self,
        x: str,
        output: str,
        kernel: Sequence[int],
        strides: Sequence[int],
        pads: Sequence[int],
        ceil: bool,
        whole: bool,
    ) -> None:
        window, shape = window_of(self.shapes[x], None, kernel, strides, pads, [1] * len(kernel), ceil)
        if whole and ceil and any(pads):
            raise MissingError("it counts its padding, and rounds its size up")
        check_filled(window)
        self._add(AveragePool(self.name, (x,), output, window, whole and any(pads)), shape)

    def global_pool(self, x: str, output: str, kind: str) -> None:
        """Over all axes behind the channels."""
        axes = self.shapes[x][2:]
        if not 1 <= len(axes) <= 2:
            raise MissingError(f"its input is {list(self.shapes[x])}; expected one or two axes behind the channels")
        if kind == "max":
            self.max_pool(x, output, axes, axes, [0] * 2 * len(axes), [1] * len(axes), False)
        else:
            self.average_pool(x, output, axes, axes, [0] * 2 * len(axes), False, False)

    def mean(self, x: str, output: str, axes: Sequence[int], keep: bool) -> None:
        """Over some axes, which a pool does once they come last."""
        shape = self.shapes[x]
        axes = sorted(axis % len(shape) for axis in axes)
        others = [axis for axis in range(len(shape)) if axis not in axes]
        rows, count = (math.prod(shape[axis] for axis in each) for each in (others, axes))
        self.transpose(x, f"{output}.turned", [*others, *axes])
        self.view(f"{output}.turned", f"{output}.rows", (1, rows, count))
        self.average_pool(f"{output}.rows", f"{output}.means", [count], [count], [0, 0], False, False)
        kept = [1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes]
        self.view(f"{output}.means", output, kept)

    # element by element

    def function(self, x: str, output: str, function: str, *parameters: float) -> None:
        assert function in FUNCTIONS
        self._add(Unary(self.name, (x,), output, function, parameters, self.size(x)), self.shapes[x])

    def clip(self, x: str, output: str, low: float, high: float) -> None:
        self._add(Clip(self.name, (x,), output, self.size(x), low=low, high=high), self.shapes[x])

    def add(self, a: str, b: str, output: str) -> None:
        """As `multiply`."""
        self._pairwise(Add, a, b, output)

    def subtract(self, a: str, b: str, output: str) -> None:
        negative = f"{output}.negative"
        self.scale(b, negative, np.float32(-1), np.float32(0))
        self.add(a, negative, output)

    def multiply(self, a: str, b: str, output: str) -> None:
        """Of values of one shape, or one has a number for each channel of the other."""
        self._pairwise(Multiply, a, b, output)

    def _pairwise(self, kind: type[Pairwise], a: str, b: str, output: str) -> None:
        if self.size(a) < self.size(b):
            a, b = b, a
        large, each = spread(self.shapes[b], self.shapes[a])
        self._add(kind(self.name, (a, b), output, self.size(a), each), large)

    def scale(self, x: str, output: str, scale: ArrayLike, offset: ArrayLike) -> None:
        """scale * x + offset, both constants that fit the value's shape or its channels."""
        shape = self.shapes[x]
        whole = np.broadcast_shapes(np.shape(scale), np.shape(offset))
        if len(whole) > len(shape) or np.broadcast_shapes(whole, shape) != shape:
            raise MissingError(f"a constant of shape {list(whole)} makes its input {list(shape)} larger")
        own = (1,) * (len(shape) - len(whole)) + whole
        axes = [at for at, size in enumerate(own) if size > 1]
        first, last = (axes[0], axes[-1] + 1) if axes else (len(shape), len(shape))
        if own[first:last] != shape[first:last]:
            raise MissingError(f"a constant of shape {list(whole)} repeats within its input {list(shape)}")
        each, repeats = (math.prod(shape[last:]), math.prod(shape[:first])) if axes else (self.size(x), 1)

        def flat(values: ArrayLike) -> Floats:
            return np.tile(as_floats(np.broadcast_to(values, whole)).reshape(-1), repeats)

        self._add(Scale(self.name, (x,), output, flat(scale), flat(offset), each), shape)

    def batch_norm(
        self, x: str, output: str, weight: Array, bias: Array, mean: Array, variance: Array, epsilon: float
    ) -> None:
        scale = np.asarray(weight, np.float64) / np.sqrt(np.asarray(variance, np.float64) + epsilon)
        offset = np.asarray(bias, np.float64) - np.asarray(mean, np.float64) * scale
        behind = (1,) * (len(self.shapes[x]) - 2)
        self.scale(x, output, scale.reshape(-1, *behind), offset.reshape(-1, *behind))

    # over whole axes

    def softmax(self, x: str, output: str, axis: int) -> None:
        shape = self.shapes[x]
        axis %= len(shape)
        if math.prod(shape[axis + 1 :]) != 1:
            raise MissingError(f"it is over axis {axis} of {list(shape)}; expected the last of length > 1")
        self._add(Softmax(self.name, (x,), output, self.size(x) // shape[axis], shape[axis]), shape)

    def recurrent(
        self,
        x: str,
        output: str,
        kind: str,
        weights: tuple[Named, Named],
        bias: tuple[Floats, Floats],
        backward: bool = False,
    ) -> None:
        """Over a sequence of vectors along the last axis; the output is (steps, hidden)."""
        by_input, by_hidden = (Weight(each.name, each.floats) for each in weights)
        shape = self.shapes[x]
        steps = self.size(x) // shape[-1]
        if shape[-1] != by_input.columns or len(_long(shape[:-1])) > 1:
            raise MissingError(
                f"its input is {list(shape)}; expected one sequence of {by_input.columns} numbers a step"
            )
        shape = (steps, by_hidden.columns)
        self._add(Recurrent(self.name, (x,), output, kind, by_input, by_hidden, bias, steps, backward), shape)


def _affine(rows: int, bias: Floats | None) -> tuple[Floats, Floats]:
    """Bias and scale of a layer without a folded BatchNorm."""
    given = np.zeros(rows, np.float32) if bias is None else as_floats(bias).reshape(-1)
    return np.ascontiguousarray(np.broadcast_to(given, (rows,))), np.ones(rows, np.float32)


def _long(shape: Shape) -> list[int]:
    return [size for size in shape if size > 1]
