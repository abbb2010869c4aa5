"""The graph by NumPy in int8, for many inputs at once: bit for bit what boards compute, by the formulas of nn.h."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcompression.embedded.graph import (
    Add,
    AveragePool,
    Clip,
    Concat,
    Conv,
    Copy,
    Linear,
    MaxPool,
    Multiply,
    Operator,
    Recurrent,
    Scale,
    Softmax,
    Unary,
    View,
)
from deepcompression.embedded.integer import IntegerGraph, IntegerParts
from deepcompression.embedded.requantize import Integers
from deepcompression.embedded.scales import MOST
from deepcompression.embedded.simulate_float import convolved, elements_under, joined, windows


def simulate_int8(integers: IntegerGraph, inputs: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
    """Every value of the graph for int8 inputs (count, ...), each as int8 (count, elements)."""
    graph, count = integers.graph, len(inputs)
    values = {graph.input: inputs.reshape(count, -1)}
    for each in graph.operators:
        taken = [values[name].astype(np.int64) for name in each.inputs]
        found = _RULES[type(each)](each, integers.parts[each.output], *taken)
        values[each.output] = found.reshape(count, -1).astype(np.int8)
    return values


def _sums(matrix: NDArray[np.int8], bias: NDArray[np.int32], x: Integers) -> Integers:
    """Of vectors (..., columns); float64 holds every sum exactly."""
    return (x.astype(np.float64) @ matrix.T.astype(np.float64)).astype(np.int64) + bias


def _linear(each: Linear, parts: IntegerParts, x: Integers) -> Integers:
    vectors = x.reshape(len(x), each.vectors, -1)
    return parts.to[0](_sums(parts.weights[0], parts.biases[0], vectors)[..., None])


def _conv(each: Conv, parts: IntegerParts, x: Integers) -> Integers:
    sums = convolved(x, parts.weights[0].astype(np.float64), each.window, each.groups).astype(np.int64)
    return parts.to[0](sums + parts.biases[0][:, None])


def _max_pool(each: MaxPool, parts: IntegerParts, x: Integers) -> Integers:
    found: Integers = windows(x, each.window, -128).max((4, 5))
    return found


def _average_pool(each: AveragePool, parts: IntegerParts, x: Integers) -> Integers:
    sums = windows(x, each.window, 0).sum((4, 5)).reshape(len(x), each.window.target[0], -1)
    to = parts.to[0]
    if len(to.multiplier) == 1:
        return to(sums)
    rows = elements_under(each.window) - 1
    # places are rows here
    return to_each(to.multiplier[rows], to.pre, to.post, sums)


def to_each(multiplier: NDArray[np.int16], pre: int, post: int, sums: Integers) -> Integers:
    """Requantized sums (..., places), with a multiplier for each place."""
    scaled = (sums >> pre) * multiplier.astype(np.int64)
    found: Integers = np.clip((scaled + (1 << (post - 1))) >> post, -MOST, MOST)
    return found


def _function(each: Unary, parts: IntegerParts, x: Integers) -> Integers:
    assert parts.table is not None
    return parts.table[x + 128].astype(np.int64)


def _clip(each: Clip, parts: IntegerParts, x: Integers) -> Integers:
    return parts.to[0](x[:, None])


def _concat(each: Concat, parts: IntegerParts, *given: Integers) -> Integers:
    return joined(each, [to(x[:, None])[:, 0] for to, x in zip(parts.to, given, strict=True)])


def _scale(each: Scale, parts: IntegerParts, x: Integers) -> Integers:
    to, offset = parts.to[0], parts.biases[0].astype(np.int64)
    channels = x.reshape(len(x), -1, each.each)
    found: Integers = np.clip(
        (channels * to.multiplier.astype(np.int64)[:, None] + offset[:, None]) >> to.post, to.low, to.high
    )
    return found


def _add(each: Add, parts: IntegerParts, a: Integers, b: Integers) -> Integers:
    to = parts.to[0]
    first, second = to.multiplier.astype(np.int64)
    sums = a * first + np.repeat(b, each.each, 1) * second
    found: Integers = np.clip((sums + (1 << (to.post - 1))) >> to.post, to.low, to.high)
    return found


def _multiply(each: Multiply, parts: IntegerParts, a: Integers, b: Integers) -> Integers:
    return parts.to[0]((a * np.repeat(b, each.each, 1))[:, None])


def _softmax(each: Softmax, parts: IntegerParts, x: Integers) -> Integers:
    assert parts.table is not None
    rows = x.reshape(len(x), each.rows, each.size)
    powers = parts.table[rows.max(2, keepdims=True) - rows].astype(np.int64)
    totals = powers.sum(2, keepdims=True)
    found: Integers = (MOST * powers + totals // 2) // totals
    return found


# sigmoid at every 1 / 16 from 0 to 8, in steps of 2^-15
_SIGMOID = np.rint(32768 / (1 + np.exp(-np.arange(129) / 16))).astype(np.int64)


def sigmoid(q11: Integers) -> Integers:
    """In steps of 2^-15, of steps of 2^-11."""
    size = np.minimum(np.abs(q11), 16383)
    at = size >> 7
    found = _SIGMOID[at] + (((_SIGMOID[at + 1] - _SIGMOID[at]) * (size & 127) + 64) >> 7)
    return np.asarray(np.where(q11 < 0, 32768 - found, found))


def tanh(q11: Integers) -> Integers:
    """In steps of 2^-15, of steps of 2^-11."""
    return 2 * sigmoid(2 * q11) - 32768


def _recurrent(each: Recurrent, parts: IntegerParts, x: Integers) -> Integers:
    count, hidden = len(x), each.hidden
    by_input = parts.to[0](_sums(parts.weights[0], parts.biases[0], x.reshape(count, each.steps, -1))[..., None])
    state, wide = (np.zeros((count, hidden), np.int64) for _ in range(2))
    states = np.zeros((count, each.steps, hidden), np.int64)
    order = range(each.steps)
    for step in reversed(order) if each.backward else order:
        a = np.split(by_input[:, step, :, 0], len(parts.biases[0]) // hidden, 1)
        own = parts.to[1](_sums(parts.weights[1], parts.biases[1], state)[..., None])[..., 0]
        b = np.split(own, len(a), 1)
        if each.kind == "gru":
            new = tanh(a[2] + ((sigmoid(a[0] + b[0]) * b[2] + 16384) >> 15))
            update = sigmoid(a[1] + b[1])
            wide = _within((update * wide + (32768 - update) * new + 16384) >> 15)
            state = np.clip((wide + 128) >> 8, -MOST, MOST)
        else:
            enter, forget, new, leave = (first + second for first, second in zip(a, b, strict=True))
            kept = (sigmoid(forget) * wide + 16384) >> 15
            wide = _within(kept + ((sigmoid(enter) * tanh(new) + (1 << 18)) >> 19))
            state = np.clip((sigmoid(leave) * tanh(wide) + (1 << 22)) >> 23, -MOST, MOST)
        states[:, step] = state
    return states[:, 0 if each.backward else -1] if each.last else states


def _within(q: Integers) -> Integers:
    return np.clip(q, -32767, 32767)


_RULES: Mapping[type[Operator], Callable[..., Any]] = {
    Linear: _linear,
    Conv: _conv,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Unary: _function,
    Clip: _clip,
    Concat: _concat,
    Scale: _scale,
    Add: _add,
    Multiply: _multiply,
    Softmax: _softmax,
    Recurrent: _recurrent,
    Copy: lambda each, parts, x: x[:, each.places],
    View: lambda each, parts, x: x[:, each.offset : each.offset + each.size],
}
