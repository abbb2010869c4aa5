"""Tensors that are no weights by their structure: packed codes, what belongs to them, and what scales or shifts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deepcompression.checkpoint.packed_codes import beside_codes
from deepcompression.tensors.dtypes import Array, Shape
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

if TYPE_CHECKING:
    from torch.nn import Module

# torch's weight_norm: the ending of a length's name -> that of the direction it scales
_DIRECTIONS = {"_g": "_v", ".original0": ".original1"}


def elementwise_among(shapes: Mapping[str, Shape]) -> set[str]:
    """The names of tensors of two or more dimensions that scale or shift others, by the shapes of all.

    Such a tensor has one axis longer than one, and either three or more dimensions and another name than `weight`, or
    beside it what it scales: a `weight` along whose axis it lies, or a direction, as weight_norm names it. A weight and
    a bias of one shape are elementwise, too: a normalisation's.
    """
    return {name for name, shape in shapes.items() if len(shape) >= 2 and _is_elementwise(name, shape, shapes)}


def _is_elementwise(name: str, shape: Shape, shapes: Mapping[str, Shape]) -> bool:
    module, dot, local = name.rpartition(".")
    if local in ("weight", "bias") and all(shapes.get(f"{module}{dot}{each}") == shape for each in ("weight", "bias")):
        return True
    if sum(size != 1 for size in shape) > 1:
        return False
    if len(shape) >= 3 and local != "weight":
        return True
    scaled = [f"{module}{dot}weight"]
    scaled += [f"{name.removesuffix(end)}{other}" for end, other in _DIRECTIONS.items() if f".{name}".endswith(end)]
    return any(each != name and _lies_along(shape, shapes.get(each, ())) for each in scaled)


def _lies_along(shape: Shape, other: Shape) -> bool:
    return len(shape) == len(other) and all(size in (1, n) for size, n in zip(shape, other, strict=True))


def elementwise_in_onnx(tensors: Mapping[str, Any]) -> set[str] | None:
    """The same of an ONNX model, whose nodes decide; None for other tensors and for a graph that is not among them."""
    from deepcompression.checkpoint.onnx.graph import GRAPH

    if isinstance(graph := tensors.get(GRAPH), DenseTensor | CompressedTensor):
        from deepcompression.checkpoint.onnx.quantized import elementwise_by_nodes

        return elementwise_by_nodes(graph.dense().elements.tobytes())
    known = {name: getattr(each, "elementwise", None) for name, each in tensors.items()}
    return {name for name, own in known.items() if own} if any(own is not None for own in known.values()) else None


def normalises(module: Module) -> bool:
    """Whether the tensors of a module scale and shift its inputs, element by element."""
    return hasattr(module, "normalized_shape")


def packed_among(tensors: Mapping[str, Any]) -> set[str]:
    """The names of packed codes, and of what belongs to them, among tensors of a model or of an ONNX model.

    Entries, which have no data, are not looked at: their checkpoint knows its own.
    """
    from deepcompression.checkpoint.onnx.graph import GRAPH

    own = {name: each for name, each in tensors.items() if isinstance(each, DenseTensor | CompressedTensor)}
    if GRAPH in own:
        from deepcompression.checkpoint.onnx.quantized import quantized_by_nodes

        found: Iterable[list[str]] = quantized_by_nodes(own[GRAPH].dense().elements.tobytes())
    else:
        entries = {name: TensorEntry(name, each.dtype, each.shape) for name, each in own.items()}
        found = beside_codes(entries, lambda name: own[name].dense().elements)
    return {name for parts in found for name in parts}


def packed_in_model(own: Mapping[str, tuple[Module, str]]) -> set[str]:
    """The same among the tensors of a model, by their places."""
    from deepcompression.tensors.from_torch import DTYPE_NAMES

    tensors: dict[str, Any] = {}
    for name, (module, local) in own.items():
        # what is computed from others is a weight of its module
        if local not in getattr(module, "parametrizations", ()):
            tensors[name] = getattr(module, local)
    entries = {}
    for name, tensor in tensors.items():
        dtype = DTYPE_NAMES.get(tensor.dtype, "F8_E4M3" if "float" in str(tensor.dtype) else "BOOL")
        entries[name] = TensorEntry(name, dtype, tuple(tensor.shape))

    def read(name: str) -> Array | None:
        tensor = tensors[name]
        # another class has its elements elsewhere, as sharded tensors do
        here = not tensor.is_meta and type(tensor).__name__ in ("Tensor", "Parameter")
        return tensor.detach().cpu().numpy() if here else None

    return {name for parts in beside_codes(entries, read) for name in parts}
