"""The layers of device/nn.h in NumPy, as its comments say: slow and obvious."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Requantize(NamedTuple):
    multiplier: Array
    pre: int
    post: int
    low: int
    high: int

    @property
    def step(self) -> int:
        return int(len(self.multiplier) > 1)

    def __call__(self, sums: Array, rows: Array | int = 0) -> Array:
        """The clamped activations of int32 sums; `rows` has the sums' shape, or one that broadcasts to it."""
        sums = np.asarray(sums, np.int64)
        factors = self.multiplier.astype(np.int64)[np.asarray(rows) * self.step]
        scaled = (sums >> self.pre) * factors + (1 << (self.post - 1))
        assert np.abs(sums).max(initial=0) < 2**31, "int32 overflows"
        assert np.abs(scaled).max(initial=0) < 2**31, "int32 overflows"
        return np.clip(scaled >> self.post, self.low, self.high)


class Window(NamedTuple):
    height: int
    width: int
    out_height: int
    out_width: int
    group_channels: int
    group_filters: int
    kernel_height: int
    kernel_width: int
    stride_y: int = 1
    stride_x: int = 1
    pad_top: int = 0
    pad_left: int = 0
    dilation_y: int = 1
    dilation_x: int = 1


class Pool(NamedTuple):
    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int = 1
    stride_x: int = 1
    pad_top: int = 0
    pad_left: int = 0
    count_padding: int = 0


class Recurrence(NamedTuple):
    steps: int
    inputs: int
    hidden: int
    stride: int
    reverse: int


def convolution(window: Window, weights: Array, bias: Array, x: Array) -> Array:
    """The sums [filters, out_height, out_width], in int64 or float64."""
    wide = np.int64 if weights.dtype == np.int8 else np.float64
    filters = len(weights)
    kernels = weights.reshape(filters, window.group_channels, window.kernel_height, window.kernel_width).astype(wide)
    y = np.zeros((filters, window.out_height, window.out_width), wide)
    y += bias[:, None, None]
    for f, oy, ox in np.ndindex(*y.shape):
        group = f // window.group_filters * window.group_channels
        for ky, kx in np.ndindex(window.kernel_height, window.kernel_width):
            row = oy * window.stride_y - window.pad_top + ky * window.dilation_y
            column = ox * window.stride_x - window.pad_left + kx * window.dilation_x
            if 0 <= row < window.height and 0 <= column < window.width:
                inputs = x[group : group + window.group_channels, row, column].astype(wide)
                y[f, oy, ox] += inputs @ kernels[f, :, ky, kx]
    return y


def pool_windows(pool: Pool, x: Array) -> Iterator[tuple[tuple[int, ...], Array, int]]:
    """Each output's index, the elements in its window, and the count that an average divides by."""
    for c, oy, ox in np.ndindex(pool.channels, pool.out_height, pool.out_width):
        top, left = oy * pool.stride_y - pool.pad_top, ox * pool.stride_x - pool.pad_left
        rows = slice(max(top, 0), max(top + pool.kernel_height, 0))
        columns = slice(max(left, 0), max(left + pool.kernel_width, 0))
        elements = x[c, rows, columns]
        yield (c, oy, ox), elements, pool.kernel_height * pool.kernel_width if pool.count_padding else elements.size


def max_pool(pool: Pool, x: Array) -> Array:
    y = np.zeros((pool.channels, pool.out_height, pool.out_width), x.dtype)
    for index, elements, _ in pool_windows(pool, x):
        y[index] = elements.max()
    return y


def average_pool(pool: Pool, x: Array, to: Requantize | None = None) -> Array:
    y = np.zeros((pool.channels, pool.out_height, pool.out_width))
    for index, elements, count in pool_windows(pool, x):
        total = elements.astype(np.float64 if to is None else np.int64).sum()
        y[index] = total / count if to is None else to(total, count - 1)
    return y


def softmax_table(scale: float) -> Array:
    return np.round(65535 * np.exp(-scale * np.arange(255))).astype(np.uint16)


def softmax_i8(table: Array, x: Array) -> Array:
    e = table.astype(np.int64)[x.max(1, keepdims=True).astype(np.int64) - x]
    total = e.sum(1, keepdims=True)
    return (127 * e + total // 2) // total


SIGMOIDS = np.round(32768 / (1 + np.exp(-np.arange(129) / 16))).astype(np.int64)


def sigmoid_q15(value: Array) -> Array:
    size = np.minimum(np.abs(value), 16383)
    low, high = SIGMOIDS[size >> 7], SIGMOIDS[(size >> 7) + 1]
    s = low + (((high - low) * (size & 127) + 64) >> 7)
    return np.where(value < 0, 32768 - s, s)


def tanh_q15(value: Array) -> Array:
    return 2 * sigmoid_q15(2 * value) - 32768


def _order(recurrence: Recurrence) -> range:
    return range(recurrence.steps)[:: -1 if recurrence.reverse else 1]


class Gates(NamedTuple):
    """A matrix of a recurrent layer."""

    weights: Array
    bias: Array
    to: Requantize | None = None

    def __call__(self, x: Array) -> Array:
        if self.to is None:
            return self.weights.astype(np.float64) @ x + self.bias
        return self.to(self.weights.astype(np.int64) @ x.astype(np.int64) + self.bias, np.arange(len(self.weights)))


def gru_i8(recurrence: Recurrence, of_input: Gates, of_state: Gates, x: Array) -> Array:
    """The outputs of all steps [steps, hidden]."""
    g = np.zeros(recurrence.hidden, np.int64)
    h, y = g, np.zeros((recurrence.steps, recurrence.hidden), np.int64)
    for step in _order(recurrence):
        a, b = of_input(x[step]).reshape(3, -1), of_state(h).reshape(3, -1)
        r, z = sigmoid_q15(a[0] + b[0]), sigmoid_q15(a[1] + b[1])
        n = tanh_q15(a[2] + ((r * b[2] + 16384) >> 15))
        g = np.clip((z * g + (32768 - z) * n + 16384) >> 15, -32767, 32767)
        h = y[step] = np.clip((g + 128) >> 8, -127, 127)
    return y


def lstm_i8(recurrence: Recurrence, of_input: Gates, of_state: Gates, x: Array) -> Array:
    c = np.zeros(recurrence.hidden, np.int64)
    h, y = c, np.zeros((recurrence.steps, recurrence.hidden), np.int64)
    for step in _order(recurrence):
        i, f, g, o = (of_input(x[step]) + of_state(h)).reshape(4, -1)
        kept, new = (sigmoid_q15(f) * c + 16384) >> 15, (sigmoid_q15(i) * tanh_q15(g) + 2**18) >> 19
        c = np.clip(kept + new, -32767, 32767)
        h = y[step] = np.clip((sigmoid_q15(o) * tanh_q15(c) + 2**22) >> 23, -127, 127)
    return y


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def gru_f32(recurrence: Recurrence, of_input: Gates, of_state: Gates, x: Array) -> Array:
    h, y = np.zeros(recurrence.hidden), np.zeros((recurrence.steps, recurrence.hidden))
    for step in _order(recurrence):
        a, b = of_input(x[step]).reshape(3, -1), of_state(h).reshape(3, -1)
        r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        h = y[step] = (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
    return y


def lstm_f32(recurrence: Recurrence, of_input: Gates, of_state: Gates, x: Array) -> Array:
    c, h, y = np.zeros(recurrence.hidden), np.zeros(recurrence.hidden), np.zeros((recurrence.steps, recurrence.hidden))
    for step in _order(recurrence):
        i, f, g, o = (of_input(x[step]) + of_state(h)).reshape(4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = y[step] = sigmoid(o) * np.tanh(c)
    return y
