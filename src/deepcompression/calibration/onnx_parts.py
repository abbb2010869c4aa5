"""An ONNX graph that runs in parts: up to the use of a weight, then on to the outputs with the weight replaced."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from deepcompression.checkpoint.onnx.graph import DTYPES, taken_by
from deepcompression.tensors.dtypes import Array, narrow

# Operators that change only the dtype, the name or the order of axes.
_VIEWS = ("Cast", "Identity", "Transpose")

# Parts of the names of dtypes for which ONNX Runtime makes no arrays.
_NO_ARRAYS = ("bfloat16", "float8", "float4", "int4")


class PartedGraph:
    """A graph that runs once from the inputs to the outputs, with stops.

    model   an onnx.ModelProto, which does not change
    inputs  batches by name
    at      the number of the next node
    values  of each batch: those that nodes from `at` on need

    Views of initializers are no nodes of their own: they run with the nodes that take them.
    """

    def __init__(self, model: Any, inputs: Iterable[Mapping[str, Array]]) -> None:
        self.model = model
        self.values = [dict(batch) for batch in inputs]
        self.at = 0
        self._initializers = {each.name: each for each in model.graph.initializer}
        self._views = views_of(model.graph.node, self._initializers)
        self.nodes = [node for node in model.graph.node if not (node.output and node.output[0] in self._views)]
        self._outputs = [output.name for output in model.graph.output]
        self._taken = [self._with_viewed(taken_by(node)) for node in self.nodes]

    def _with_viewed(self, names: Iterable[str]) -> set[str]:
        """Names of values, and of the values that they are views of."""
        found: set[str] = set()
        for name in names:
            found.add(name)
            while name in self._views:
                name = self._views[name].input[0]
                found.add(name)
        return found

    def first_use(self, name: str) -> int:
        """The number of the first node that takes a weight."""
        return next(number for number, taken in enumerate(self._taken) if name in taken)

    def advance(self, to: int) -> None:
        """Runs up to a node behind `at`. Stays if NumPy cannot hold the values that nodes from there on need."""
        made = {name for node in self.nodes[self.at : to] for name in node.output if name}
        needed = set(self._outputs).union(*self._taken[to:])
        wanted = sorted(made & needed)
        kept = needed & set(self.values[0])
        try:
            found = [dict(zip(wanted, arrays, strict=True)) for arrays in self._run(self.at, to, wanted, {})]
        except NoArrayError:
            return
        if any(not isinstance(value, np.ndarray) for batch in found for value in batch.values()):
            return
        for before, batch in zip(self.values, found, strict=True):
            batch.update((name, before[name]) for name in kept)
        self.values, self.at = found, to

    def outputs(self, replaced: Mapping[str, Array]) -> Iterator[list[Array]]:
        """The outputs of each batch, with some weights replaced that nodes before `at` do not use."""
        own = [name for name in self._outputs if name not in self.values[0]]
        for batch, arrays in zip(self.values, self._run(self.at, len(self.nodes), own, replaced), strict=True):
            found = dict(zip(own, arrays, strict=True))
            yield [found[name] if name in found else batch[name] for name in self._outputs]

    def _run(self, start: int, end: int, wanted: list[str], replaced: Mapping[str, Array]) -> Iterator[list[Array]]:
        """Runs nodes start to end. Weights are constants, which ONNX Runtime may lay out as it likes."""
        if not wanted:
            yield from ([] for _ in self.values)
            return
        session = session_of(self._part(start, end, wanted, replaced))
        names = [each.name for each in session.get_inputs()]
        for batch in self.values:
            yield session.run(wanted, fed({name: batch[name] for name in names}))

    def _part(self, start: int, end: int, wanted: list[str], replaced: Mapping[str, Array]) -> Any:
        import onnx

        part = onnx.ModelProto()
        part.ir_version = self.model.ir_version
        part.opset_import.extend(self.model.opset_import)
        part.functions.extend(self.model.functions)
        taken = self._with_viewed(wanted).union(*self._taken[start:end])
        part.graph.name = self.model.graph.name or "part"
        part.graph.node.extend(node for name, node in self._views.items() if name in taken)
        part.graph.node.extend(self.nodes[start:end])
        part.graph.sparse_initializer.extend(self.model.graph.sparse_initializer)
        for name in sorted(taken & self._initializers.keys()):
            if name in replaced:
                kind = self._initializers[name].data_type
                data = narrow(replaced[name], DTYPES[kind]).tobytes()
                part.graph.initializer.append(onnx.helper.make_tensor(name, kind, replaced[name].shape, data, raw=True))
            elif name not in self.values[0]:
                part.graph.initializer.append(self._initializers[name])
        for name in sorted(taken & self.values[0].keys()):
            shapes = [batch[name].shape for batch in self.values]
            kind = onnx.helper.np_dtype_to_tensor_dtype(self.values[0][name].dtype)
            alike = [sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)]
            part.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, alike))
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return part


def fed(batch: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays as a session takes them; those of dtypes beyond NumPy's own in values of its own."""
    import onnx
    from onnxruntime import OrtValue

    return {
        name: OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(f"u{array.itemsize}"), onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        )
        if array.dtype.kind == "V"
        else array
        for name, array in batch.items()
    }


def session_of(model: Any) -> Any:
    """A session on the CPU.

    Raises ValueError for a model that cannot run there, NoArrayError for outputs that NumPy cannot hold.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes are not public
        raise ValueError(
            f"ONNX Runtime cannot run the model on the CPU: {error}; if it lacks a dtype, export the model to "
            "compute in float32 (its weights may stay as they are, behind Cast)"
        ) from error
    for output in session.get_outputs():
        if any(word in output.type for word in _NO_ARRAYS):
            raise NoArrayError(
                f"the output {output.name} is a {output.type}, which NumPy cannot hold: export it as float32"
            )
    return session


class NoArrayError(ValueError):
    """ONNX Runtime makes no arrays for the dtype of a value."""


def views_of(nodes: Iterable[Any], names: Container[str]) -> dict[str, Any]:
    """Value -> the node that makes it, for views of tensors of these names and for views of views."""
    views: dict[str, Any] = {}
    for node in nodes:
        if node.op_type in _VIEWS and (node.input[0] in names or node.input[0] in views):
            views[node.output[0]] = node
    return views
