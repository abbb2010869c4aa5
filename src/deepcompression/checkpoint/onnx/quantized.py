"""What the nodes of an ONNX graph say of its tensors: codes with their scales, and elementwise tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from deepcompression.checkpoint.onnx.graph import (
    DTYPES,
    import_onnx,
    in_order,
    marked,
    parse_model,
    places_of,
)

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

# Operators that keep the values of their first input, or unpack the bits of codes.
_VIEWS = {
    *("Identity", "Cast", "CastLike", "BitCast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice"),
    *("Split", "Gather", "GatherND", "GatherElements", "Compress", "Expand", "Tile", "Pad", "DepthToSpace"),
    *("SpaceToDepth", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "Mod"),
}
_SHIFTS, _SCALINGS = ("Add", "Sub"), ("Mul", "Div")

# Operators of layers: their outputs for codes, multiplied by a scale, are those for weights.
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "MatMulInteger", "ConvInteger")

# Their inputs are what they quantize, its scale and its zero point.
_BOUNDARIES = ("QuantizeLinear", "DequantizeLinear")

# Operators of layers -> their inputs that may be weights, which they multiply by; Einsum multiplies all.
_FACTORS = {
    **dict.fromkeys(("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "TransposeMatMul"), (0, 1)),
    **dict.fromkeys(("Conv", "ConvTranspose", "DeformConv", "FusedConv", "Attention"), (1,)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (1, 2)),
    "Einsum": tuple(range(64)),
}
_CONVOLUTIONS = ("Conv", "ConvTranspose", "DeformConv", "FusedConv")
_LOOK_UPS = ("Gather", "GatherND", "GatherElements")

# Operators -> their inputs that scale or shift values, in whatever shape: biases, peepholes, gains, cosines and sines.
_BESIDES = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (3, 7)),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "InstanceNormalization"), (1, 2)),
    **dict.fromkeys(("RMSNormalization", "SimplifiedLayerNormalization"), (1, 2)),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), (2, 3, 4)),
    "RotaryEmbedding": (1, 2, 3),
    "GroupQueryAttention": (7, 8),
}

# dtypes of more than 8 bits that hold codes only where they are large
_WIDE = ("I16", "U16", "I32", "U32", "I64", "U64")
_OTHERS = ("F64", "F32", "F16", "BF16", "BOOL", "C64")


class _Value(NamedTuple):
    """A value that is made of weights.

    tensors   their names; small tensors and those of rare dtypes have none
    codes     it consists of codes, or is a product of them
    narrow    the codes have at most 8 bits, and nothing has been computed from them
    computed  inputs of the model have a part in it
    """

    tensors: frozenset[str]
    codes: bool = False
    narrow: bool = False
    computed: bool = False


_Values = list[_Value | None]
_Names = dict[str, _Value | None]


def quantized_by_nodes(graph: bytes) -> list[list[str]]:
    """The names of each quantized weight's parts: codes, and all that scales and shifts them.

    graph  a serialized ModelProto, with marks in place of tensors

    A node that takes codes of at most 8 bits decodes them: the constants beside them belong to them. So do scales and
    zero points of QuantizeLinear and DequantizeLinear, and constants that scale and shift codes or their products.
    They are found through operators that keep values, in subgraphs and in functions.
    """
    model = parse_model(import_onnx(), graph)
    walk = _Walk(model)
    walk.graph(model.graph, {}, [])
    return [sorted(parts) for parts in walk.found.values() if parts]


def elementwise_by_nodes(graph: bytes) -> set[str]:
    """The names of tensors of two or more dimensions that scale or shift others, element by element.

    graph  a serialized ModelProto, with marks in place of tensors

    Such a tensor has at most one axis longer than one, and no layer multiplies by it or looks rows up in it. Of any
    shape are the biases and peepholes of recurrent layers, the gains of normalisations, and what multiplies or divides
    computed values.
    """
    model = parse_model(import_onnx(), graph)
    walk = _Walk(model)
    walk.graph(model.graph, {}, [])
    shapes = {name: each.tensor.dims for each in places_of(model) if (name := marked(each.tensor)) is not None}
    lines = {name for name, shape in shapes.items() if sum(size != 1 for size in shape) < 2}
    found = walk.besides | (walk.scales | lines) - walk.factors
    return {name for name in found if len(shapes[name]) >= 2}


class _Walk:
    """A walk through the nodes of a model, each behind those whose values it takes.

    found    the parts of each quantized weight
    factors  the tensors that layers multiply by or look rows up in
    scales   those that multiply or divide computed values
    besides  those that are known to scale or shift by their place among the inputs
    """

    def __init__(self, model: ModelProto) -> None:
        self.found: dict[frozenset[str], set[str]] = {}
        self.factors: set[str] = set()
        self.scales: set[str] = set()
        self.besides: set[str] = set()
        self._functions = {(each.domain, each.name): each for each in model.functions}
        self._calls: dict[tuple[str, str, tuple[_Value | None, ...]], _Values] = {}

    def graph(self, graph: GraphProto, outer: Mapping[str, _Value | None], inputs: _Values) -> _Values:
        """The values of a graph's outputs; subgraphs see the names of `outer`."""
        names: _Names = dict(outer)
        names.update((each.name, None) for each in graph.input)
        names.update((each.name, value) for each, value in zip(graph.input, inputs, strict=False))
        names.update((each.name, _value_of(each)) for each in graph.initializer)
        self._nodes(graph.node, names)
        return [names.get(output.name) for output in graph.output]

    def _nodes(self, nodes: Iterable[NodeProto], names: _Names) -> None:
        for node in in_order(nodes):
            inputs = [names.get(name) for name in node.input]
            outputs = self._outputs(node, inputs, names)
            names.update(zip(node.output, outputs + [None] * len(node.output), strict=False))

    def _outputs(self, node: NodeProto, inputs: _Values, names: _Names) -> _Values:
        if (function := self._functions.get((node.domain, node.op_type))) is not None:
            return self._call(function, tuple(inputs))
        kind = node.op_type
        if kind == "Constant":
            return [_value_of(each.t) for each in node.attribute if each.HasField("t")]
        graphs = [graph for each in node.attribute for graph in (*[each.g] * each.HasField("g"), *each.graphs)]
        if graphs:
            branches = [self.graph(graph, names, inputs if kind != "If" else []) for graph in graphs]
            return [_joined(values) for values in zip(*branches, strict=False)] if kind == "If" else []
        self._see(kind, inputs)
        if kind == "Concat":
            return [_joined(inputs)]
        if kind in _VIEWS:
            return inputs[:1] * len(node.output)
        if kind in (*_SHIFTS, *_SCALINGS):
            return [self._combined(kind, inputs)]
        known = [each for each in inputs if each is not None and not each.computed]
        if kind in _BOUNDARIES:
            scales = [each for each in inputs[1:] if each is not None]
            self._add([each for each in inputs[:1] if each is not None and each.codes], scales)
        elif codes := [each for each in known if each.narrow]:
            self._add(codes, known)
        if kind in _PRODUCTS and (codes := [each for each in inputs if each is not None and each.codes]):
            return [_Value(codes[0].tensors, codes=True, computed=True)]
        return []

    def _see(self, kind: str, inputs: _Values) -> None:
        """Notes how a node uses the tensors among its inputs."""
        for at, each in enumerate(inputs):
            if each is None:
                continue
            # a convolution's weights may depend on its inputs
            if at in _FACTORS.get(kind, ()) and (not each.computed or (at and kind in _CONVOLUTIONS)):
                self.factors |= each.tensors
            if at in _BESIDES.get(kind, ()):
                self.besides |= each.tensors
        computed = [each is None or each.computed for each in inputs]
        if kind in _LOOK_UPS and inputs[0] is not None and any(computed[1:]):
            self.factors |= inputs[0].tensors
        if kind in (*_SCALINGS, "Pow") and any(computed):
            self.scales.update(*(each.tensors for each in inputs if each is not None and not each.computed))

    def _call(self, function: FunctionProto, inputs: tuple[_Value | None, ...]) -> _Values:
        call = function.domain, function.name, inputs
        if call not in self._calls:
            # a function that calls itself is not sound: it gives nothing
            self._calls[call] = []
            names: _Names = dict(zip(function.input, inputs, strict=False))
            self._nodes(function.node, names)
            self._calls[call] = [names.get(name) for name in function.output]
        return self._calls[call]

    def _combined(self, kind: str, inputs: _Values) -> _Value | None:
        """The value of a sum or product of elements."""
        known = [each for each in inputs if each is not None]
        codes = [each for each in known if each.codes]
        computed = len(known) < len(inputs) or any(each.computed for each in known)
        if codes:
            self._add(codes[:1], [each for each in known if each is not codes[0]])
            # scaled products are ordinary values; constants of codes may be scaled and shifted again
            ended = computed and (kind in _SCALINGS or not codes[0].computed)
            return None if ended else codes[0]._replace(narrow=False, computed=computed)
        return _Value(frozenset().union(*(each.tensors for each in known)), computed=computed) if known else None

    def _add(self, codes: list[_Value], others: list[_Value]) -> None:
        own = frozenset().union(*(each.tensors for each in codes))
        sides = frozenset().union(*(each.tensors for each in others))
        self.found.setdefault(own or sides, set()).update(own, sides)


def _joined(values: Iterable[_Value | None]) -> _Value | None:
    """The value that consists of others; None if one of them is no weight's."""
    known = list(values)
    found = [each for each in known if each is not None]
    if not found or len(found) < len(known):
        return None
    return _Value(
        frozenset().union(*(each.tensors for each in found)),
        *(any(getattr(each, flag) for each in found) for flag in ("codes", "narrow", "computed")),
    )


def _value_of(tensor: TensorProto) -> _Value:
    name = marked(tensor)
    dtype = DTYPES.get(tensor.data_type, "")
    narrow = dtype not in (*_WIDE, *_OTHERS) and tensor.data_type != tensor.STRING
    codes = narrow or (dtype in _WIDE and name is not None)
    return _Value(frozenset([name] if name is not None else []), codes, narrow)
