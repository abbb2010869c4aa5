"""Layers over windows of images: convolutions and pools. Inputs are (count, channels, *extents)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from deepcompression.packed.convolution import Numbers, Piece, each, pieces
from deepcompression.runtime.layers import Layer, Plain, Step, Weighted
from deepcompression.runtime.weights import DenseWeight, FileTensors, Weight
from deepcompression.tensors.dtypes import Floats, Shape

# One block of columns (im2col) fits the last cache, the weights that are decoded at a time the cache before it.
COLUMN_BYTES = 8 << 20
TILE_BYTES = 1 << 20


class Windows(NamedTuple):
    """Windows on an image, with one number an axis."""

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape

    def spans(self) -> Shape:
        """The extents of a window, dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def counts(self, extents: Shape, ceil: bool = False) -> Shape:
        """The number of windows along each axis. Raises ValueError if there is none along one."""
        counts = []
        for extent, span, stride, padding in zip(extents, self.spans(), self.stride, self.padding, strict=True):
            room = extent + 2 * padding - span
            count = (room + (stride - 1 if ceil else 0)) // stride + 1
            # as in torch, no window begins behind the image
            if ceil and (count - 1) * stride >= extent + padding:
                count -= 1
            if (room < 0 and not ceil) or count < 1:
                raise ValueError(
                    f"windows of {list(self.spans())} do not fit into images of {list(extents)} "
                    f"with padding {list(self.padding)}"
                )
            counts.append(count)
        return tuple(counts)


def _check_images(given: Shape, dimensions: int, channels: int | None) -> None:
    if len(given) != dimensions + 2 or (channels is not None and given[1] != channels):
        axes = ", ".join(["count", "channels" if channels is None else str(channels), *"dhw"[3 - dimensions :]])
        raise ValueError(f"expected ({axes}), found an input of shape {list(given)}")


def _pad(x: Floats, padding: Shape, after: Shape, value: float) -> Floats:
    if not any(padding) and not any(after):
        return x
    # as numpy.pad, in a third of its time for small images
    extents = tuple(b + n + a for b, n, a in zip(padding, x.shape[2:], after, strict=True))
    padded = np.full((*x.shape[:2], *extents), value, np.float32)
    padded[:, :, *(slice(b, b + n) for b, n in zip(padding, x.shape[2:], strict=True))] = x
    return padded


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution, computed in float32 for every kind of activations.

    Takes NAME.weight (outputs, channels / groups, *kernel) and, if the file has it, NAME.bias (outputs,).
    """

    name: str
    stride: Numbers = 1
    padding: Numbers = 0
    dilation: Numbers = 1
    groups: int = 1
    dimensions: ClassVar[int] = 0

    def __post_init__(self) -> None:
        self.windows((1,) * self.dimensions)
        if self.groups < 1:
            raise ValueError(f"{self}: groups is an integer from 1 on; found {self.groups}")

    def bind(self, tensors: FileTensors) -> Step:
        weight = tensors.weight(f"{self.name}.weight", self.dimensions + 2)
        return BoundConv(weight, tensors.vector_or_none(f"{self.name}.bias", weight.shape[0]), self)

    def windows(self, kernel: Shape) -> Windows:
        """The windows for a kernel. Raises ValueError for settings that do not fit."""
        stride = each(f"{self}: stride", self.stride, self.dimensions, 1)
        padding = each(f"{self}: padding", self.padding, self.dimensions, 0)
        return Windows(kernel, stride, padding, each(f"{self}: dilation", self.dilation, self.dimensions, 1))


class Conv1d(Conv):
    dimensions = 1


class Conv2d(Conv):
    dimensions = 2


class Conv3d(Conv):
    dimensions = 3


class BoundConv(Weighted):
    """Products of a block of columns (im2col) with some rows of the weights, which are decoded just before."""

    def __init__(self, weight: Weight, bias: Floats | None, layer: Conv) -> None:
        super().__init__(weight, bias)
        self.groups = layer.groups
        self.windows = layer.windows(weight.shape[2:])
        self.channels = weight.shape[1] * layer.groups
        if weight.shape[0] % layer.groups:
            raise ValueError(
                f"{layer.name}.weight has {weight.shape[0]} outputs, which groups={layer.groups} does not divide"
            )

    def shape(self, given: Shape) -> Shape:
        _check_images(given, len(self.windows.kernel), self.channels)
        return (given[0], self.weight.shape[0], *self.windows.counts(given[2:]))

    def __call__(self, x: Floats) -> Floats:
        shape = self.shape(x.shape)
        y = np.empty(shape, np.float32)
        axes = tuple(range(2, x.ndim))
        steps = tuple(slice(None, None, n) for n in (*self.windows.stride, *self.windows.dilation))
        line_bytes = 4 * self.channels * math.prod(self.windows.kernel) * math.prod(shape[3:])
        lines = max(1, min(shape[2], COLUMN_BYTES // max(1, line_bytes)))
        images = max(1, COLUMN_BYTES // max(1, line_bytes * shape[2]))
        for first in range(0, shape[0], images):
            some = _pad(x[first : first + images], self.windows.padding, self.windows.padding, 0)
            view = sliding_window_view(some, self.windows.spans(), axes)[:, :, *steps]
            for line in range(0, shape[2], lines):
                self._block(view[:, :, line : line + lines], y[first : first + images, :, line : line + lines])
        return y

    def _block(self, view: np.ndarray[Any, np.dtype[np.float32]], y: Floats) -> None:
        """Windows (images, channels, *places, *kernel) -> outputs (images, outputs, *places), written to `y`."""
        dimensions = len(self.windows.kernel)
        of_groups = view.reshape(len(view), self.groups, self.weight.shape[1], *view.shape[2:])
        spots, taps = range(3, 3 + dimensions), range(3 + dimensions, 3 + 2 * dimensions)
        order = (1, 2, *taps, 0, *spots)
        columns_of_group = math.prod(self.weight.shape[1:])
        places = view.shape[0] * math.prod(view.shape[2 : 2 + dimensions])
        columns = np.ascontiguousarray(of_groups.transpose(order)).reshape(self.groups, columns_of_group, places)
        tiles = list(self._tiles())
        scratch = np.empty(max((tile.rows for tile in tiles), default=0) * columns_of_group, np.float32)
        for first, count, group, groups in tiles:
            tile = self.weight.rows(first, count, scratch).reshape(groups, count // groups, columns_of_group)
            values = np.matmul(tile, columns[group : group + groups]).reshape(count, places)
            if self.bias is not None:
                values += self.bias[first : first + count, None]
            out = values.reshape(count, view.shape[0], *view.shape[2 : 2 + dimensions])
            y[:, first : first + count] = out.swapaxes(0, 1)

    def _tiles(self) -> Iterator[Piece]:
        """Rows that are multiplied together: all of a dense weight, and as many of a shared one as fit the cache."""
        shape = self.weight.shape
        return pieces(shape, self.groups, math.prod(shape) if isinstance(self.weight, DenseWeight) else TILE_BYTES // 4)


@dataclass(frozen=True)
class _Pool(Plain):
    """A pool over windows, which lie side by side if there is no stride."""

    kernel_size: Numbers
    stride: Numbers | None = None
    padding: Numbers = 0
    ceil_mode: bool = False
    dimensions: ClassVar[int] = 2

    def __post_init__(self) -> None:
        windows = self._windows()
        if any(2 * p > k for p, k in zip(windows.padding, windows.kernel, strict=True)):
            raise ValueError(
                f"{self}: padding is at most half of the kernel; found {self.padding} and {self.kernel_size}"
            )

    def _windows(self) -> Windows:
        kernel = each(f"{self}: kernel_size", self.kernel_size, self.dimensions, 1)
        stride = kernel if self.stride is None else each(f"{self}: stride", self.stride, self.dimensions, 1)
        padding = each(f"{self}: padding", self.padding, self.dimensions, 0)
        return Windows(kernel, stride, padding, (1,) * self.dimensions)

    def shape(self, given: Shape) -> Shape:
        _check_images(given, self.dimensions, None)
        return (*given[:2], *self._windows().counts(given[2:], self.ceil_mode))

    def _fold(self, x: Floats, fold: np.ufunc, outside: float) -> Floats:
        """Combines the elements of each window, one place of all windows at a time, so that no window is copied."""
        windows, counts = self._windows(), self.shape(x.shape)[2:]
        ends = [(count - 1) * s + k for count, s, k in zip(counts, windows.stride, windows.kernel, strict=True)]
        # windows of ceil_mode reach further than the padding
        after = tuple(max(0, end - n - p) for end, n, p in zip(ends, x.shape[2:], windows.padding, strict=True))
        padded = _pad(x, windows.padding, after, outside)
        y: Floats | None = None
        for place in product(*map(range, windows.kernel)):
            steps = zip(place, counts, windows.stride, strict=True)
            part = padded[:, :, *(slice(at, at + (count - 1) * step + 1, step) for at, count, step in steps)]
            y = part.copy() if y is None else fold(y, part, out=y)
        assert y is not None
        return y


class MaxPool2d(_Pool):
    """The largest element of each window."""

    def __call__(self, x: Floats) -> Floats:
        return self._fold(x, np.maximum, -np.inf)


@dataclass(frozen=True)
class AvgPool2d(_Pool):
    """The mean of each window; the zeros of the padding count unless `count_include_pad` is False."""

    count_include_pad: bool = True

    def __call__(self, x: Floats) -> Floats:
        y = self._fold(x, np.add, 0)
        windows = self._windows()
        for axis in range(self.dimensions):
            extent, padding = x.shape[2 + axis], windows.padding[axis]
            begin = np.arange(y.shape[2 + axis]) * windows.stride[axis] - padding
            end = begin + windows.kernel[axis]
            if self.count_include_pad:
                counted = np.minimum(end, extent + padding) - begin
            else:
                counted = np.minimum(end, extent) - np.maximum(begin, 0)
            y /= counted.astype(np.float32).reshape(-1, *[1] * (self.dimensions - 1 - axis))
        return y


@dataclass(frozen=True)
class AdaptiveAvgPool2d(Plain):
    """The means of `output_size` nearly equal parts of the image along each axis."""

    output_size: Numbers

    def __post_init__(self) -> None:
        each(f"{self}: output_size", self.output_size, 2, 1)

    def shape(self, given: Shape) -> Shape:
        _check_images(given, 2, None)
        if not all(given[2:]):
            raise ValueError(f"expected images with elements, found an input of shape {list(given)}")
        return (*given[:2], *each("output_size", self.output_size, 2, 1))

    def __call__(self, x: Floats) -> Floats:
        y = np.empty(self.shape(x.shape), np.float32)
        for i, j in np.ndindex(*y.shape[2:]):
            parts = (
                slice(at * n // size, -(-(at + 1) * n // size))
                for at, n, size in zip((i, j), x.shape[2:], y.shape[2:], strict=True)
            )
            x[:, :, *parts].mean((2, 3), out=y[:, :, i, j])
        return y
