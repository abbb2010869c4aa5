"""torch's operators (aten) -> those for boards: one function for each, in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from deepcompression.embedded.build import Builder, Missing, Named
from deepcompression.embedded.graph import Floats
from deepcompression.tensors.dtypes import Array


class Node:
    """A node of the program, whose operator is to be added to `to`.

    value  what the node gives: the name of a value, or of each of a tuple
    """

    def __init__(
        self,
        builder: Builder,
        node: fx.Node,
        values: dict[str, Any],
        constant: Callable[[fx.Node], Named | None],
    ) -> None:
        self.to = builder
        self.output = node.name
        self.value: Any = node.name
        self._values = values
        self._constant = constant
        self._all = node.args
        self._options: dict[str, Any] = {}
        if isinstance(node.target, torch._ops.OpOverload):
            for at, each in enumerate(node.target._schema.arguments):
                given = node.args[at] if at < len(node.args) else node.kwargs.get(each.name, each.default_value)
                self._options[each.name] = given

    def get(self, name: str, missing: Any = None) -> Any:
        found = self._options.get(name)
        return missing if found is None else found

    def __getitem__(self, at: int) -> Any:
        """An argument by its place."""
        return self._all[at]

    def x(self, given: Any) -> str:
        """An argument that is a computed value."""
        found = self._values.get(given.name) if isinstance(given, fx.Node) else None
        if not isinstance(found, str):
            raise Missing(f"its input {given} is no computed value")
        return found

    def parts(self, given: fx.Node) -> Sequence[str | None]:
        return [self._values[given.name]] if isinstance(self._values[given.name], str) else self._values[given.name]

    def named(self, given: Any) -> Named:
        found = self._constant(given) if isinstance(given, fx.Node) else None
        if found is None:
            raise Missing(f"its input {given} is no constant")
        return found

    def number_or_constant(self, given: Any) -> Array | None:
        """A constant, or None for a computed value."""
        if not isinstance(given, fx.Node):
            return np.float32(given)
        found = self._constant(given)
        return None if found is None else found.values

    def floats(self, name: str) -> Floats | None:
        return None if self.get(name) is None else self.named(self.get(name)).floats

    @property
    def shape(self) -> tuple[int, ...]:
        return self.to.shapes[self.x(self[0])]


def _each(values: Any, count: int) -> list[int]:
    """A number for each axis, where one may stand for all."""
    found = [int(each) for each in (values if isinstance(values, list | tuple) else [values])]
    return found * count if len(found) == 1 else found


def _linear(node: Node) -> None:
    node.to.linear(node.x(node[0]), node.output, node.named(node[1]), node.floats("bias"))


def _matmul(node: Node) -> None:
    weight = node.named(node[1])
    if weight.values.ndim != 2:
        raise Missing(f"its weight is {list(weight.values.shape)}; expected two axes")
    node.to.linear(node.x(node[0]), node.output, Named(weight.name, weight.values.T), None)


def _addmm(node: Node) -> None:
    weight, bias = node.named(node[2]), node.named(node[0]).floats
    if node.get("alpha", 1) != 1 or node.get("beta", 1) != 1:
        raise Missing("it has alpha or beta")
    node.to.linear(node.x(node[1]), node.output, Named(weight.name, weight.values.T), bias)


def _conv(node: Node) -> None:
    weight = node.named(node[1])
    count = weight.values.ndim - 2
    strides, dilations = _each(node.get("stride", 1), count), _each(node.get("dilation", 1), count)
    padding = node.get("padding", 0)
    if isinstance(padding, str):
        reach = [
            0 if padding == "valid" else every * (size - 1)
            for every, size in zip(dilations, weight.values.shape[2:], strict=True)
        ]
        pads = [each // 2 for each in reach] + [each - each // 2 for each in reach]
    else:
        pads = _each(padding, count) * 2
    node.to.conv(node.x(node[0]), node.output, weight, node.floats("bias"), strides, pads, dilations, node.get("groups"))


def _max_pool(node: Node) -> None:
    count = len(node.shape) - 2
    kernel = _each(node[1], count)
    strides, pads = _each(node.get("stride") or kernel, count), _each(node.get("padding", 0), count) * 2
    dilations, ceil = _each(node.get("dilation", 1), count), bool(node.get("ceil_mode"))
    node.to.max_pool(node.x(node[0]), node.output, kernel, strides, pads, dilations, ceil)


def _average_pool(node: Node) -> None:
    count = len(node.shape) - 2
    kernel = _each(node[1], count)
    strides, pads = _each(node.get("stride") or kernel, count), _each(node.get("padding", 0), count) * 2
    if node.get("divisor_override"):
        raise Missing("it has a divisor of its own")
    whole = bool(node.get("count_include_pad", True))
    node.to.average_pool(node.x(node[0]), node.output, kernel, strides, pads, bool(node.get("ceil_mode")), whole)


def _adaptive_pool(kind: str) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        shape = node.shape
        sizes = _each(node[1], len(shape) - 2)
        if any(size % target for size, target in zip(shape[2:], sizes, strict=True)):
            raise Missing(f"its windows differ in size: {list(shape[2:])} to {sizes}")
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
    if not axes or sorted(axis % len(shape) for axis in axes) != list(range(2, len(shape))):
        raise Missing(f"it is over the axes {axes} of {list(shape)}; expected all behind the channels")
    node.to.global_pool(node.x(node[0]), node.output, "average", bool(node.get("keepdim")))


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
        raise Missing("it scales its input or output (SELU, CELU)")
    node.to.function(node.x(node[0]), node.output, "elu", float(node.get("alpha", 1)))


def _gelu(node: Node) -> None:
    kind = "gelu" if node.get("approximate", "none") == "none" else "gelu_tanh"
    node.to.function(node.x(node[0]), node.output, kind)


def _prelu(node: Node) -> None:
    slope = node.named(node[1]).values
    if slope.size != 1:
        raise Missing("it has a slope for each channel")
    node.to.function(node.x(node[0]), node.output, "leaky", float(slope.reshape(-1)[0]))


def _two(node: Node) -> tuple[str, Array, bool] | None:
    """The computed input, the constant one if one is constant, and whether that is the first."""
    for at in (1, 0):
        if (found := node.number_or_constant(node[at])) is not None:
            return node.x(node[1 - at]), found, at == 0
    return None


def _add(node: Node) -> None:
    if node.get("alpha", 1) != 1:
        raise Missing("it has alpha")
    if (two := _two(node)) is None:
        node.to.add(node.x(node[0]), node.x(node[1]), node.output)
    else:
        node.to.scale(two[0], node.output, np.float32(1), two[1])


def _subtract(node: Node) -> None:
    if node.get("alpha", 1) != 1:
        raise Missing("it has alpha")
    if (two := _two(node)) is None:
        node.to.subtract(node.x(node[0]), node.x(node[1]), node.output)
    elif two[2]:
        node.to.scale(two[0], node.output, np.float32(-1), two[1])
    else:
        node.to.scale(two[0], node.output, np.float32(1), -two[1])


def _multiply(node: Node) -> None:
    if (two := _two(node)) is None:
        node.to.multiply(node.x(node[0]), node.x(node[1]), node.output)
    else:
        node.to.scale(two[0], node.output, two[1], np.float32(0))


def _divide(node: Node) -> None:
    divisor = node.number_or_constant(node[1])
    if divisor is None or not np.all(divisor) or node.get("rounding_mode"):
        raise Missing("it divides by no constant, by zero, or rounds")
    node.to.scale(node.x(node[0]), node.output, 1 / np.asarray(divisor, np.float64), np.float32(0))


def _batch_norm(node: Node) -> None:
    mean, variance = node.get("running_mean"), node.get("running_var")
    if node.get("training") or mean is None or variance is None:
        raise Missing("it has no running mean and variance")
    mean, variance = node.named(mean).values, node.named(variance).values
    weight, bias = node.floats("weight"), node.floats("bias")
    one = np.ones_like(mean) if weight is None else weight
    node.to.batch_norm(
        node.x(node[0]), node.output, one, np.zeros_like(mean) if bias is None else bias, mean, variance, node.get("eps")
    )


def _concat(node: Node) -> None:
    node.to.concat([node.x(each) for each in node[0]], node.output, node.get("dim", 0))


def _same(node: Node) -> None:
    node.value = node.x(node[0])


def _shaped(shape_of: Callable[[Node, tuple[int, ...]], Sequence[int]]) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        node.to.view(node.x(node[0]), node.output, shape_of(node, node.shape))

    return add


def _flattened(node: Node, shape: tuple[int, ...]) -> list[int]:
    first, last = node.get("start_dim", 0) % len(shape), node.get("end_dim", -1) % len(shape)
    return [*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]]


def _squeezed(node: Node, shape: tuple[int, ...]) -> list[int]:
    given = node.get("dim")
    axes = range(len(shape)) if given is None else [axis % len(shape) for axis in _each(given, 1)]
    return [size for at, size in enumerate(shape) if size != 1 or at not in axes]


def _unsqueezed(node: Node, shape: tuple[int, ...]) -> list[int]:
    at = node.get("dim") % (len(shape) + 1)
    return [*shape[:at], 1, *shape[at:]]


def _transpose(node: Node) -> None:
    order = list(range(len(node.shape)))
    first, second = node.get("dim0", 0), node.get("dim1", 1)
    order[first], order[second] = order[second], order[first]
    node.to.transpose(node.x(node[0]), node.output, order)


def _select(node: Node) -> None:
    axis = node.get("dim") % len(node.shape)
    at = node.get("index") % node.shape[axis]
    node.to.part(node.x(node[0]), node.output, axis, at, at + 1, keep=False)


def _slice(node: Node) -> None:
    axis = node.get("dim", 0) % len(node.shape)
    if node.get("step", 1) != 1:
        raise Missing("it steps over elements")
    start, stop, _ = slice(node.get("start"), node.get("end")).indices(node.shape[axis])
    node.to.part(node.x(node[0]), node.output, axis, start, max(start, stop))


def _split(node: Node) -> None:
    axis = node.get("dim", 0) % len(node.shape)
    size, given = node.shape[axis], node[1]
    # chunk: the number of parts; split: the size of each, or all sizes
    step = -(-size // node.get("chunks")) if node.get("chunks") else given
    sizes = list(step) if isinstance(step, list | tuple) else [min(step, size - at) for at in range(0, size, step)]
    starts = np.cumsum([0, *sizes]).tolist()
    node.value = tuple(f"{node.output}.{number}" for number in range(len(sizes)))
    for name, start, stop in zip(node.value, starts, starts[1:], strict=False):
        node.to.part(node.x(node[0]), name, axis, start, stop)


def _item(node: Node) -> None:
    found = node.parts(node[0])[node[1]]
    if found is None:
        raise Missing(f"it takes output {node[1]}, which no board gives")
    node.value = found


def _recurrent(kind: str) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        if node.get("bidirectional"):
            raise Missing("it is bidirectional")
        begin = node[1] if isinstance(node[1], list | tuple) else [node[1]]
        if any(np.any(node.named(each).values) for each in begin):
            raise Missing("it begins with a state")
        each, layers = (4 if node.get("has_biases") else 2), node.get("num_layers")
        if len(node.get("params")) != each * layers:
            raise Missing("it has projections")
        x, shape = node.x(node[0]), node.shape
        for layer in range(layers):
            first, second, *bias = (node.named(one) for one in node.get("params")[layer * each : (layer + 1) * each])
            zeros = np.zeros(len(first.values), np.float32)
            both = (bias[0].floats, bias[1].floats) if bias else (zeros, zeros)
            states = f"{node.output}.states{layer}"
            node.to.recurrent(x, states, kind, (first, second), both)
            x = states
        steps, hidden = node.to.shapes[x]
        node.to.view(x, f"{node.output}.0", [*shape[:-1], hidden])
        last: str | None = None
        if layers == 1:
            last = f"{node.output}.1"
            node.to.view(x, last, [1, *([1] * (len(shape) - 2)), hidden], (steps - 1) * hidden)
        node.value = (f"{node.output}.0", last, None)

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
    **dict.fromkeys(("mul", "mul_"), _multiply),
    **dict.fromkeys(("div", "div_"), _divide),
    "batch_norm": _batch_norm,
    **dict.fromkeys(("cat", "concat"), _concat),
    "softmax": lambda node: node.to.softmax(node.x(node[0]), node.output, node.get("dim")),
    **dict.fromkeys(("dropout", "dropout_", "feature_dropout", "alpha_dropout", "contiguous", "clone"), _same),
    **dict.fromkeys(("detach", "alias", "lift_fresh_copy"), _same),
    "flatten": _shaped(_flattened),
    **dict.fromkeys(("reshape", "view"), _shaped(lambda node, shape: node[1])),
    "unflatten": _shaped(
        lambda node, shape: [*shape[: node[1] % len(shape)], *node[2], *shape[node[1] % len(shape) + 1 :]]
    ),
    "squeeze": _shaped(_squeezed),
    "unsqueeze": _shaped(_unsqueezed),
    **dict.fromkeys(("transpose", "t"), _transpose),
    "permute": lambda node: node.to.transpose(node.x(node[0]), node.output, node[1]),
    "select": _select,
    "slice": _slice,
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _split),
    "getitem": _item,
    "gru": _recurrent("gru"),
    "lstm": _recurrent("lstm"),
}
