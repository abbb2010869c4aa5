"""The graph by NumPy in float32, for many inputs at once: what boards compute, up to the order of sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from deepcompression.embedded.functions import FUNCTIONS, function_of
from deepcompression.embedded.graph import (
    Add,
    AveragePool,
    Clip,
    Clipped,
    Concat,
    Conv,
    Copy,
    Floats,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Operator,
    Recurrent,
    Scale,
    Softmax,
    Unary,
    View,
    Window,
)

# (inputs, elements): the values of many inputs of the network
Values = NDArray[Any]


# whoever takes the values checks them
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def simulate_float(graph: Graph, inputs: Floats) -> dict[str, Floats]:
    """Every value of the graph for float32 inputs (count, ...), each as float32 (count, elements)."""
    values: dict[str, Floats] = {graph.input: inputs.reshape(len(inputs), -1)}
    for each in graph.operators:
        found = _RULES[type(each)](each, *(values[name] for name in each.inputs))
        if isinstance(each, Clipped):
            found = np.clip(found, np.float32(each.low), np.float32(each.high))
        values[each.output] = np.ascontiguousarray(found, np.float32).reshape(len(inputs), -1)
    return values


def windows(x: Values, window: Window, beyond: float) -> Values:
    """The elements under a kernel: (count, channels, target height, target width, kernel height, kernel width);
    `beyond` stands outside of the picture.
    """
    _, height, width = window.source
    reach = [(size - 1) * every + 1 for size, every in zip(window.kernel, window.dilation, strict=True)]
    sides = []
    for at, size in enumerate((height, width)):
        needed = (window.target[1 + at] - 1) * window.stride[at] + reach[at]
        sides.append((window.padding[at], max(0, needed - size - window.padding[at])))
    padded = np.pad(x.reshape(-1, *window.source), ((0, 0), (0, 0), *sides), constant_values=beyond)
    every = sliding_window_view(padded, reach, axis=(2, 3))
    stride, dilation = window.stride, window.dilation
    _, rows, columns = window.target
    chosen = every[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return chosen[:, :, :rows, :columns]


def convolved(x: Values, matrix: Values, window: Window, groups: int) -> Values:
    """The sums of a convolution, (count, rows, target height * target width), in the dtype of `matrix`."""
    count, (channels, *_) = len(x), window.source
    under = windows(x, window, 0)
    places = window.target[1] * window.target[2]
    columns = under.transpose(0, 2, 3, 1, 4, 5).reshape(count, places, groups, -1).astype(matrix.dtype, copy=False)
    by_group = matrix.reshape(groups, len(matrix) // groups, -1)
    sums = np.einsum("npgk,grk->ngrp", columns, by_group, optimize=True)
    assert channels % groups == 0
    found: Values = sums.reshape(count, len(matrix), places)
    return found


def elements_under(window: Window) -> Values:
    """How many elements of the picture lie under the kernel at each place: int64 (target height * target width,)."""
    ones = np.ones((1, 1, *window.source[1:]), np.int64)
    single = window._replace(source=(1, *window.source[1:]), target=(1, *window.target[1:]))
    found: Values = windows(ones, single, 0).sum((4, 5)).reshape(-1)
    return found


def _linear(each: Linear, x: Values) -> Values:
    sums = x.reshape(len(x), each.vectors, -1) @ each.weight.matrix.T
    return sums * each.scale + each.bias


def _conv(each: Conv, x: Values) -> Values:
    sums = convolved(x, each.weight.matrix, each.window, each.groups)
    return sums * each.scale[:, None] + each.bias[:, None]


def _max_pool(each: MaxPool, x: Values) -> Values:
    found: Values = windows(x, each.window, -np.inf).max((4, 5))
    return found


def _average_pool(each: AveragePool, x: Values) -> Values:
    sums = windows(x, each.window, 0).sum((4, 5)).reshape(len(x), each.window.target[0], -1)
    found: Values = sums / pool_counts(each)
    return found


def pool_counts(each: AveragePool) -> Values:
    """What the sum of each window is divided by."""
    if each.whole:
        return np.full(each.window.target[1] * each.window.target[2], each.window.kernel[0] * each.window.kernel[1])
    return elements_under(each.window)


def _scale(each: Scale, x: Values) -> Values:
    return x.reshape(len(x), -1, each.each) * each.scale[:, None] + each.offset[:, None]


def joined(each: Concat, parts: Sequence[Values]) -> Values:
    return np.concatenate([part.reshape(len(part), each.rows, -1) for part in parts], 2)


def _softmax(each: Softmax, x: Values) -> Values:
    rows = x.reshape(len(x), each.rows, each.size)
    powers = np.exp(rows - rows.max(2, keepdims=True))
    found: Values = powers / powers.sum(2, keepdims=True)
    return found


def _recurrent(each: Recurrent, x: Values) -> Values:
    sigmoid, count = FUNCTIONS["sigmoid"], len(x)
    by_input = x.reshape(count, each.steps, -1) @ each.by_input.matrix.T + each.bias[0]
    states = np.zeros((count, each.steps, each.hidden), np.float32)
    state, cell = (np.zeros((count, each.hidden), np.float32) for _ in range(2))
    order = range(each.steps)
    for step in reversed(order) if each.backward else order:
        gates = np.split(by_input[:, step], each.by_input.rows // each.hidden, 1)
        own = np.split(state @ each.by_hidden.matrix.T + each.bias[1], len(gates), 1)
        if each.kind == "gru":
            reset, update = (sigmoid(gates[at] + own[at]) for at in (0, 1))
            state = (1 - update) * np.tanh(gates[2] + reset * own[2]) + update * state
        else:
            enter, forget, new, leave = (a + b for a, b in zip(gates, own, strict=True))
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            state = sigmoid(leave) * np.tanh(cell)
        states[:, step] = state
    return states[:, 0 if each.backward else -1] if each.last else states


_RULES: Mapping[type[Operator], Callable[..., Values]] = {
    Linear: _linear,
    Conv: _conv,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Unary: lambda each, x: function_of(each.function, each.parameters)(x),
    Clip: lambda each, x: x,
    Scale: _scale,
    Add: lambda each, a, b: a + np.repeat(b, each.each, 1),
    Multiply: lambda each, a, b: a * np.repeat(b, each.each, 1),
    Concat: lambda each, *parts: joined(each, parts),
    Copy: lambda each, x: x[:, each.places],
    Softmax: _softmax,
    Recurrent: _recurrent,
    View: lambda each, x: x[:, each.offset : each.offset + each.size],
}
