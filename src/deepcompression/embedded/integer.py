"""A graph in int8: integer weights, biases, multipliers and tables for each operator, proved not to overflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcompression.embedded.functions import function_of
from deepcompression.embedded.graph import (
    Add,
    Affine,
    AveragePool,
    Clip,
    Clipped,
    Concat,
    Conv,
    Floats,
    Graph,
    Linear,
    Multiply,
    Operator,
    Recurrent,
    Scale,
    Softmax,
    Unary,
    Weight,
)
from deepcompression.embedded.requantize import Requantize, requantize, scale_and_offset, sum_of_two
from deepcompression.embedded.scales import MOST, quantized, scales_of, step_of_weights
from deepcompression.embedded.simulate_float import pool_counts

# A bias of at most this many steps: the sums of most layers stay far below int32's end.
_MOST_BIAS = 2.0**30

# of a row that is its bias alone: enough for a bias to 20 bits
_CONSTANT_STEPS = 2.0**20

# numbers of a softmax, whose sum is a uint32
_MOST_SOFTMAX = 32767

# pre-activations of recurrent layers: steps of 2^-11 in int16
Q11, _MOST_Q11 = 2.0**11, 32767


@dataclass(frozen=True, eq=False)
class IntegerParts:
    """What an operator computes with in int8, as device/nn.h takes it.

    to       for the output; one for each input of a Concat, one for each product of a recurrent layer
    weights  int8 (rows, columns)
    biases   int32 (rows,)
    table    of a function, or of Softmax
    """

    to: tuple[Requantize, ...] = ()
    weights: tuple[NDArray[np.int8], ...] = ()
    biases: tuple[NDArray[np.int32], ...] = ()
    table: NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """A graph with the scale of each value, and the parts of each operator by its output."""

    graph: Graph
    scales: Mapping[str, float]
    parts: Mapping[str, IntegerParts]

    def quantize(self, inputs: Floats) -> NDArray[np.int8]:
        """The network's inputs as int8."""
        return quantized(inputs, self.scales[self.graph.input]).astype(np.int8)


def integer_graph(graph: Graph, inputs: Floats) -> IntegerGraph:
    """The graph in int8, with scales from calibration inputs (count, ...). Raises ValueError, naming the layer, where
    an integer could overflow.
    """
    scales = scales_of(graph, inputs)
    parts = {each.output: _RULES.get(type(each), _nothing)(each, scales) for each in graph.operators}
    return IntegerGraph(graph, scales, parts)


def limits(operator: Operator, scale: float) -> tuple[int, int]:
    """The lowest and the highest int8 of an output."""
    if not isinstance(operator, Clipped):
        return -MOST, MOST
    low, high = (int(np.clip(np.rint(limit / scale), -MOST, MOST)) for limit in (operator.low, operator.high))
    return low, high


def _nothing(each: Operator, scales: Mapping[str, float]) -> IntegerParts:
    return IntegerParts()


def _affine(each: Affine, scales: Mapping[str, float]) -> IntegerParts:
    low, high = limits(each, scales[each.output])
    return _product(
        each.name, each.weight, each.bias, each.scale, scales[each.inputs[0]], scales[each.output], low, high
    )


def _product(
    name: str, weight: Weight, bias: Floats, scale: Floats, x_scale: float, y_scale: float, low: int, high: int
) -> IntegerParts:
    """scale * (weight · x) + bias in steps of `y_scale`."""
    step = step_of_weights(weight.values)
    matrix = quantized(weight.matrix, step).astype(np.int8)
    unit = scale.astype(np.float64) * step * x_scale
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(bias == 0, 0, bias / unit)
    sizes = MOST * np.abs(matrix, dtype=np.int64).sum(1)
    if (alone := ~(np.abs(steps) <= _MOST_BIAS)).any():
        # rows whose product is nothing beside their bias: the bias alone is left
        if (np.abs(unit) * sizes)[alone].max() > y_scale / 2:
            raise ValueError(f"{name}: a bias is over {_MOST_BIAS:.0f} times its row's smallest product: use float32")
        matrix[alone], sizes[alone] = 0, 0
        unit[alone] = np.abs(bias[alone]) / _CONSTANT_STEPS
        steps[alone] = bias[alone] / unit[alone]
    biases = np.rint(steps)
    real = unit / y_scale
    if np.all(real == real[0]):
        real = real[:1]
    to = requantize(name, real, sizes + np.abs(biases) + 2.0**16, low, high)
    # the bits that `pre` drops are half of its step on average; without biases, that is not worth an array
    rounded = biases + (1 << to.pre >> 1) if biases.any() else biases
    return IntegerParts((to,), (matrix,), (rounded.astype(np.int32),))


def _recurrent(each: Recurrent, scales: Mapping[str, float]) -> IntegerParts:
    x_scales = scales[each.inputs[0]], scales[each.output]
    first, second = (
        _product(each.name, weight, bias, np.ones(weight.rows, np.float32), x_scale, 1 / Q11, -_MOST_Q11, _MOST_Q11)
        for weight, bias, x_scale in zip((each.by_input, each.by_hidden), each.bias, x_scales, strict=True)
    )
    to, weights, biases = first.to + second.to, first.weights + second.weights, first.biases + second.biases
    return IntegerParts(to, weights, biases)


def _average_pool(each: AveragePool, scales: Mapping[str, float]) -> IntegerParts:
    counts = np.unique(pool_counts(each))
    # row `count - 1` of several
    rows = counts if len(counts) == 1 else np.arange(1, counts[-1] + 1)
    real = scales[each.inputs[0]] / scales[each.output] / rows
    window = each.window.kernel[0] * each.window.kernel[1]
    return IntegerParts((requantize(each.name, real, np.full(len(rows), MOST * window), -MOST, MOST),))


def _function(each: Unary, scales: Mapping[str, float]) -> IntegerParts:
    x = np.arange(-128, 128, dtype=np.float64) * scales[each.inputs[0]]
    y = function_of(each.function, each.parameters)(x) / scales[each.output]
    return IntegerParts(table=np.clip(np.rint(y), -MOST, MOST).astype(np.int8))


def _clip(each: Clip, scales: Mapping[str, float]) -> IntegerParts:
    return IntegerParts((_rescale(each, each.inputs[0], scales),))


def _rescale(each: Operator, x: str, scales: Mapping[str, float]) -> Requantize:
    low, high = limits(each, scales[each.output])
    to = requantize(each.name, scales[x] / scales[each.output], 2 * MOST, low, high)
    assert to.pre == 0
    return to


def _concat(each: Concat, scales: Mapping[str, float]) -> IntegerParts:
    return IntegerParts(tuple(_rescale(each, x, scales) for x in each.inputs))


def _scale(each: Scale, scales: Mapping[str, float]) -> IntegerParts:
    x, y = scales[each.inputs[0]], scales[each.output]
    low, high = limits(each, y)
    to, offset = scale_and_offset(
        each.name, np.multiply(each.scale, x / y, dtype=np.float64), each.offset.astype(np.float64) / y, low, high
    )
    return IntegerParts((to,), biases=(offset,))


def _add(each: Add, scales: Mapping[str, float]) -> IntegerParts:
    y = scales[each.output]
    low, high = limits(each, y)
    return IntegerParts((sum_of_two(each.name, scales[each.inputs[0]] / y, scales[each.inputs[1]] / y, low, high),))


def _multiply(each: Multiply, scales: Mapping[str, float]) -> IntegerParts:
    y = scales[each.output]
    low, high = limits(each, y)
    real = scales[each.inputs[0]] * scales[each.inputs[1]] / y
    return IntegerParts((requantize(each.name, real, MOST * MOST, low, high),))


def _softmax(each: Softmax, scales: Mapping[str, float]) -> IntegerParts:
    if each.size > _MOST_SOFTMAX:
        raise ValueError(
            f"{each.name}: a softmax of {each.size} numbers, and its sum ends at {_MOST_SOFTMAX}: export it in float32"
        )
    table = np.rint(65535 * np.exp(-scales[each.inputs[0]] * np.arange(255)))
    return IntegerParts(table=table.astype(np.uint16))


_RULES: Mapping[type[Operator], Callable[..., IntegerParts]] = {
    Linear: _affine,
    Conv: _affine,
    Recurrent: _recurrent,
    AveragePool: _average_pool,
    Unary: _function,
    Clip: _clip,
    Concat: _concat,
    Scale: _scale,
    Add: _add,
    Multiply: _multiply,
    Softmax: _softmax,
}
