"""An ONNX model with calibration inputs; ONNX Runtime runs it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcompression.calibration.network import Moments, Outputs, Role, change, held_back
from deepcompression.calibration.onnx_layers import lift_constants, uses_of
from deepcompression.calibration.onnx_parts import PartedGraph, session_of
from deepcompression.checkpoint.onnx.graph import DTYPES, GRAPH, import_onnx, marked, parse_model, places_of
from deepcompression.checkpoint.open import read_tensors
from deepcompression.common.messages import those
from deepcompression.tensors.dtypes import STORAGE, Array, Floats, narrow, widen
from deepcompression.tensors.tensor import DenseTensor, raw_bytes

# The number of inputs that run at once, where the model takes any number.
_BATCH = 8

# The size of errors that measure gains, relative to the root mean square of a weight.
_NUDGE = 0.05


class OnnxNetwork:
    """`Network` of an ONNX model. Needs `onnx` and `onnxruntime`.

    tensors  of the model as a checkpoint, its graph among them
    inputs   by name: arrays whose first axis counts inputs

    Raises ValueError for inputs that are missing, too many, not finite, or of another shape or dtype than the model's,
    and for a model that ONNX Runtime cannot run.
    """

    def __init__(self, tensors: Mapping[str, DenseTensor], inputs: Mapping[str, Array]) -> None:
        self.tensors = tensors
        self.model = _model_of(tensors)
        graph = self.model.graph
        lift_constants(graph, tensors)
        self._initializers = {each.name: each for each in graph.initializer}
        self._arrays, self._at_once = _checked(graph, self._initializers, inputs)
        self.inputs = _batches(self._arrays, self._at_once or _BATCH)
        # small tensors stay in the graph, which does not change
        self._uses = uses_of(graph, tensors)
        self.roles: Mapping[str, Role] = {name: Role(use.layout, use.bias) for name, use in self._uses.items()}
        changing = {*self.roles, *(role.bias for role in self.roles.values() if role.bias is not None)}
        self._weights = {name: self._fed(name, self.weight(name)) for name in changing}
        self._session = self._open([])

    @classmethod
    def open(cls, path: str | os.PathLike[str], inputs: Mapping[str, Array]) -> OnnxNetwork:
        """The network of a model's file."""
        return cls(read_tensors(path)[0], inputs)

    @property
    def count(self) -> int:
        return len(next(iter(self._arrays.values())))

    def split(self) -> tuple[OnnxNetwork, OnnxNetwork | None]:
        # where the model takes a fixed number of inputs, that many are held back together
        size = self._at_once or 1
        held = np.repeat(np.isin(np.arange(self.count // size), held_back(self.count // size)), size)
        return (self._with(~held), self._with(held)) if held.any() else (self, None)

    def _with(self, chosen: NDArray[np.bool_]) -> OnnxNetwork:
        """The network with some of its inputs."""
        network = copy.copy(self)
        network._arrays = {name: array[chosen] for name, array in self._arrays.items()}
        network.inputs = _batches(network._arrays, self._at_once or _BATCH)
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
                yield session.run(names, {**batch, **weights})
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
        uses = {name: self._uses[name] for name in names if self._uses[name].source}
        found = {name: Moments(use.layout) for name, use in uses.items()}
        inputs = {each.name for each in self.model.graph.input}
        computed = [source for source in dict.fromkeys(use.source for use in uses.values()) if source not in inputs]
        session = self._open(computed)
        outputs = computed or [self.model.graph.output[0].name]
        for batch, arrays in zip(self.inputs, self._run(session, outputs, {}), strict=True):
            sources = dict(zip(outputs, arrays, strict=True)) | batch
            for name, use in uses.items():
                use.add(found[name], sources[use.source], len(self.inputs))
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
    """The model of a checkpoint's graph and its other tensors. Raises ValueError where a tensor is missing."""
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


def _batches(arrays: Mapping[str, Array], size: int) -> list[dict[str, Array]]:
    length = len(next(iter(arrays.values())))
    return [{name: array[at : at + size] for name, array in arrays.items()} for at in range(0, length, size)]


def _checked(
    graph: Any, initializers: Mapping[str, Any], inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], int | None]:
    """The inputs, and the number of them that the model takes at once; None if it takes any.

    Raises ValueError for inputs that differ from those of the graph.
    """
    import onnx

    expected = {each.name: each.type.tensor_type for each in graph.input if each.name not in initializers}
    if not inputs:
        raise ValueError(f"there are no calibration inputs; the model takes {', '.join(expected)}")
    if set(inputs) != set(expected):
        raise ValueError(f"calibration inputs are {', '.join(sorted(inputs))}; the model takes {', '.join(expected)}")
    size: int | None = None
    for name, kind in expected.items():
        array = inputs[name]
        shape = [each.dim_value if each.HasField("dim_value") else None for each in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        fits = array.ndim == len(shape) and all(
            want is None or want == found for want, found in zip(shape[1:], array.shape[1:], strict=True)
        )
        if not fits or array.dtype != dtype or not array.ndim:
            wanted = ", ".join("any" if each is None else str(each) for each in [None, *shape[1:]])
            raise ValueError(
                f"calibration input {name} is {array.dtype} {list(array.shape)}; expected {dtype} [{wanted}]"
            )
        if np.issubdtype(array.dtype, np.floating) and (bad := int(np.count_nonzero(~np.isfinite(array)))):
            raise ValueError(f"calibration input {name} has {those(bad, 'value', 'not finite')}: mend the inputs")
        size = size if shape[0] is None else shape[0]
    lengths = {name: len(inputs[name]) for name in expected}
    if len(set(lengths.values())) != 1 or not (length := next(iter(lengths.values()))):
        raise ValueError(f"calibration inputs need one number of rows, and some: found {lengths}")
    if size is not None and length % size:
        raise ValueError(f"the model takes {size} inputs at once; found {length}, which is no multiple")
    return dict(inputs), size
