"""torch's operators (aten) -> those for boards: one function for each, in a table."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from deepcompression.embedded.build import Named
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.torch_node import Node, each_axis
from deepcompression.embedded.torch_shapes import SHAPES
from deepcompression.tensors.dtypes import Array


def _linear(node: Node) -> None:
    node.to.linear(node.x(node[0]), node.output, node.named(node[1]), node.floats("bias"))


def _matmul(node: Node) -> None:
    weight = node.named(node[1])
    if weight.values.ndim != 2:
        raise MissingError(f"its weight is {list(weight.values.shape)}; expected two axes")
    node.to.linear(node.x(node[0]), node.output, Named(weight.name, weight.values.T), None)


def _addmm(node: Node) -> None:
    weight, bias = node.named(node[2]), node.named(node[0]).floats
    if node.get("alpha", 1) != 1 or node.get("beta", 1) != 1:
        raise MissingError("it has alpha or beta")
    node.to.linear(node.x(node[1]), node.output, Named(weight.name, weight.values.T), bias)


def _conv(node: Node) -> None:
    weight = node.named(node[1])
    count = weight.values.ndim - 2
    strides, dilations = each_axis(node.get("stride", 1), count), each_axis(node.get("dilation", 1), count)
    padding = node.get("padding", 0)
    if isinstance(padding, str):
        reach = [
            0 if padding == "valid" else every * (size - 1)
            for every, size in zip(dilations, weight.values.shape[2:], strict=True)
        ]
        pads = [each // 2 for each in reach] + [each - each // 2 for each in reach]
    else:
        pads = each_axis(padding, count) * 2
    node.to.conv(
        node.x(node[0]), node.output, weight, node.floats("bias"), strides, pads, dilations, node.get("groups")
    )


def _max_pool(node: Node) -> None:
    count = len(node.shape) - 2
    kernel = each_axis(node[1], count)
    strides, pads = each_axis(node.get("stride") or kernel, count), each_axis(node.get("padding", 0), count) * 2
    dilations, ceil = each_axis(node.get("dilation", 1), count), bool(node.get("ceil_mode"))
    node.to.max_pool(node.x(node[0]), node.output, kernel, strides, pads, dilations, ceil)


def _average_pool(node: Node) -> None:
    count = len(node.shape) - 2
    kernel = each_axis(node[1], count)
    strides, pads = each_axis(node.get("stride") or kernel, count), each_axis(node.get("padding", 0), count) * 2
    if node.get("divisor_override"):
        raise MissingError("it has a divisor of its own")
    whole = bool(node.get("count_include_pad", True))
    node.to.average_pool(node.x(node[0]), node.output, kernel, strides, pads, bool(node.get("ceil_mode")), whole)


def _adaptive_pool(kind: str) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        shape = node.shape
        sizes = each_axis(node[1], len(shape) - 2)
        if any(size % target for size, target in zip(shape[2:], sizes, strict=True)):
            raise MissingError(f"its windows differ in size: {list(shape[2:])} to {sizes}")
        kernel = [size // target for size, target in zip(shape[2:], sizes, strict=True)]
        pads = [0] * 2 * len(kernel)
        if kind == "max":
            node.to.max_pool(node.x(node[0]), node.output, kernel, kernel, pads, [1] * len(kernel), False)
            node.value = (node.output, None)
        else:
            node.to.average_pool(node.x(node[0]), node.output, kernel, kernel, pads, False, False)

    return add


def _mean(node: Node) -> None:
    shape, axes = node.shape, node.get("dim")
    node.to.mean(node.x(node[0]), node.output, axes or range(len(shape)), bool(node.get("keepdim")))


def _clip(low: float | None = None, high: float | None = None) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        least = node.get("min", node.get("min_val", -math.inf)) if low is None else low
        most = node.get("max", node.get("max_val", math.inf)) if high is None else high
        node.to.clip(node.x(node[0]), node.output, float(least), float(most))

    return add


def _function(name: str, *parameters: str | float) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        values = [float(node.get(each, 0)) if isinstance(each, str) else each for each in parameters]
        node.to.function(node.x(node[0]), node.output, name, *values)

    return add


def _elu(node: Node) -> None:
    if node.get("scale", 1) != 1 or node.get("input_scale", 1) != 1:
        raise MissingError("it scales its input or output (SELU, CELU)")
    node.to.function(node.x(node[0]), node.output, "elu", float(node.get("alpha", 1)))


def _gelu(node: Node) -> None:
    kind = "gelu" if node.get("approximate", "none") == "none" else "gelu_tanh"
    node.to.function(node.x(node[0]), node.output, kind)


def _prelu(node: Node) -> None:
    slope = node.named(node[1]).values
    if slope.size != 1:
        raise MissingError("it has a slope for each channel")
    node.to.function(node.x(node[0]), node.output, "leaky", float(slope.reshape(-1)[0]))


def _two(node: Node) -> tuple[str, Array, bool] | None:
    """The computed input, the constant one if one is constant, and whether that is the first."""
    for at in (1, 0):
        if (found := node.number_or_constant(node[at])) is not None:
            return node.x(node[1 - at]), found, at == 0
    return None


def _add(node: Node) -> None:
    if node.get("alpha", 1) != 1:
        raise MissingError("it has alpha")
    if (two := _two(node)) is None:
        node.to.add(node.x(node[0]), node.x(node[1]), node.output)
    else:
        node.to.scale(two[0], node.output, np.float32(1), two[1])


def _subtract(node: Node) -> None:
    if node.get("alpha", 1) != 1:
        raise MissingError("it has alpha")
    if (two := _two(node)) is None:
        node.to.subtract(node.x(node[0]), node.x(node[1]), node.output)
    elif two[2]:
        node.to.scale(two[0], node.output, np.float32(-1), two[1])
    else:
        node.to.scale(two[0], node.output, np.float32(1), -two[1])


def _subtract_from(node: Node) -> None:
    if node.get("alpha", 1) != 1 or (first := node.number_or_constant(node[1])) is None:
        raise MissingError("it has alpha, or takes two computed values")
    node.to.scale(node.x(node[0]), node.output, np.float32(-1), first)


def _negative(node: Node) -> None:
    node.to.scale(node.x(node[0]), node.output, np.float32(-1), np.float32(0))


def _multiply(node: Node) -> None:
    if (two := _two(node)) is None:
        node.to.multiply(node.x(node[0]), node.x(node[1]), node.output)
    else:
        node.to.scale(two[0], node.output, two[1], np.float32(0))


def _divide(node: Node) -> None:
    divisor = node.number_or_constant(node[1])
    if divisor is None or not np.all(divisor) or node.get("rounding_mode"):
        raise MissingError("it divides by no constant, by zero, or rounds")
    node.to.scale(node.x(node[0]), node.output, 1 / np.asarray(divisor, np.float64), np.float32(0))


def _batch_norm(node: Node) -> None:
    mean, variance = node.get("running_mean"), node.get("running_var")
    if node.get("training") or mean is None or variance is None:
        raise MissingError("it has no running mean and variance")
    mean, variance = node.named(mean).values, node.named(variance).values
    weight, bias = node.floats("weight"), node.floats("bias")
    one = np.ones_like(mean) if weight is None else weight
    node.to.batch_norm(
        node.x(node[0]),
        node.output,
        one,
        np.zeros_like(mean) if bias is None else bias,
        mean,
        variance,
        node.get("eps"),
    )


def _concat(node: Node) -> None:
    node.to.concat([node.x(each) for each in node[0]], node.output, node.get("dim", 0))


def _joined(node: Node, values: list[str], axis: int) -> str:
    """One value of several, or the one."""
    if len(values) == 1:
        return values[0]
    node.to.concat(values, f"{values[0]}.joined", axis)
    return f"{values[0]}.joined"


def _recurrent(kind: str) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        begin = node[1] if isinstance(node[1], list | tuple) else [node[1]]
        if any(np.any(node.named(each).values) for each in begin):
            raise MissingError("it begins with a state")
        each, layers = (4 if node.get("has_biases") else 2), node.get("num_layers")
        directions = 2 if node.get("bidirectional") else 1
        if len(node.get("params")) != each * layers * directions:
            raise MissingError("it has projections")
        x, shape, last = node.x(node[0]), node.shape, []
        params = list(node.get("params"))
        for layer in range(layers):
            made = []
            for backward in (False, True)[:directions]:
                first, second, *bias = (node.named(one) for one in params[:each])
                del params[:each]
                zeros = np.zeros(len(first.values), np.float32)
                both = (bias[0].floats, bias[1].floats) if bias else (zeros, zeros)
                made.append(f"{node.output}.states{layer}{'b' * backward}")
                node.to.recurrent(x, made[-1], kind, (first, second), both, backward)
                steps, hidden = node.to.shapes[made[-1]]
                last.append(f"{made[-1]}.last")
                node.to.part(made[-1], last[-1], 0, 0 if backward else steps - 1, 1 if backward else steps)
            x = _joined(node, made, 1)
        node.to.view(x, f"{node.output}.0", [*shape[:-1], directions * hidden])
        whole = _joined(node, last, 0)
        node.to.view(whole, f"{node.output}.1", [len(last), *([1] * (len(shape) - 2)), hidden])
        node.value = (f"{node.output}.0", f"{node.output}.1", None)

    return add


# operator -> what adds it
OPERATORS: dict[str, Callable[[Node], None]] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "addmm": _addmm,
    **dict.fromkeys(("conv1d", "conv2d"), _conv),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), _max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), _average_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _adaptive_pool("average")),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), _adaptive_pool("max")),
    "mean": _mean,
    **dict.fromkeys(("relu", "relu_"), _clip(0, math.inf)),
    **dict.fromkeys(("relu6", "relu6_"), _clip(0, 6)),
    **dict.fromkeys(("clamp", "clamp_", "hardtanh", "hardtanh_"), _clip()),
    **dict.fromkeys(("leaky_relu", "leaky_relu_"), _function("leaky", "negative_slope")),
    "prelu": _prelu,
    **dict.fromkeys(("sigmoid", "sigmoid_"), _function("sigmoid")),
    **dict.fromkeys(("tanh", "tanh_"), _function("tanh")),
    **dict.fromkeys(("hardsigmoid", "hardsigmoid_"), _function("hard_sigmoid", 1 / 6, 0.5)),
    **dict.fromkeys(("hardswish", "hardswish_"), _function("hard_swish")),
    **dict.fromkeys(("elu", "elu_"), _elu),
    "gelu": _gelu,
    **dict.fromkeys(("silu", "silu_"), _function("silu")),
    **dict.fromkeys(("add", "add_"), _add),
    **dict.fromkeys(("sub", "sub_"), _subtract),
    "rsub": _subtract_from,
    **dict.fromkeys(("neg", "neg_"), _negative),
    **dict.fromkeys(("mul", "mul_"), _multiply),
    **dict.fromkeys(("div", "div_"), _divide),
    "batch_norm": _batch_norm,
    **dict.fromkeys(("cat", "concat"), _concat),
    "softmax": lambda node: node.to.softmax(node.x(node[0]), node.output, node.get("dim")),
    **SHAPES,
    "gru": _recurrent("gru"),
    "lstm": _recurrent("lstm"),
}
