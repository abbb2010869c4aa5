"""Graphs, operator by operator: the values so far, other shapes of them, parts, and several joined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from deepcompression.common.messages import listed
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.graph import Concat, Copy, Graph, Operator, Shape, View


class ShapeBuilder:
    """The graph so far. Methods add an operator that makes the value `output`; MissingError: no operator does.

    shapes  of the values so far
    """

    def __init__(self, name: str, shape: Shape) -> None:
        self.input = name
        self.shapes: dict[str, Shape] = {name: shape}
        self.operators: list[Operator] = []
        self.notes: list[str] = []
        # a view -> what it is a view of, and its offset there
        self._views: dict[str, tuple[str, int]] = {}
        # of the node at work
        self.name = ""

    def graph(self, output: str) -> Graph:
        return Graph(self.input, output, tuple(self.operators), self.shapes, tuple(self.notes))

    def size(self, value: str) -> int:
        return math.prod(self.shapes[value])

    def _add(self, operator: Operator, shape: Shape) -> None:
        self.operators.append(operator)
        self.shapes[operator.output] = shape

    def view(self, x: str, output: str, shape: Sequence[int]) -> None:
        """The same elements in another shape; one axis may be -1."""
        shape = tuple(int(size) for size in shape)
        if -1 in shape:
            rest = math.prod(size for size in shape if size != -1)
            shape = tuple(self.size(x) // rest if size == -1 and rest else size for size in shape)
        if min(shape, default=1) < 1 or math.prod(shape) != self.size(x):
            raise MissingError(f"it makes {list(shape)} of {list(self.shapes[x])}")
        self._view(x, output, shape, 0)

    def _view(self, x: str, output: str, shape: Shape, offset: int) -> None:
        before, start = self._views.get(x, (x, 0))
        self._views[output] = before, start + offset
        self._add(View(self.name, (before,), output, start + offset, math.prod(shape)), shape)

    def _strided(self, x: str, output: str, shape: Shape, strides: Sequence[int], offset: int) -> None:
        """Element i, j, ... is that at offset + i * strides[0] + j * strides[1] + ...: a view if they lie together."""
        if min(shape, default=1) < 1:
            raise MissingError(f"it leaves no elements of {list(self.shapes[x])}")
        axes: list[tuple[int, int]] = []
        for size, stride in zip(shape, strides, strict=True):
            if axes and axes[-1][1] == size * stride:
                # two axes that are walked as one
                axes[-1] = axes[-1][0] * size, stride
            elif size > 1:
                axes.append((size, stride))
        if not axes or (len(axes) == 1 and axes[0][1] == 1):
            self._view(x, output, shape, offset)
        else:
            sizes, steps = zip(*axes, strict=True)
            self._add(Copy(self.name, (x,), output, offset, sizes, steps), shape)

    def transpose(self, x: str, output: str, order: Sequence[int]) -> None:
        shape, strides = self.shapes[x], strides_of(self.shapes[x])
        order = [axis % len(shape) for axis in order]
        self._strided(x, output, tuple(shape[axis] for axis in order), [strides[axis] for axis in order], 0)

    def parts(self, x: str, output: str, slices: Sequence[slice]) -> None:
        """The elements of a slice of each axis."""
        shape, strides = self.shapes[x], strides_of(self.shapes[x])
        ranges = [range(*each.indices(size)) for each, size in zip(slices, shape, strict=True)]
        offset = sum(each.start * stride for each, stride in zip(ranges, strides, strict=True) if each)
        steps = [each.step * stride for each, stride in zip(ranges, strides, strict=True)]
        self._strided(x, output, tuple(map(len, ranges)), steps, offset)

    def part(self, x: str, output: str, axis: int, start: int, stop: int, keep: bool = True) -> None:
        """Elements start to stop - 1 along an axis; without `keep` that goes away."""
        slices = [slice(None)] * len(self.shapes[x])
        slices[axis] = slice(start, stop)
        self.parts(x, output, slices)
        if not keep:
            axis %= len(slices)
            self.shapes[output] = self.shapes[output][:axis] + self.shapes[output][axis + 1 :]

    def concat(self, values: Sequence[str], output: str, axis: int) -> None:
        shapes = [self.shapes[value] for value in values]
        axis %= len(shapes[0])
        if len({(*each[:axis], *each[axis + 1 :]) for each in shapes}) > 1:
            raise MissingError(f"it joins {listed(map(list, shapes))} along axis {axis}")
        shape = (*shapes[0][:axis], sum(each[axis] for each in shapes), *shapes[0][axis + 1 :])
        sizes = tuple(math.prod(each[axis:]) for each in shapes)
        self._add(Concat(self.name, tuple(values), output, math.prod(shape[:axis]), sizes), shape)


def strides_of(shape: Shape) -> list[int]:
    """The distance between neighbours along each axis."""
    return [int(each) for each in np.cumprod([1, *shape[:0:-1]])[::-1]] if shape else []
