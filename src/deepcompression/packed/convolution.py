"""Settings of a convolution, and the pieces in which its weights are decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

Numbers = int | Sequence[int]

# Floats in a vector of the CPU. Where a group is cut, the rows of its pieces are a multiple of this.
LANES = 16


def each(what: str, value: Numbers, dimensions: int, least: int) -> tuple[int, ...]:
    """One number a dimension; a single one counts for all. Raises ValueError for another count or one below `least`."""
    numbers = (value,) if isinstance(value, int) else tuple(value)
    numbers *= dimensions if len(numbers) == 1 else 1
    if len(numbers) != dimensions or not all(isinstance(n, int | np.integer) and n >= least for n in numbers):
        raise ValueError(f"{what} is an integer from {least} on, or {dimensions} of them; found {value!r}")
    return tuple(int(number) for number in numbers)


class ConvolutionSettings(NamedTuple):
    """Stride, padding, dilation and groups of a convolution, with one number a dimension.

    padding  zeros on both sides, or "same" or "valid"
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int

    @classmethod
    def of(
        cls, dimensions: int, stride: Numbers = 1, padding: Numbers | str = 0, dilation: Numbers = 1, groups: int = 1
    ) -> ConvolutionSettings:
        """From the arguments of torch's functions, where one number counts for all dimensions."""
        return cls(
            each("stride", stride, dimensions, 1),
            padding if isinstance(padding, str) else each("padding", padding, dimensions, 0),
            each("dilation", dilation, dimensions, 1),
            groups,
        )

    def with_height(self) -> ConvolutionSettings:
        """Settings of one dimension -> settings of two, for inputs and a kernel of height one."""
        padding = self.padding if isinstance(self.padding, str) else (0, *self.padding)
        return ConvolutionSettings((1, *self.stride), padding, (1, *self.dilation), self.groups)

    def edges(self, kernel: tuple[int, ...], dimension: int) -> tuple[int, int]:
        """The zeros before and after the inputs."""
        if isinstance(self.padding, tuple):
            return self.padding[dimension], self.padding[dimension]
        whole = self.dilation[dimension] * (kernel[dimension] - 1) if self.padding == "same" else 0
        return whole // 2, whole - whole // 2

    def outputs(self, kernel: tuple[int, ...], inputs: tuple[int, ...]) -> tuple[int, ...]:
        """The sizes of the output, below 1 where the kernel does not fit."""
        return tuple(
            (size + sum(self.edges(kernel, at)) - self.dilation[at] * (kernel[at] - 1) - 1) // self.stride[at] + 1
            for at, size in enumerate(inputs)
        )


class Piece(NamedTuple):
    """Rows that are decoded together: whole groups, or a part of one group."""

    first: int
    rows: int
    group: int
    groups: int


def pieces(shape: tuple[int, ...], groups: int, elements: int) -> Iterator[Piece]:
    """Weights in pieces of about so many elements: several groups each, or one group in about equal pieces."""
    most = max(1, elements // max(1, math.prod(shape[1:])))
    rows = shape[0] // groups
    if rows <= most:
        step = most // max(1, rows)
        for group in range(0, groups, step):
            count = min(step, groups - group)
            yield Piece(group * rows, count * rows, group, count)
        return
    even = math.ceil(rows / math.ceil(rows / most))
    step = min(most, math.ceil(even / LANES) * LANES)
    for group in range(groups):
        for first in range(0, rows, step):
            yield Piece(group * rows + first, min(step, rows - first), group, 1)
