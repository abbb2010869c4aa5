"""Constants of an ONNX graph that scale or shift others element by element, known by the nodes that take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from deepcompression.checkpoint.onnx.graph import import_onnx, marked, parse_model

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

# Operators that keep the values of their first input.
_VIEWS = ("Identity", "Cast", "CastLike", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand")

# Operators on elements, which repeat inputs along the axes that these lack.
_ON_ELEMENTS = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "Clip", "PRelu"),
    *("BiasGelu", "FastGelu", "BiasAdd", "BiasSplitGelu"),
}

# Operators of layers whose inputs from this number on are added to their outputs.
_ADDED_FROM = {"Gemm": 2, "Conv": 2, "ConvTranspose": 2, "FusedConv": 2, "FusedGemm": 2}


def elementwise_by_nodes(graph: bytes) -> dict[str, bool]:
    """Whether tensors scale or shift others element by element, by their names; without those of unknown use.

    graph  a serialized ModelProto, with marks in place of tensors

    Such are the tensors that normalisations take beside their input, and those with at most one axis longer than one
    that operators on elements take, or that a layer adds to its outputs. Every node counts, in subgraphs too.
    """
    uses = _Uses()
    uses.graph(parse_model(import_onnx(), graph).graph, {})
    return {name: all(found) for name, found in uses.found.items() if None not in found}


class _Uses:
    """The uses of tensors: True for one on elements, False for that of a layer, None for one that is not known.

    found  by the names of tensors
    """

    def __init__(self) -> None:
        self.found: dict[str, set[bool | None]] = {}

    def graph(self, graph: GraphProto, outer: Mapping[str, TensorProto]) -> None:
        own = {each.name for each in graph.input}
        names = {name: tensor for name, tensor in outer.items() if name not in own}
        names.update((each.name, each) for each in graph.initializer)
        self._nodes(graph.node, names)

    def _nodes(self, nodes: Iterable[NodeProto], names: dict[str, TensorProto]) -> None:
        for node in nodes:
            if node.op_type == "Constant":
                names.update((node.output[0], each.t) for each in node.attribute if each.HasField("t"))
                continue
            for attribute in node.attribute:
                for graph in (*[attribute.g] * attribute.HasField("g"), *attribute.graphs):
                    self.graph(graph, names)
            for at, name in enumerate(node.input):
                if (tensor := names.get(name)) is None:
                    continue
                if not at and node.op_type in _VIEWS:
                    names[node.output[0]] = tensor
                elif (marked_as := marked(tensor)) is not None:
                    self.found.setdefault(marked_as, set()).add(_on_elements(node, at, tensor))


def _on_elements(node: NodeProto, at: int, tensor: TensorProto) -> bool | None:
    kind = node.op_type
    if "Normalization" in kind and not kind.startswith("Embed"):
        return at > 0
    if kind in _ON_ELEMENTS or at >= _ADDED_FROM.get(kind, at + 1):
        # with more axes it may be a weight, such as an embedding of positions
        return True if sum(size != 1 for size in tensor.dims) <= 1 else None
    return False if kind in ("MatMul", *_ADDED_FROM) else None
