"""ONNX's operators -> those for boards: one function for each, in a table."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from deepcompression.embedded.build import Named
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.graph import Floats, as_floats
from deepcompression.embedded.onnx_node import Node
from deepcompression.embedded.onnx_shapes import SHAPES
from deepcompression.tensors.dtypes import Array


def _linear(node: Node, weight: Named, bias: Floats | None) -> None:
    """`weight` (columns, rows), as MatMul has it."""
    if weight.values.ndim != 2:
        raise MissingError(f"its weight is {list(weight.values.shape)}; expected two axes")
    node.to.linear(node.x(), node.output, Named(weight.name, weight.values.T), bias)


def _matmul(node: Node) -> None:
    _linear(node, node.named(1), None)


def _gemm(node: Node) -> None:
    if node.get("transA", 0):
        raise MissingError("it transposes its input")
    weight, bias = node.named(1), node.floats(2)
    values = as_floats(weight.values) * np.float32(node.get("alpha", 1.0))
    if bias is not None:
        if bias.ndim > 1 and bias.shape[0] != 1:
            raise MissingError(f"its bias is {list(bias.shape)}")
        bias = bias.reshape(-1) * np.float32(node.get("beta", 1.0))
    _linear(node, Named(weight.name, values.T if node.get("transB", 0) else values), bias)


def _pads(node: Node, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    kind, count = node.get("auto_pad", "NOTSET"), len(kernel)
    if kind == "NOTSET":
        return list(node.get("pads", [0] * 2 * count))
    starts, ends = [], []
    for at in range(count):
        size = node.shape[2 + at]
        reach = dilations[at] * (kernel[at] - 1) + 1
        every = 0 if kind == "VALID" else max(0, (-(-size // strides[at]) - 1) * strides[at] + reach - size)
        starts.append(every // 2 if kind != "SAME_LOWER" else every - every // 2)
        ends.append(every - starts[-1])
    return starts + ends


def _conv(node: Node) -> None:
    weight = node.named(1)
    count = weight.values.ndim - 2
    strides, dilations = node.get("strides", [1] * count), node.get("dilations", [1] * count)
    pads = _pads(node, list(weight.values.shape[2:]), strides, dilations)
    node.to.conv(node.x(), node.output, weight, node.floats(2), strides, pads, dilations, node.get("group", 1))


def _max_pool(node: Node) -> None:
    if any(node.outputs[1:]):
        raise MissingError("it gives indices")
    kernel = node.get("kernel_shape")
    strides, dilations = node.get("strides", [1] * len(kernel)), node.get("dilations", [1] * len(kernel))
    pads = _pads(node, kernel, strides, dilations)
    node.to.max_pool(node.x(), node.output, kernel, strides, pads, dilations, bool(node.get("ceil_mode", 0)))


def _average_pool(node: Node) -> None:
    kernel = node.get("kernel_shape")
    strides, dilations = node.get("strides", [1] * len(kernel)), node.get("dilations", [1] * len(kernel))
    if any(each != 1 for each in dilations):
        raise MissingError("it is dilated")
    pads, whole = _pads(node, kernel, strides, dilations), bool(node.get("count_include_pad", 0))
    node.to.average_pool(node.x(), node.output, kernel, strides, pads, bool(node.get("ceil_mode", 0)), whole)


def _mean(node: Node) -> None:
    shape, axes = node.shape, node.numbers("axes", 1)
    if not axes and node.get("noop_with_empty_axes", 0):
        raise MissingError("it is over no axes")
    node.to.mean(node.x(), node.output, axes or range(len(shape)), bool(node.get("keepdims", 1)))


def _clip(node: Node) -> None:
    low = node.get("min", -math.inf) if node.opset < 11 else node.constant(1)
    high = node.get("max", math.inf) if node.opset < 11 else node.constant(2)
    node.to.clip(
        node.x(), node.output, -math.inf if low is None else float(low), math.inf if high is None else float(high)
    )


def _prelu(node: Node) -> None:
    slope = np.asarray(node.named(1).values)
    if slope.size != 1:
        raise MissingError("it has a slope for each channel")
    node.to.function(node.x(), node.output, "leaky", float(slope.reshape(-1)[0]))


def _gelu(node: Node) -> None:
    node.to.function(node.x(), node.output, "gelu" if node.get("approximate", "none") == "none" else "gelu_tanh")


def _function(name: str, *parameters: tuple[str, float]) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        values = [float(node.get(attribute, missing)) for attribute, missing in parameters]
        node.to.function(node.x(), node.output, name, *values)

    return add


def _two(node: Node) -> tuple[str, Array] | None:
    """The computed input and the constant one, if one is constant."""
    for at in (0, 1):
        if node.is_constant(at):
            return node.x(1 - at), np.asarray(node.named(at).values, np.float32)
    return None


def _add(node: Node) -> None:
    if (two := _two(node)) is None:
        node.to.add(node.x(0), node.x(1), node.output)
    else:
        node.to.scale(two[0], node.output, np.float32(1), two[1])


def _subtract(node: Node) -> None:
    if (two := _two(node)) is None:
        node.to.subtract(node.x(0), node.x(1), node.output)
    elif node.is_constant(1):
        node.to.scale(two[0], node.output, np.float32(1), -two[1])
    else:
        node.to.scale(two[0], node.output, np.float32(-1), two[1])


def _multiply(node: Node) -> None:
    if (two := _two(node)) is None:
        node.to.multiply(node.x(0), node.x(1), node.output)
    else:
        node.to.scale(two[0], node.output, two[1], np.float32(0))


def _divide(node: Node) -> None:
    divisor = np.asarray(node.named(1).values, np.float64)
    if not divisor.all():
        raise MissingError("it divides by zero")
    node.to.scale(node.x(0), node.output, 1 / divisor, np.float32(0))


def _batch_norm(node: Node) -> None:
    if node.get("training_mode", 0):
        raise MissingError("it is in training mode")
    weight, bias, mean, variance = (node.named(at).values for at in range(1, 5))
    node.to.batch_norm(node.x(), node.output, weight, bias, mean, variance, node.get("epsilon", 1e-5))


def _concat(node: Node) -> None:
    node.to.concat([node.x(at) for at in range(len(node.inputs))], node.output, node.get("axis"))


def _softmax(node: Node) -> None:
    shape = node.shape
    if node.opset < 13:
        axis = node.get("axis", 1) % len(shape)
        if math.prod(shape[axis:]) != shape[axis]:
            raise MissingError(f"it is over all axes of {list(shape)} from {axis} on")
    node.to.softmax(node.x(), node.output, node.get("axis", 1 if node.opset < 13 else -1))


# gate i of torch's order stands at this place of ONNX's
_GATES = {"gru": (1, 0, 2), "lstm": (0, 2, 3, 1)}
_ACTIVATIONS = {"gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"]}


def _recurrent(kind: str) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        _check_recurrent(node, kind)
        hidden, order = node.get("hidden_size"), _GATES[kind]

        def gates(values: Array) -> Array:
            parts = np.split(np.asarray(values), len(order))
            return np.concatenate([parts[at] for at in order])

        bias = node.floats(3)
        direction = node.get("direction", "forward")
        count = 2 if direction == "bidirectional" else 1
        both = np.zeros((count, 2 * len(order) * hidden), np.float32) if bias is None else bias
        made: list[str] = []
        for at in range(count):
            weights = [Named(_name(each.name, at), gates(each.values[at])) for each in (node.named(1), node.named(2))]
            first, second = (as_floats(gates(half)) for half in np.split(both[at], 2))
            backward = direction == "reverse" or at == 1
            made.append(f"{node.output or node.outputs[1]}.states{at}")
            node.to.recurrent(node.x(), made[-1], kind, (weights[0], weights[1]), (first, second), backward)
            steps = node.to.shapes[made[-1]][0]
            node.to.part(made[-1], f"{made[-1]}.last", 0, 0 if backward else steps - 1, 1 if backward else steps)
        _join(node, made, node.outputs[0], 1, [steps, count, 1, hidden])
        _join(
            node,
            [f"{each}.last" for each in made],
            node.outputs[1] if len(node.outputs) > 1 else "",
            0,
            [count, 1, hidden],
        )

    return add


def _name(name: str, direction: int) -> str:
    return f"{name}.backward" if direction else name


def _join(node: Node, parts: list[str], output: str, axis: int, shape: list[int]) -> None:
    """The values of both directions as one output, if that is taken."""
    if not output:
        return
    whole = parts[0]
    if len(parts) > 1:
        whole = f"{output}.joined"
        node.to.concat(parts, whole, axis)
    node.to.view(whole, output, shape)


def _check_recurrent(node: Node, kind: str) -> None:
    if node.get("layout", 0) or node.get("clip") is not None or node.get("input_forget", 0):
        raise MissingError("it has layout, clip or input_forget")
    if node.get("activations") not in (None, [each.encode() for each in _ACTIVATIONS[kind]]):
        raise MissingError("its activations are not sigmoid and tanh")
    if kind == "gru" and not node.get("linear_before_reset", 0):
        raise MissingError("its reset comes before the product (linear_before_reset = 0); PyTorch's GRU has 1")
    if any(node.given(at) and np.any(node.named(at).values) for at in (5, 6, 7) if at < len(node.inputs)):
        raise MissingError("it begins with a state, or has peepholes")
    if node.given(4) and np.any(node.named(4).values != node.shape[0]):
        raise MissingError("its sequences end early")
    if len(node.outputs) > 2 and node.outputs[2]:
        raise MissingError("it gives its last cells")


# operator -> what adds it
OPERATORS: dict[str, Callable[[Node], None]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalMaxPool": lambda node: node.to.global_pool(node.x(), node.output, "max"),
    "GlobalAveragePool": lambda node: node.to.global_pool(node.x(), node.output, "average"),
    "ReduceMean": _mean,
    "Relu": lambda node: node.to.clip(node.x(), node.output, 0, math.inf),
    "Clip": _clip,
    "LeakyRelu": _function("leaky", ("alpha", 0.01)),
    "PRelu": _prelu,
    "Sigmoid": _function("sigmoid"),
    "Tanh": _function("tanh"),
    "HardSigmoid": _function("hard_sigmoid", ("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": _function("hard_swish"),
    "Elu": _function("elu", ("alpha", 1.0)),
    "Gelu": _gelu,
    "Swish": _function("silu"),
    "Add": _add,
    "Sub": _subtract,
    "Neg": lambda node: node.to.scale(node.x(), node.output, np.float32(-1), np.float32(0)),
    "Mul": _multiply,
    "Div": _divide,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Softmax": _softmax,
    **SHAPES,
    "GRU": _recurrent("gru"),
    "LSTM": _recurrent("lstm"),
}
