"""The tensors of an ONNX model: their places in its graphs, their names, and the marks that replace their data."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import count
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from deepcompression.common.binary import FormatError
from deepcompression.common.messages import some

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

# name and metadata of a graph among other tensors
GRAPH, FORMAT = "onnx.graph", {"format": "onnx"}

SUFFIX = ".onnx"

# of a file, and of any message within it
MAX_BYTES = (1 << 31) - 1

# key of the entry of external data that holds the name of a marked tensor
MARK = "deepcompression"

# the fields that may hold a tensor's elements
DATA = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data")

# ONNX's number of a dtype -> dtype; strings, and dtypes of a later ONNX, stay in the graph
DTYPES = {
    **{1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64"},
    **{12: "U32", 13: "U64", 14: "C64", 15: "C128", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ", 19: "F8_E5M2"},
    **{20: "F8_E5M2FNUZ", 21: "U4", 22: "I4", 23: "F4", 24: "F8_E8M0", 25: "U2", 26: "I2", 27: "F6_E2M3"},
    **{28: "F6_E3M2"},
}


class Place(NamedTuple):
    """A tensor of a model.

    scope  the number of its graph or function; 0 is the main graph
    under  the prefix of its name: nodes and attributes that lead to its graph; empty for the main graph
    name   of an initializer or of the output of a Constant node; None for tensors that stay in the graph: attributes of
           other nodes, and the parts of sparse tensors
    """

    scope: int
    under: str
    name: str | None
    tensor: TensorProto


def holds_graph(names: Container[str], metadata: Mapping[str, str]) -> bool:
    """Whether the tensors of these names are an ONNX model's, with its graph among them as bytes."""
    return GRAPH in names and metadata.items() >= FORMAT.items()


def import_onnx() -> ModuleType:
    """The package onnx. Raises ValueError if it is not installed."""
    try:
        import onnx
    except ImportError:
        raise ValueError("ONNX models are read and written through the package onnx: pip install onnx") from None
    return onnx


def parse_model(onnx: ModuleType, data: bytes) -> ModelProto:
    """The model in serialized bytes. Raises FormatError for other bytes."""
    from google.protobuf.message import DecodeError

    model: ModelProto = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(f"it does not parse: {error}") from None
    if not model.HasField("graph"):
        raise FormatError("there is no graph in it")
    return model


class _Walk:
    """A walk through a model, which numbers the graphs and functions in its order."""

    def __init__(self) -> None:
        self._scopes = count()

    def model(self, model: ModelProto) -> Iterator[Place]:
        yield from self._graph(model.graph, "")
        for function in model.functions:
            under = f"{function.domain}.{function.name}/".removeprefix(".")
            yield from self._nodes(function.node, next(self._scopes), under)
            for attribute in function.attribute_proto:
                yield from self._attribute(attribute, 0, under, None, "")

    def _graph(self, graph: GraphProto, under: str) -> Iterator[Place]:
        scope = next(self._scopes)
        yield from self._nodes(graph.node, scope, under)
        for tensor in graph.initializer:
            yield Place(scope, under, tensor.name or None, tensor)
        for sparse in graph.sparse_initializer:
            yield Place(scope, under, None, sparse.values)
            yield Place(scope, under, None, sparse.indices)

    def _nodes(self, nodes: Iterable[NodeProto], scope: int, under: str) -> Iterator[Place]:
        for node in nodes:
            constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1
            called = node.name or (node.output[0] if node.output else node.op_type)
            for attribute in node.attribute:
                name = node.output[0] if constant and attribute.name == "value" else None
                yield from self._attribute(attribute, scope, under, name or None, called)

    def _attribute(
        self, attribute: AttributeProto, scope: int, under: str, name: str | None, node: str
    ) -> Iterator[Place]:
        if attribute.HasField("t"):
            yield Place(scope, under, name, attribute.t)
        for tensor in attribute.tensors:
            yield Place(scope, under, None, tensor)
        for sparse in [attribute.sparse_tensor] * attribute.HasField("sparse_tensor") + [*attribute.sparse_tensors]:
            yield Place(scope, under, None, sparse.values)
            yield Place(scope, under, None, sparse.indices)
        for graph in [attribute.g] * attribute.HasField("g") + [*attribute.graphs]:
            yield from self._graph(graph, f"{under}{node}.{attribute.name}/")


def places_of(model: ModelProto) -> list[Place]:
    """Every tensor of a model, in the order of its nodes and initializers."""
    return list(_Walk().model(model))


def taken_by(node: NodeProto) -> Iterator[str]:
    """The names of values that a node takes, also in graphs inside it."""
    yield from (name for name in node.input if name)
    for option in node.attribute:
        for graph in (*([option.g] if option.HasField("g") else []), *option.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from taken_by(inner)


def in_order(nodes: Iterable[NodeProto]) -> list[NodeProto]:
    """The nodes, each behind those whose values it takes; otherwise as they are. ONNX Runtime takes any order."""
    own = list(nodes)
    makers = {name: at for at, node in enumerate(own) for name in node.output if name}
    needs = [[makers[name] for name in taken_by(node) if name in makers] for node in own]
    started: set[int] = set()
    found: dict[int, None] = {}
    for first in range(len(own)):
        waiting = [first]
        while waiting:
            at = waiting[-1]
            needed = [] if at in started else [each for each in needs[at] if each not in started]
            started.add(at)
            if needed:
                waiting += reversed(needed)
            else:
                found[waiting.pop()] = None
    return [own[at] for at in found]


def names_of(places: list[Place]) -> list[str]:
    """A unique name for each of these places: its own in the main graph, and with the prefix `under` in others.

    Raises FormatError if one graph has two tensors of one name.
    """
    seen: set[tuple[int, str]] = set()
    for place in places:
        key = place.scope, str(place.name)
        if key in seen:
            raise FormatError(f"a graph in it has two tensors of the name {some([key[1]])}")
        seen.add(key)
    taken = {GRAPH} | {str(place.name) for place in places if place.scope == 0}
    names = []
    for place in places:
        name = wanted = f"{place.under}{place.name}"
        if place.scope or name == GRAPH:
            number = 1
            while name in taken:
                number += 1
                name = f"{wanted}#{number}"
            taken.add(name)
        names.append(name)
    return names


def mark(tensor: TensorProto, name: str) -> None:
    """Replaces the data of a tensor by its name."""
    for field in DATA:
        tensor.ClearField(field)
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key=MARK, value=name)


def fill(tensor: TensorProto, data: bytes) -> None:
    """Puts raw data into a tensor in place of a mark or of external data."""
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    tensor.raw_data = data


def marked(tensor: TensorProto) -> str | None:
    """The name in the mark of a tensor, or None without a mark."""
    return next((entry.value for entry in tensor.external_data if entry.key == MARK), None)
