"""The weights that an ONNX graph multiplies by, and the inputs of those layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from deepcompression.calibration.network import Layout, Moments
from deepcompression.calibration.onnx_parts import views_of
from deepcompression.checkpoint.onnx.graph import DTYPES, taken_by
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Array

_RECURRENT = ("GRU", "LSTM", "RNN")


class Use(NamedTuple):
    """The use of a weight.

    node    the node that takes the weight
    source  the tensor that it is multiplied by; empty if there is none, or if the weight has other uses
    states  whether the weight is that of a recurrent layer's own states: `source` are its outputs
    first   the tensor of its states before the first step; empty if these are zeros
    """

    node: Any
    layout: Layout
    source: str
    bias: str | None = None
    states: bool = False
    first: str = ""

    def sources(self) -> list[str]:
        """The tensors that `add` needs."""
        return [name for name in (self.source, self.first) if name]

    def add(self, moments: Moments, values: Mapping[str, Array], batches: int) -> None:
        """Adds the inputs of the layer, from the tensors of `sources`."""
        source = values[self.source]
        source = source.astype(np.float32)
        directions = self.layout.groups
        if self.node.op_type == "Conv":
            rows = _patches(self.node, source, self.layout.shape[2:])
        elif self.states:
            # states (time, directions, batch, hidden): those before each step; the last direction may come from the end
            before = np.zeros_like(source)
            first = values[self.first].astype(np.float32) if self.first else np.zeros_like(before[0])
            before[1:], before[0] = source[:-1], first
            if directions == 2 or _options(self.node).get("direction") == b"reverse":
                before[:-1, -1], before[-1, -1] = source[1:, -1], first[-1]
            rows = before.swapaxes(1, 2).reshape(-1, directions * source.shape[-1])
        else:
            rows = source.reshape(-1, source.shape[-1])
            if self.node.op_type in _RECURRENT:
                rows = np.tile(rows, (1, directions))
        moments.add(rows[moments.draw(rows.shape[: rows.ndim // 2], batches)])


def uses_of(graph: Any, stored: Container[str]) -> dict[str, Use]:
    """The uses of weights by their names: `stored` initializers that nodes multiply by or take rows of.

    Weights are recognised behind nodes that only change their dtype or transpose them. A weight with other uses has no
    source, and a bias of several layers counts for none. Recurrent layers get names for states that have none.
    """
    found: dict[str, Use] = {}
    values = _Values(graph, stored)
    for number, node in enumerate(graph.node):
        for at, name in enumerate(node.input):
            weight, turned = values.seen.get(name, ("", False))
            shape = values.shapes.get(weight, ())
            use = values.use(node, number, at, shape, turned) if len(shape) >= 2 else None
            if use is not None:
                found.setdefault(weight, use if values.reads[weight] == 1 else use._replace(source="", bias=None))
    return found


class _Values:
    """The values of a graph: which are weights, and who reads them.

    shapes  of the stored floating-point tensors
    seen    value -> the tensor that it is a view of, and whether its two axes are swapped
    reads   tensor -> the number of its uses
    """

    def __init__(self, graph: Any, stored: Container[str]) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {
            each.name: tuple(each.dims)
            for each in graph.initializer
            if each.name in stored and DTYPES.get(each.data_type) in WEIGHT_DTYPES
        }
        self.seen: dict[str, tuple[str, bool]] = {name: (name, False) for name in self.shapes}
        for value, node in views_of(graph.node, self.shapes).items():
            options = _options(node)
            if node.input[0] not in self.seen or ("to" in options and DTYPES.get(options["to"]) not in WEIGHT_DTYPES):
                continue
            name, turned = self.seen[node.input[0]]
            if node.op_type == "Transpose":
                if len(self.shapes[name]) != 2:
                    continue
                turned ^= options.get("perm", [1, 0]) == [1, 0]
            self.seen[value] = name, turned
        self._readers: dict[str, list[Any]] = {}
        self._outputs = {output.name for output in graph.output}
        read = list(self._outputs)
        for node in graph.node:
            taken = list(taken_by(node))
            if not (node.output and node.output[0] in self.seen):
                read += taken
            for name in taken:
                self._readers.setdefault(name, []).append(node)
        self.reads = Counter(self.seen[name][0] for name in read if name in self.seen)

    def use(self, node: Any, number: int, at: int, shape: tuple[int, ...], turned: bool) -> Use | None:
        """The use of a weight by a node, as its input `at`; None for an unknown use."""
        options = _options(node)
        inputs = list(node.input)
        if node.op_type == "MatMul" and at == 1 and len(shape) == 2:
            readers = self._readers.get(node.output[0], [])
            alone = len(readers) == 1 and readers[0].op_type == "Add" and node.output[0] not in self._outputs
            layout = Layout.of(shape, transposed=not turned)
            bias = self._bias(readers[0].input, shape[layout.transposed]) if alone else None
            return Use(node, layout, inputs[0], bias)
        if node.op_type == "Gemm" and at == 1 and not options.get("transA"):
            ordinary = options.get("alpha", 1.0) == options.get("beta", 1.0) == 1.0
            layout = Layout.of(shape, transposed=turned == bool(options.get("transB")))
            bias = self._bias(inputs[2:], shape[layout.transposed]) if ordinary else None
            return Use(node, layout, inputs[0], bias)
        if node.op_type == "Gather" and at == 0:
            return Use(node, Layout.of(shape, transposed=turned), "")
        if turned:
            return None
        if node.op_type == "Conv" and at == 1:
            layout = Layout.of(shape, groups=options.get("group", 1))
            return Use(node, layout, inputs[0], self._bias(inputs[2:], shape[0]))
        if node.op_type in _RECURRENT and at in (1, 2) and not options.get("layout"):
            layout = Layout.of(shape, groups=shape[0], leading=2)
            if at == 2 and not node.output[0]:
                node.output[0] = f"{inputs[at]}.states {number}"
            if at == 1:
                return Use(node, layout, inputs[0])
            return Use(node, layout, node.output[0], None, True, inputs[5] if len(inputs) > 5 else "")
        return None

    def _bias(self, values: Iterable[str], rows: int) -> str | None:
        for value in values:
            name, _ = self.seen.get(value, ("", False))
            if self.shapes.get(name) == (rows,) and self.reads[name] == 1:
                return name
        return None


def lift_constants(graph: Any, names: Container[str]) -> None:
    """Makes Constant nodes of those names initializers."""
    outputs = {each.name for each in graph.output}
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        name = node.output[0]
        if name in names and name not in outputs and node.attribute[0].name == "value":
            graph.initializer.add().CopyFrom(node.attribute[0].t)
            graph.initializer[-1].name = name
            graph.node.remove(node)


def _options(node: Any) -> dict[str, Any]:
    """The attributes of a node, by name."""
    from onnx.helper import get_attribute_value

    return {each.name: get_attribute_value(each) for each in node.attribute}


def _patches(node: Any, source: Array, kernel: tuple[int, ...]) -> Array:
    """A view (batch, *places, channels, *kernel) of the values that a convolution multiplies its weights by."""
    options = _options(node)
    count = len(kernel)
    strides, dilations = (options.get(name, [1] * count) for name in ("strides", "dilations"))
    pads = list(options.get("pads", [0] * (2 * count)))
    whole = [(size - 1) * each + 1 for size, each in zip(kernel, dilations, strict=True)]
    auto = options.get("auto_pad", b"NOTSET")
    if auto.startswith(b"SAME"):
        for at, size in enumerate(source.shape[2:]):
            missing = max(0, (-(-size // strides[at]) - 1) * strides[at] + whole[at] - size)
            first = missing // 2 if auto == b"SAME_UPPER" else missing - missing // 2
            pads[at], pads[count + at] = first, missing - first
    padded = np.pad(source, [(0, 0), (0, 0), *((pads[at], pads[count + at]) for at in range(count))])
    views = np.lib.stride_tricks.sliding_window_view(padded, whole, tuple(range(2, 2 + count)))
    steps = (slice(None, None, each) for each in (*strides, *dilations))
    return np.moveaxis(views[(slice(None), slice(None), *steps)], 1, 1 + count)
