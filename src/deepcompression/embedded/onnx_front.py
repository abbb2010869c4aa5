"""An ONNX model -> the graph for boards: constants folded, nodes in order, all that is missing named at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepcompression.checkpoint.onnx.graph import (
    GRAPH,
    fill,
    holds_graph,
    import_onnx,
    in_order,
    marked,
    parse_model,
    places_of,
    taken_by,
)
from deepcompression.checkpoint.onnx.read import OnnxCheckpoint
from deepcompression.common.binary import FormatError
from deepcompression.common.messages import listed
from deepcompression.embedded.build import Builder, Named
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.graph import Graph, Shape
from deepcompression.embedded.missing import Gaps
from deepcompression.embedded.onnx_node import Node
from deepcompression.embedded.onnx_operators import OPERATORS
from deepcompression.file.reader import DczFile
from deepcompression.tensors.tensor import raw_bytes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

# The output of these depends on more than constants, or is too large to be made for nothing.
_NOT_FOLDED = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "If", "Loop", "Scan")


def read_model(path: Path) -> ModelProto:
    """The ONNX model of a `.dcz` file or of an .onnx file, with the data of its tensors.

    Raises ValueError, with the remedy, for a file without a graph; FormatError for a damaged one.
    """
    import_onnx()
    if path.suffix == ".onnx":
        with OnnxCheckpoint(path) as source:
            return _filled(source.graph, lambda name: bytes(raw_bytes(source.read(name))))
    with DczFile(path) as file:
        if not holds_graph(file.entries, file.metadata):
            raise ValueError(
                f"{path}: holds tensors without a graph, so nothing says how to run them: make the file of an ONNX "
                "model (dcz compress MODEL.onnx), or name the torch model (--model package.module:factory; in "
                "Python give it, filled by dc.load, to dc.export)"
            )
        return _filled(bytes(raw_bytes(file.read_dense(GRAPH))), lambda name: bytes(raw_bytes(file.read_dense(name))))


def _filled(graph: bytes, read: Callable[[str], bytes]) -> ModelProto:
    model = parse_model(import_onnx(), graph)
    for place in places_of(model):
        if (name := marked(place.tensor)) is not None:
            try:
                fill(place.tensor, read(name))
            except KeyError:
                raise FormatError(f"the graph has a place for {name!r}, but there is no such tensor") from None
    return model


def graph_of_onnx(model: ModelProto, input_shape: Sequence[int] | None = None) -> Graph:
    """The graph of a model with one input and one output, for one input at a time.

    input_shape  of one input with its batch axis, in place of the model's own

    Raises ValueError for several inputs or outputs, for axes of unknown length, and for operators that are missing.
    """
    return _Front(model, input_shape).graph


class _Front:
    def __init__(self, model: ModelProto, input_shape: Sequence[int] | None) -> None:
        graph = model.graph
        self.opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)
        self.model = model
        from onnx import numpy_helper

        self.constants = {each.name: Named(each.name, numpy_helper.to_array(each)) for each in graph.initializer}
        given = [each for each in graph.input if each.name not in self.constants]
        if len(given) != 1 or len(graph.output) != 1:
            raise ValueError(
                f"the model has the inputs {listed(each.name for each in given) or 'none'} and the outputs "
                f"{listed(each.name for each in graph.output) or 'none'}; expected one of each: cut the model with "
                "onnx.utils.extract_model, or export a wrapper that joins them"
            )
        shape, notes = _shape_of(given[0], input_shape)
        self.builder = Builder(given[0].name, shape)
        self.builder.notes += notes
        # values behind a missing operator
        self.unknown: set[str] = set()
        self.gaps = Gaps()
        output = graph.output[0].name
        for node in _needed(in_order(graph.node), output):
            self._take(node)
        if output not in self.builder.shapes and output not in self.constants:
            self.unknown.add(output)
        self.gaps.check(OPERATORS)
        if output in self.constants or output == self.builder.input:
            raise ValueError(f"the output {output} does not depend on a layer: there is nothing to run")
        if output not in self.builder.shapes:
            raise FormatError(f"no node of the graph makes its output {output}")
        self.graph = self.builder.graph(output)

    def _take(self, node: NodeProto) -> None:
        taken = [name for name in node.input if name]
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if kind not in _NOT_FOLDED and all(name in self.constants for name in taken):
            if self._fold(node):
                return
        elif node.op_type == "Shape" and taken[0] in self.builder.shapes:
            first, last = (_attribute(node, "start", 0), _attribute(node, "end", None))
            shape = self.builder.shapes[taken[0]][first:last]
            self.constants[node.output[0]] = Named(node.output[0], np.array(shape, np.int64))
            return
        name = node.name or node.output[0]
        make = OPERATORS.get(kind)
        if make is None:
            self.gaps.add(kind, name)
        elif self.unknown.isdisjoint(taken):
            self.builder.name = name
            try:
                make(Node(self.builder, node, self.constants, self.opset))
                return
            except MissingError as error:
                self.gaps.add(kind, name, str(error))
        self.unknown.update(node.output)

    def _fold(self, node: NodeProto) -> bool:
        """Computes a node whose inputs are constants."""
        import onnx
        from onnx.reference import ReferenceEvaluator

        values = {name: self.constants[name].values for name in node.input if name}
        graph = onnx.helper.make_graph(
            [node],
            "constant",
            [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in values],
            [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
        )
        alone = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, functions=self.model.functions)
        try:
            found = ReferenceEvaluator(alone).run(None, values)
        # the evaluator raises what its operators happen to raise; the operator is then missing
        except Exception:
            return False
        first = next((self.constants[name].name for name in node.input if name), None)
        for name, array in zip([name for name in node.output if name], found, strict=True):
            self.constants[name] = Named(first or name, np.asarray(array))
        return True


def _needed(nodes: list[NodeProto], output: str) -> list[NodeProto]:
    """The nodes, in order, without those on which the output does not depend."""
    needed, found = {output}, []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(taken_by(node))
            found.append(node)
    return found[::-1]


def _attribute(node: NodeProto, name: str, missing: int | None) -> int | None:
    return next((each.i for each in node.attribute if each.name == name), missing)


def _shape_of(given: ValueInfoProto, input_shape: Sequence[int] | None) -> tuple[Shape, list[str]]:
    """The shape of the input, with a batch of 1; and notes."""
    axes = [
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else (axis.dim_param or "?")
        for axis in given.type.tensor_type.shape.dim
    ]
    shown = f"[{', '.join(map(str, axes))}]"
    if input_shape is not None:
        shape = tuple(map(int, input_shape))
        fits = not axes or (
            len(axes) == len(shape)
            and all(isinstance(axis, str) or axis == size for axis, size in zip(axes, shape, strict=True))
        )
        if not fits or min(shape, default=1) < 1:
            raise ValueError(
                f"the input {given.name} has the shape {shown}; an input shape of {list(shape)} is not one"
            )
        return shape, []
    notes = []
    if axes and isinstance(axes[0], str):
        notes.append(
            f"the first axis of {given.name}, {axes[0]}, was taken as the batch: boards run one input at a time"
        )
        axes[0] = 1
    if open_axes := [str(axis) for axis in axes if isinstance(axis, str)]:
        raise ValueError(
            f"the input {given.name} has the shape {shown}, and the length of {listed(open_axes)} is open: boards need "
            "every length; give the input shape (--input-shape 1,3,32,32; input_shape in Python)"
        )
    if not axes:
        raise ValueError(f"the model does not say the shape of its input {given.name}: give the input shape")
    return tuple(int(axis) for axis in axes), notes
