"""`dc.export`: a model -> C files that run it on a board, with the exact memory that they take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepcompression.calibration.network import change, held_back
from deepcompression.common.extras import named_extra
from deepcompression.common.messages import some
from deepcompression.common.options import checked_patterns
from deepcompression.embedded.arena import plan_arena
from deepcompression.embedded.c_calls import Calls
from deepcompression.embedded.c_files import Vectors, c_files, identity_of
from deepcompression.embedded.c_text import identifier
from deepcompression.embedded.device_sources import needed_sources
from deepcompression.embedded.fold import fold
from deepcompression.embedded.given_inputs import inputs_for, one_array
from deepcompression.embedded.graph import Floats, Graph, weights_of
from deepcompression.embedded.hold import CODED, PACKED, WAYS, Held, hold
from deepcompression.embedded.integer import IntegerGraph, integer_graph
from deepcompression.embedded.network import Network, check_limits
from deepcompression.embedded.onnx_front import graph_of_onnx, read_model
from deepcompression.embedded.result import Exported, LayerOfExport, OutputChange
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.embedded.simulate_int8 import simulate_int8
from deepcompression.embedded.write import Coded, code, write_files

if TYPE_CHECKING:
    from torch.nn import Module

_LEAST_CALIBRATION = 4


@named_extra()
def export(
    model: Module | str | os.PathLike[str],
    inputs: Any,
    directory: str | os.PathLike[str],
    *,
    int8: bool = False,
    weights: str = CODED,
    packed: Sequence[str] = (),
    name: str | None = None,
    input_shape: Sequence[int] | None = None,
    vectors: int = 4,
    force: bool = False,
) -> Exported:
    """Writes C files that run a model on a board, one input at a time: the graph as calls of the library whose sources
    are copied beside it, the weights, and a test with vectors. `cc -std=c99 *.c` builds the directory alone.

    model        a torch module (dense, pruned, shared, or filled by `load`), which `torch.export` traces; or the path
                 of a `.dcz` file of an ONNX model, or of an .onnx file
    inputs       an array, tensor, or mapping with one: its first axis counts inputs. With `int8` they choose the
                 scales, except a fifth that measures the change. A path needs none in float32 (None)
    int8         activations and weights of 8 bits and integer arithmetic alone; float32 otherwise
    weights      `coded`: decoded row by row at each use, the least flash; `packed`: the fewest instructions
    packed       patterns of names of weights that are packed when the others are coded
    name         of the files and functions, made a C name; by default that of the path or class
    input_shape  of one input with its batch axis, where an ONNX model leaves lengths open
    vectors      inputs of the test, at most
    force        replace other files in the directory

    Raises ValueError or TypeError, before anything is written, for operators that no board can run (all at once), a
    file without a graph, open lengths, several inputs or outputs, inputs that do not fit or are not finite, integers
    that could overflow, and a directory with other files. FormatError for a damaged file.
    """
    if weights not in WAYS:
        raise ValueError(f"unknown way to hold weights {weights!r}; known are {', '.join(WAYS)}")
    patterns = checked_patterns("packed", packed)
    if vectors < 1:
        raise ValueError(f"a test needs a vector at least; found {vectors}")
    called = identifier(name or (Path(model).stem if isinstance(model, str | os.PathLike) else type(model).__name__))
    graph = fold(_graph(model, inputs, input_shape))
    for each in graph.calls:
        check_limits(each)
    given = inputs_for(graph, inputs)
    if int8 and (not given.own or len(given.arrays) < _LEAST_CALIBRATION):
        raise ValueError(
            f"int8 needs calibration inputs, {_LEAST_CALIBRATION} at least, better hundreds; found "
            f"{len(given.arrays) if given.own else 'none'}: give typical inputs (--calibration INPUTS.npz)"
        )
    held = held_back(len(given.arrays))
    seen = np.delete(given.arrays, held, 0)
    integers = integer_graph(graph, seen) if int8 else None
    chosen = _names_like(graph, patterns)
    ways, more = hold(graph, _matrices(graph, integers), lambda each: weights == PACKED or each in chosen)
    notes = [*graph.notes, *given.notes, *more]
    draft = Network(called, graph, integers, ways, plan_arena(graph, 4 if integers is None else 1), {})
    identity = identity_of(Calls(draft))
    coded = code(ways, identity)
    network = replace(draft, coded_work=coded.work)
    calls = Calls(network)
    some_inputs = np.concatenate([given.arrays[held], seen])[:vectors]
    written = c_files(network, calls, identity, coded.data, _vectors(network, some_inputs), notes)
    files = {name: text.encode() for name, text in (written.files | needed_sources(written.files.values())).items()}
    if coded.data:
        files[f"{called}_weights.dcz"] = coded.data
    write_files(Path(directory), files, called, force)
    return Exported(
        called,
        Path(directory),
        tuple(sorted(files)),
        "float32" if integers is None else "int8",
        network.arena.size,
        network.work,
        network.memory,
        len(coded.data) + written.constant_bytes,
        len(coded.data),
        tuple(_layers(graph, ways, coded)),
        None if integers is None else _change(integers, given.arrays[held]),
        tuple(notes),
    )


def _graph(model: Module | str | os.PathLike[str], inputs: Any, input_shape: Sequence[int] | None) -> Graph:
    if isinstance(model, str | os.PathLike):
        return graph_of_onnx(read_model(Path(model)), input_shape)
    from deepcompression.embedded.torch_front import graph_of_torch

    if inputs is None or input_shape is not None:
        raise ValueError("a torch model is traced with inputs, which say their shape: give one at least")
    return graph_of_torch(model, one_array(inputs)[1][:1])


def _names_like(graph: Graph, patterns: Sequence[str]) -> set[str]:
    """The names of weights that a pattern matches. Raises ValueError for a pattern that matches none."""
    names = {weight.name for each in graph.calls for weight in weights_of(each)}
    found = {pattern: {name for name in names if fnmatchcase(name, pattern)} for pattern in patterns}
    for pattern, each in found.items():
        if not each:
            raise ValueError(f"no weight has a name like {pattern!r}; the names are {some(names) or 'none'}")
    return set[str]().union(*found.values())


def _matrices(graph: Graph, integers: IntegerGraph | None) -> dict[str, Sequence[NDArray[Any]]]:
    # a negative zero would survive: the sum makes it a zero
    return {
        each.output: [weight.matrix + np.float32(0) for weight in weights_of(each)]
        if integers is None
        else integers.parts[each.output].weights
        for each in graph.calls
    }


def _vectors(network: Network, inputs: Floats) -> Vectors:
    """Inputs of the test and what Python computes for them. Raises ValueError for outputs that are not finite."""
    output = network.graph.output
    if network.integers is None:
        found = simulate_float(network.graph, inputs)[output]
        if not np.isfinite(found).all():
            raise ValueError(f"the inputs make {output} infinite or no number: mend the weights or the inputs")
        return Vectors(inputs, found)
    q = network.integers.quantize(inputs)
    return Vectors(q, simulate_int8(network.integers, q)[output])


def _change(integers: IntegerGraph, inputs: Floats) -> OutputChange:
    name = integers.graph.output
    exact = simulate_float(integers.graph, inputs)[name]
    q = simulate_int8(integers, integers.quantize(inputs))[name]
    found = q * np.float32(integers.scales[name])
    same = float(np.mean(found.argmax(1) == exact.argmax(1)))
    return OutputChange(change({name: found}, {name: exact}), same, len(inputs))


def _layers(graph: Graph, ways: Mapping[str, tuple[Held, ...]], coded: Coded) -> Iterator[LayerOfExport]:
    for each in graph.calls:
        for held in ways.get(each.output, ()):
            rows, columns = held.matrix.shape
            size = coded.sizes[held.tensor] if held.packed is None else held.packed.bytes
            density = float(np.count_nonzero(held.matrix)) / max(1, held.matrix.size)
            yield LayerOfExport(held.name, type(each).__name__, (rows, columns), held.way, size, density)
