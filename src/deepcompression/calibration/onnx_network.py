"""An ONNX model with calibration inputs; ONNX Runtime runs it."""

from __future__ import annotations

import copy
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from deepcompression.calibration.network import Moments, Outputs, Role, change, held_back
from deepcompression.calibration.onnx_branches import inline_branches
from deepcompression.calibration.onnx_layers import lift_constants, uses_of
from deepcompression.calibration.onnx_parts import PartedGraph, fed, session_of
from deepcompression.calibration.runs import Expected, by_position, inputs_of
from deepcompression.checkpoint.onnx.graph import (
    DTYPES,
    GRAPH,
    import_onnx,
    in_order,
    marked,
    parse_model,
    places_of,
)
from deepcompression.checkpoint.open import read_tensors
from deepcompression.tensors.dtypes import STORAGE, Array, Floats, narrow, widen
from deepcompression.tensors.tensor import DenseTensor, raw_bytes

# The number of inputs that run at once, where the model takes any number.
_BATCH = 8

# The size of errors that measure gains, relative to the root mean square of a weight.
_NUDGE = 0.05


class OnnxNetwork:
    """`Network` of an ONNX model. Needs `onnx` and `onnxruntime`.

    tensors  of the model as a checkpoint, its graph among them
    inputs   by name: arrays that `inputs_of` cuts into the inputs of each run

    Raises ValueError for inputs that are missing, too many, not finite, or of another shape or dtype than the model's,
    and for a model that ONNX Runtime cannot run.
    """

    def __init__(self, tensors: Mapping[str, DenseTensor], inputs: Mapping[str, Array]) -> None:
        self.tensors = tensors
        self.model = _model_of(tensors)
        graph = self.model.graph
        expected = _expected(graph, {each.name for each in graph.initializer}, inputs)
        self._inputs = inputs_of(_by_name(inputs, expected), expected)
        self.inputs = self._inputs.runs(_BATCH)
        inline_branches(self.model, tensors, self.inputs)
        lift_constants(graph, tensors)
        self._initializers = {each.name: each for each in graph.initializer}
        # small tensors stay in the graph, which does not change
        self._uses = uses_of(graph, tensors)
        self.roles: Mapping[str, Role] = {name: Role(use.layout, use.bias) for name, use in self._uses.items()}
        changing = {*self.roles, *(role.bias for role in self.roles.values() if role.bias is not None)}
        self._weights = {name: self._fed(name, self.weight(name)) for name in changing}
        if weights := sorted(self._weights.keys() & expected):
            raise ValueError(f"{weights[0]} is a weight of the model, no calibration input: leave it out")
        self._session = self._open([])

    @classmethod
    def open(cls, path: str | os.PathLike[str], inputs: Mapping[str, Array]) -> OnnxNetwork:
        """The network of a model's file."""
        return cls(read_tensors(path)[0], inputs)

    @property
    def count(self) -> int:
        return self._inputs.count

    def split(self) -> tuple[OnnxNetwork, OnnxNetwork | None]:
        # where the model takes a fixed number of inputs, that many are held back together
        held = held_back(len(self._inputs.parts))
        if not len(held):
            return self, None
        seen = sorted({*range(len(self._inputs.parts))}.difference(held.tolist()))
        return self._with(seen), self._with(held.tolist())

    def _with(self, numbers: list[int]) -> OnnxNetwork:
        """The network with some of its inputs."""
        network = copy.copy(self)
        network._inputs = self._inputs.chosen(numbers)
        network.inputs = network._inputs.runs(_BATCH)
        return network

    def dtype(self, name: str) -> str:
        return DTYPES[self._initializers[name].data_type]

    def weight(self, name: str) -> Array:
        from onnx import numpy_helper

        dtype = self.dtype(name)
        elements = np.ascontiguousarray(numpy_helper.to_array(self._initializers[name]))
        # NumPy itself has no bfloat16
        return widen(elements.view(STORAGE[dtype]), dtype)

    def _open(self, outputs: list[str]) -> Any:
        """A session with these outputs besides the graph's. Its weights are inputs, so that they can be replaced."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        kept = [each for each in graph.initializer if each.name not in self._weights]
        for name in self._weights.keys() - {each.name for each in graph.input}:
            found = self._initializers[name]
            graph.input.append(onnx.helper.make_tensor_value_info(name, found.data_type, list(found.dims)))
        del graph.initializer[:]
        graph.initializer.extend(kept)
        own = {each.name for each in graph.output}
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in own)
        return session_of(model)

    def _fed(self, name: str, values: Array) -> Any:
        """Values of a weight as a session takes them: in the weight's own dtype."""
        from onnxruntime import OrtValue

        kind, dtype = self._initializers[name].data_type, self.dtype(name)
        elements = np.ascontiguousarray(narrow(values, dtype))
        return OrtValue.ortvalue_from_numpy_with_onnx_type(elements, kind) if dtype == "BF16" else elements

    def _run(self, session: Any, names: list[str], replaced: Mapping[str, Array]) -> Iterator[list[Array]]:
        weights = self._weights | {name: self._fed(name, np.asarray(values)) for name, values in replaced.items()}
        for number, batch in enumerate(self.inputs):
            try:
                yield session.run(names, fed(batch) | weights)
            except Exception as error:  # ONNX Runtime's own classes are not public
                raise ValueError(f"calibration batch {number} does not fit the model: {error}") from error

    def outputs(self, replaced: Mapping[str, Array]) -> Outputs:
        if not replaced.keys() <= self._weights.keys():
            return self._remade(replaced).outputs({})
        names = [output.name for output in self.model.graph.output]
        return _named(names, self._run(self._session, names, replaced))

    def _remade(self, replaced: Mapping[str, Array]) -> OnnxNetwork:
        """The network with other tensors in its graph: any, not only the weights that can be fitted."""
        dtypes = {name: self.tensors[name].dtype for name in replaced}
        made = {name: DenseTensor(dtypes[name], narrow(values, dtypes[name])) for name, values in replaced.items()}
        network = copy.copy(self)
        network.tensors = {**self.tensors, **made}
        network.model = _model_of(network.tensors)
        lift_constants(network.model.graph, network.tensors)
        network._initializers = {each.name: each for each in network.model.graph.initializer}
        network._weights = {}
        network._session = network._open([])
        return network

    def moments(self, names: Iterable[str]) -> dict[str, Moments]:
        from onnx import numpy_helper

        uses = {name: self._uses[name] for name in names if self._uses[name].source}
        found = {name: Moments(use.layout) for name, use in uses.items()}
        inputs = {each.name for each in self.model.graph.input}
        needed = dict.fromkeys(name for use in uses.values() for name in use.sources())
        constants = {
            name: numpy_helper.to_array(self._initializers[name]) for name in needed if name in self._initializers
        }
        computed = [name for name in needed if name not in inputs and name not in constants]
        session = self._open(computed)
        outputs = computed or [self.model.graph.output[0].name]
        for batch, arrays in zip(self.inputs, self._run(session, outputs, {}), strict=True):
            values = constants | dict(zip(outputs, arrays, strict=True)) | batch
            for name, use in uses.items():
                use.add(found[name], values, len(self.inputs))
        return {name: each for name, each in found.items() if each.count}

    def gains(self, names: Iterable[str]) -> dict[str, Floats]:
        """Gains by a random error of one weight at a time; only the nodes behind it run again."""
        parts = PartedGraph(self.model, self.inputs)
        numbers = {name: number for number, name in enumerate(names)}
        outputs = [output.name for output in self.model.graph.output]
        exact = _named(outputs, parts.outputs({}))
        gains = {}
        for name in sorted(numbers, key=parts.first_use):
            weight = self.weight(name).astype(np.float64)
            size = _NUDGE * float(np.sqrt(np.square(weight).mean())) if weight.size else 0.0
            error = np.random.default_rng(numbers[name]).standard_normal(weight.shape) * size
            parts.advance(parts.first_use(name))
            found = change(_named(outputs, parts.outputs({name: weight + error})), exact)
            energy = float(np.square(error).sum())
            gains[name] = np.array(found**2 / energy if energy else 0.0, np.float32)
        return gains


def _model_of(tensors: Mapping[str, DenseTensor]) -> Any:
    """The model of a checkpoint's graph and its other tensors, with its nodes in order. Raises ValueError where a
    tensor is missing.
    """
    model = parse_model(import_onnx(), tensors[GRAPH].elements.tobytes())
    for place in places_of(model):
        name = marked(place.tensor)
        if name is None:
            continue
        if name not in tensors:
            raise ValueError(f"the graph has a place for {name}, but there is no such tensor")
        place.tensor.ClearField("external_data")
        place.tensor.ClearField("data_location")
        place.tensor.raw_data = bytes(raw_bytes(tensors[name]))
    nodes = in_order(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _named(names: list[str], batches: Iterable[list[Array]]) -> Outputs:
    """The outputs of all batches by name, flat. Raises ValueError if none has floats."""
    parts: dict[str, list[Array]] = {name: [] for name in names}
    for arrays in batches:
        for name, array in zip(names, arrays, strict=True):
            # sequences and maps are no arrays
            if isinstance(array, np.ndarray) and array.dtype.kind in "fiub":
                parts[name].append(array.reshape(-1))
    found = {name: np.concatenate(each) for name, each in parts.items() if each}
    if not any(np.issubdtype(each.dtype, np.floating) for each in found.values()):
        raise ValueError("the model gives no floating-point output")
    return found


def _expected(graph: Any, initializers: Container[str], given: Container[str]) -> dict[str, Expected]:
    """The inputs of a graph that need arrays: all but those with a value of their own that are not given. Raises
    ValueError for inputs that are no tensors.
    """
    import onnx

    found = {}
    for each in graph.input:
        if each.name in initializers and each.name not in given:
            continue
        if (kind := each.type.WhichOneof("value")) != "tensor_type":
            raise ValueError(
                f"the model's input {each.name} is of the kind {str(kind).removesuffix('_type')}; calibration feeds "
                "tensors alone: export the model with tensors as inputs"
            )
        of = each.type.tensor_type
        # exporters write 0 and -1 for sizes that they do not know
        sizes = tuple(axis.dim_value if axis.dim_value > 0 else None for axis in of.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(of.elem_type)
        found[each.name] = Expected(dtype, sizes if of.HasField("shape") else None)
    return found


def _by_name(inputs: Mapping[str, Array], expected: Mapping[str, Expected]) -> dict[str, Array]:
    """The arrays by the names of the graph's inputs: texts as objects, float32 in dtypes that NumPy lacks. Raises
    ValueError for missing ones and for others.
    """
    if not inputs:
        raise ValueError(f"there are no calibration inputs; the model takes {', '.join(expected)}")
    ordered = by_position(inputs)
    if len(ordered) == len(expected) and set(inputs) != set(expected):
        inputs = dict(zip(expected, ordered, strict=True))
    if set(inputs) != set(expected):
        raise ValueError(f"calibration inputs are {', '.join(sorted(inputs))}; the model takes {', '.join(expected)}")
    found = dict(inputs)
    for name, each in expected.items():
        assert each.dtype is not None
        text = each.dtype == np.dtype(object) and found[name].dtype.kind in "US"
        if text or (each.dtype.kind == "V" and found[name].dtype == np.float32):
            found[name] = found[name].astype(each.dtype)
    return found
