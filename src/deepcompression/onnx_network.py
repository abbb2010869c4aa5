"""An ONNX model with calibration inputs, as data-aware compression sees it; run by ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepcompression.checkpoint import open_checkpoint, read_tensors
from deepcompression.metric import Floats
from deepcompression.network import Layout, Moments, Target, change
from deepcompression.onnx_parts import Parts
from deepcompression.tensor import Array, DenseTensor, Tensor

# So many inputs are run at once, where the model takes any number.
_BATCH = 8

# Errors by which gains are measured, in parts of the root mean square of a weight.
_NUDGE = 0.05

_HIDDEN = ("GRU", "LSTM", "RNN")


class _Use(NamedTuple):
    """Where a weight is used.

    node    whose weight it is
    source  the tensor that it is multiplied by
    hidden  the weight is that of a recurrent layer's own states: `source` are its outputs
    """

    node: Any
    layout: Layout
    source: str
    bias: str | None = None
    hidden: bool = False


class OnnxNetwork:
    """`Network` of an ONNX model. Needs `onnx` and `onnxruntime`.

    model   its path
    inputs  by name: arrays whose first axis counts inputs

    Raises ValueError for inputs that are missing, too many, not finite, or of another shape or dtype than the model's.
    """

    def __init__(self, model: str | os.PathLike[str], inputs: Mapping[str, Array]) -> None:
        import onnx

        self._path = Path(model)
        self.model = onnx.load(self._path)
        graph = self.model.graph
        with open_checkpoint(self._path) as source:
            # small tensors stay in the graph, which is kept as it is
            self._stored = set(source.entries)
        _lift_constants(graph, self._stored)
        self._initializers = {each.name: each for each in graph.initializer}
        self.inputs = _checked(graph, self._initializers, inputs)
        self._uses: dict[str, _Use] = {}
        for name, use in self._found(graph):
            if name in self._uses:
                # used twice: known by its gain alone
                self._uses[name] = use._replace(source="", bias=None)
            else:
                self._uses[name] = use
        self.targets: Mapping[str, Target] = {n: Target(use.layout, use.bias) for n, use in self._uses.items()}
        self._session = self._open([output.name for output in graph.output])

    def tensors(self) -> Mapping[str, Tensor]:
        """Those of the model as a checkpoint, its graph among them."""
        return read_tensors(self._path)[0]

    def dtype(self, name: str) -> str:
        return DenseTensor.from_numpy(self._array(name)).dtype

    def weight(self, name: str) -> Array:
        return self._array(name)

    def _array(self, name: str) -> Array:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._initializers[name]))

    def _weight_like(self, name: str) -> bool:
        found = self._initializers.get(name)
        return name in self._stored and found is not None and found.data_type in (1, 10, 11) and len(found.dims) >= 2

    def _found(self, graph: Any) -> Iterator[tuple[str, _Use]]:
        """Weights by the operators that multiply by them, or take rows of them."""
        readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        outputs = {output.name for output in graph.output}
        for node in graph.node:
            given = list(node.input)
            weights = [(at, name) for at, name in enumerate(given) if self._weight_like(name)]
            options = {each.name: each for each in node.attribute}
            for at, name in weights:
                shape = tuple(self._initializers[name].dims)
                if node.op_type == "MatMul" and at == 1 and len(shape) == 2:
                    only = readers.get(node.output[0], [])
                    alone = len(only) == 1 and only[0].op_type == "Add" and node.output[0] not in outputs
                    bias = self._bias(only[0].input, node.output[0], shape[1]) if alone else None
                    yield name, _Use(node, Layout.of(shape, transposed=True), given[0], bias)
                elif node.op_type == "Gemm" and at == 1 and not _number(options, "transA", 0):
                    ordinary = all(_number(options, key, 1.0) == 1.0 for key in ("alpha", "beta"))
                    turned = not _number(options, "transB", 0)
                    rows = shape[1] if turned else shape[0]
                    bias = self._bias(given[2:], "", rows) if ordinary else None
                    yield name, _Use(node, Layout.of(shape, transposed=turned), given[0], bias)
                elif node.op_type == "Conv" and at == 1:
                    bias = self._bias(given[2:], "", shape[0])
                    yield name, _Use(node, Layout.of(shape, groups=_number(options, "group", 1)), given[0], bias)
                elif node.op_type in _HIDDEN and at in (1, 2) and not _number(options, "layout", 0):
                    layout = Layout.of(shape, groups=shape[0], leading=2)
                    if at == 2 and not node.output[0]:
                        node.output[0] = f"{name}.states"
                    yield name, _Use(node, layout, given[0] if at == 1 else node.output[0], None, at == 2)
                elif node.op_type == "Gather" and at == 0:
                    yield name, _Use(node, Layout.of(shape), "")

    def _bias(self, names: Iterable[str], besides: str, rows: int) -> str | None:
        for name in names:
            found = self._initializers.get(name)
            fits = found is not None and list(found.dims) == [rows] and found.data_type in (1, 10, 11)
            if name != besides and name in self._stored and fits:
                return name
        return None

    def _open(self, outputs: list[str]) -> Any:
        """A session whose weights are inputs, so that they can be replaced, with these outputs."""
        import onnx
        import onnxruntime

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        changing = set(self.targets) | {t.bias for t in self.targets.values() if t.bias is not None}
        kept = [each for each in graph.initializer if each.name not in changing]
        present = {each.name for each in graph.input}
        for name in changing - present:
            found = self._initializers[name]
            graph.input.append(onnx.helper.make_tensor_value_info(name, found.data_type, list(found.dims)))
        del graph.initializer[:]
        graph.initializer.extend(kept)
        own = {each.name for each in graph.output}
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in own)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._changing = {name: self._array(name) for name in changing}
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def _run(self, session: Any, names: list[str], replaced: Mapping[str, Array]) -> Iterator[list[Array]]:
        weights = self._changing | {name: np.asarray(values) for name, values in replaced.items()}
        for number, batch in enumerate(self.inputs):
            try:
                yield session.run(names, {**batch, **weights})
            except Exception as error:  # ONNX Runtime's own classes are not public
                raise ValueError(f"calibration batch {number} does not fit the model: {error}") from error

    def outputs(self, replaced: Mapping[str, Array]) -> Floats:
        names = [output.name for output in self.model.graph.output]
        return _floats(self._run(self._session, names, replaced))

    def moments(self, names: Iterable[str]) -> dict[str, Moments]:
        uses = {name: self._uses[name] for name in names if self._uses[name].source}
        found = {name: Moments(use.layout) for name, use in uses.items()}
        wanted = list(dict.fromkeys(use.source for use in uses.values()))
        constant = {each for each in wanted if each in {i.name for i in self.model.graph.input}}
        computed = [each for each in wanted if each not in constant]
        session = self._open(computed)
        names_of_outputs = computed or [self.model.graph.output[0].name]
        for batch, arrays in zip(self.inputs, self._run(session, names_of_outputs, {}), strict=True):
            sources = dict(zip(names_of_outputs, arrays, strict=True)) | batch
            for name, use in uses.items():
                _add(found[name], use, sources[use.source], len(self.inputs))
        return {name: each for name, each in found.items() if each.count}

    def gains(self, names: Iterable[str]) -> dict[str, Floats]:
        """By nudging one weight at a time at random; only what comes behind it is run again."""
        parts = Parts(self.model, self.inputs)
        numbers = {name: number for number, name in enumerate(names)}
        exact = _floats(parts.outputs({}))
        gains = {}
        for name in sorted(numbers, key=parts.first_use):
            weight = self._array(name).astype(np.float64)
            size = _NUDGE * float(np.sqrt(np.square(weight).mean())) if weight.size else 0.0
            error = np.random.default_rng(numbers[name]).standard_normal(weight.shape) * size
            parts.advance(parts.first_use(name))
            found = change(_floats(parts.outputs({name: (weight + error).astype(self._array(name).dtype)})), exact)
            energy = float(np.square(error).sum())
            gains[name] = np.float32(found**2 / energy if energy else 0.0) * np.ones((), np.float32)
        return gains


def _floats(batches: Iterable[list[Array]]) -> Floats:
    """The floating-point outputs of all batches, flat. Raises ValueError if there are none."""
    found = [
        array.astype(np.float32).reshape(-1)
        for arrays in batches
        for array in arrays
        if np.issubdtype(array.dtype, np.floating)
    ]
    if not found:
        raise ValueError("the model gives no floating-point output")
    return np.concatenate(found)


def _lift_constants(graph: Any, names: Container[str]) -> None:
    """Makes initializers of Constant nodes of those names."""
    outputs = {each.name for each in graph.output}
    for node in [each for each in graph.node if each.op_type == "Constant"]:
        name = node.output[0]
        if name in names and name not in outputs and node.attribute[0].name == "value":
            graph.initializer.add().CopyFrom(node.attribute[0].t)
            graph.initializer[-1].name = name
            graph.node.remove(node)


def _number(options: Mapping[str, Any], name: str, default: Any) -> Any:
    if name not in options:
        return default
    return options[name].f if isinstance(default, float) else options[name].i


def _add(moments: Moments, use: _Use, source: Array, batches: int) -> None:
    """The inputs of a layer, from the tensor that its weight is multiplied by."""
    source = source.astype(np.float32)
    directions = use.layout.groups
    if use.node.op_type == "Conv":
        kernel = use.layout.shape[2:]
        patches = _patches(use.node, source, kernel)
        leading = patches.shape[: 1 + len(kernel)]
        wanted = moments.wanted(int(np.prod(leading)), batches)
        moments.add(patches[np.unravel_index(wanted, leading)].reshape(len(wanted), -1))
        return
    if use.hidden:
        # states (time, directions, batch, hidden): those before each step, which the last direction sees from the end
        before = np.zeros_like(source)
        before[1:] = source[:-1]
        if directions == 2:
            before[:-1, 1], before[-1, 1] = source[1:, 1], 0
        rows = before.swapaxes(1, 2).reshape(-1, directions * source.shape[-1])
    else:
        rows = source.reshape(-1, source.shape[-1])
        if use.node.op_type in _HIDDEN:
            rows = np.tile(rows, (1, directions))
    moments.add(rows[moments.wanted(len(rows), batches)])


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


def _checked(graph: Any, initializers: Mapping[str, Any], inputs: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The inputs in batches, checked against what the graph says of them."""
    import onnx

    expected = {each.name: each.type.tensor_type for each in graph.input if each.name not in initializers}
    if not inputs:
        raise ValueError(f"there are no calibration inputs; the model takes {', '.join(expected)}")
    if set(inputs) != set(expected):
        raise ValueError(f"calibration inputs are {', '.join(sorted(inputs))}; the model takes {', '.join(expected)}")
    lengths, size = {}, _BATCH
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
        if np.issubdtype(array.dtype, np.floating) and (bad := np.count_nonzero(~np.isfinite(array))):
            raise ValueError(f"calibration input {name} has {bad} values that are not finite: mend the inputs")
        lengths[name] = len(array)
        if shape[0] is not None:
            size = shape[0]
    if len(set(lengths.values())) != 1 or not (length := next(iter(lengths.values()))):
        raise ValueError(f"calibration inputs need one number of rows, and some: found {lengths}")
    if length % size and size != _BATCH:
        raise ValueError(f"the model takes {size} inputs at once, of which {length} is no multiple")
    return [{name: array[at : at + size] for name, array in inputs.items()} for at in range(0, length, size)]
