"""Which weights an ONNX graph multiplies by, and how; the inputs of those layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from deepcompression.calibration.network import Layout, Moments
from deepcompression.calibration.onnx_parts import taken_by, views_of
from deepcompression.checkpoint.onnx.graph import DTYPES
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Array

_HIDDEN = ("GRU", "LSTM", "RNN")


class Use(NamedTuple):
    """Where a weight is used.

    node    whose weight it is
    source  the tensor that it is multiplied by; empty if there is none, or if that is not all that the weight does
    hidden  the weight is that of a recurrent layer's own states: `source` are its outputs
    """

    node: Any
    layout: Layout
    source: str
    bias: str | None = None
    hidden: bool = False

    def add(self, moments: Moments, source: Array, batches: int) -> None:
        """Adds the inputs of the layer, from the tensor that its weight is multiplied by."""
        source = source.astype(np.float32)
        directions = self.layout.groups
        if self.node.op_type == "Conv":
            kernel = self.layout.shape[2:]
            patches = _patches(self.node, source, kernel)
            leading = patches.shape[: 1 + len(kernel)]
            wanted = moments.wanted(int(np.prod(leading)), batches)
            moments.add(patches[np.unravel_index(wanted, leading)].reshape(len(wanted), -1))
            return
        if self.hidden:
            # states (time, directions, batch, hidden): those before each step; the last direction comes from the end
            before = np.zeros_like(source)
            before[1:] = source[:-1]
            if directions == 2:
                before[:-1, 1], before[-1, 1] = source[1:, 1], 0
            rows = before.swapaxes(1, 2).reshape(-1, directions * source.shape[-1])
        else:
            rows = source.reshape(-1, source.shape[-1])
            if self.node.op_type in _HIDDEN:
                rows = np.tile(rows, (1, directions))
        moments.add(rows[moments.wanted(len(rows), batches)])


def uses_of(graph: Any, stored: Container[str]) -> dict[str, Use]:
    """The nodes that multiply by a weight, or take rows of it, by the names of weights: initializers that are `stored`.
    Nodes that only change a weight's dtype, or turn it, are seen through.

    A weight that is used elsewhere, too, has no source, and a bias of several layers is nobody's. Recurrent layers get
    names for states that have none.
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

    shapes  of the floating-point tensors that are stored
    seen    value -> the tensor that it is, and whether its two axes are swapped
    reads   how often a tensor is used
    """

    def __init__(self, graph: Any, stored: Container[str]) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {
            each.name: tuple(each.dims)
            for each in graph.initializer
            if each.name in stored and DTYPES.get(each.data_type) in WEIGHT_DTYPES
        }
        self.seen: dict[str, tuple[str, bool]] = {name: (name, False) for name in self.shapes}
        for value, node in views_of(graph.node, self.shapes).items():
            if node.input[0] in self.seen and _keeps_values(node):
                name, turned = self.seen[node.input[0]]
                if node.op_type == "Transpose":
                    order = next((list(each.ints) for each in node.attribute), [1, 0])
                    if len(self.shapes[name]) != 2:
                        continue
                    turned ^= order == [1, 0]
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
        """The use of a weight by a node, as its input `at`; None where it is not known."""
        options = {each.name: each for each in node.attribute}
        given = list(node.input)
        if node.op_type == "MatMul" and at == 1 and len(shape) == 2:
            only = self._readers.get(node.output[0], [])
            alone = len(only) == 1 and only[0].op_type == "Add" and node.output[0] not in self._outputs
            layout = Layout.of(shape, transposed=not turned)
            return Use(node, layout, given[0], self._bias(only[0].input, _rows(layout)) if alone else None)
        if node.op_type == "Gemm" and at == 1 and not _number(options, "transA", 0):
            ordinary = all(_number(options, key, 1.0) == 1.0 for key in ("alpha", "beta"))
            layout = Layout.of(shape, transposed=turned == bool(_number(options, "transB", 0)))
            return Use(node, layout, given[0], self._bias(given[2:], _rows(layout)) if ordinary else None)
        if node.op_type == "Gather" and at == 0:
            return Use(node, Layout.of(shape, transposed=turned), "")
        if turned:
            return None
        if node.op_type == "Conv" and at == 1:
            layout = Layout.of(shape, groups=_number(options, "group", 1))
            return Use(node, layout, given[0], self._bias(given[2:], shape[0]))
        if node.op_type in _HIDDEN and at in (1, 2) and not _number(options, "layout", 0):
            layout = Layout.of(shape, groups=shape[0], leading=2)
            if at == 2 and not node.output[0]:
                node.output[0] = f"{given[at]}.states {number}"
            return Use(node, layout, given[0] if at == 1 else node.output[0], None, at == 2)
        return None

    def _bias(self, values: Iterable[str], rows: int) -> str | None:
        for value in values:
            name, _ = self.seen.get(value, ("", False))
            if self.shapes.get(name) == (rows,) and self.reads[name] == 1:
                return name
        return None


def lift_constants(graph: Any, names: Container[str]) -> None:
    """Makes initializers of Constant nodes of those names."""
    outputs = {each.name for each in graph.output}
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        name = node.output[0]
        if name in names and name not in outputs and node.attribute[0].name == "value":
            graph.initializer.add().CopyFrom(node.attribute[0].t)
            graph.initializer[-1].name = name
            graph.node.remove(node)


def _keeps_values(view: Any) -> bool:
    """Whether what a node makes of floating-point values is again such values."""
    return view.op_type != "Cast" or any(
        each.name == "to" and DTYPES.get(each.i) in WEIGHT_DTYPES for each in view.attribute
    )


def _rows(layout: Layout) -> int:
    """Of a matrix."""
    return layout.shape[1] if layout.transposed else layout.shape[0]


def _number(options: Mapping[str, Any], name: str, default: Any) -> Any:
    if name not in options:
        return default
    return options[name].f if isinstance(default, float) else options[name].i


def _patches(node: Any, source: Array, kernel: tuple[int, ...]) -> Array:
    """A view (batch, places..., channels, kernel...) of what a convolution multiplies its weights by."""
    options = {each.name: each for each in node.attribute}
    count = len(kernel)
    strides = list(options["strides"].ints) if "strides" in options else [1] * count
    spread = list(options["dilations"].ints) if "dilations" in options else [1] * count
    pads = list(options["pads"].ints) if "pads" in options else [0] * (2 * count)
    whole = [(size - 1) * each + 1 for size, each in zip(kernel, spread, strict=True)]
    auto = options["auto_pad"].s.decode() if "auto_pad" in options else "NOTSET"
    if auto.startswith("SAME"):
        for at, size in enumerate(source.shape[2:]):
            missing = max(0, (-(-size // strides[at]) - 1) * strides[at] + whole[at] - size)
            first = missing // 2 if auto == "SAME_UPPER" else missing - missing // 2
            pads[at], pads[count + at] = first, missing - first
    padded = np.pad(source, [(0, 0), (0, 0), *((pads[at], pads[count + at]) for at in range(count))])
    views = np.lib.stride_tricks.sliding_window_view(padded, whole, tuple(range(2, 2 + count)))
    places = tuple(slice(None, None, each) for each in strides)
    inside = tuple(slice(None, None, each) for each in spread)
    return np.moveaxis(views[(slice(None), slice(None), *places, *inside)], 1, 1 + count)
