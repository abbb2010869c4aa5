"""Elementwise tensors of ONNX models: known by the nodes that take them, whatever their names and shapes."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import FLOAT, constant, raw, value, weights

from deepcompression.checkpoint import open_checkpoint
from deepcompression.checkpoint.onnx.quantized import elementwise_by_nodes
from deepcompression.convert.to_dcz import compress_checkpoint
from deepcompression.file.reader import load_tensors
from deepcompression.recipe.recipe import Recipe

CONTRIB = "com.microsoft"
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1), helper.make_opsetid("own", 1)]
INDICES = helper.make_tensor_value_info("i", onnx.TensorProto.INT64, ("n",))


def node(kind, inputs, outputs, domain="", **attributes):
    return helper.make_node(kind, inputs, outputs, domain=domain, **attributes)


def write(path, nodes, tensors, functions=()):
    graph = helper.make_graph(nodes, "g", [value("x", ("n", 64)), INDICES], [value("y", None)], tensors)
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=10, functions=functions), path)


def elementwise(path, nodes, *shapes, functions=()):
    """The elementwise ones among tensors of these shapes, named t0, t1 and so on."""
    write(path, nodes, [raw(f"t{at}", weights(shape, at)) for at, shape in enumerate(shapes)], functions)
    with open_checkpoint(path) as source:
        assert source.graph is not None
        assert {name for name, each in source.entries.items() if each.elementwise} == elementwise_by_nodes(source.graph)
        return elementwise_by_nodes(source.graph)


LSTM = [node("LSTM", ["x", "t0", "t1", "t2", "", "", "", "t3"], ["y"], hidden_size=32)]

ELEMENTWISE = {
    "a bias of a product": ([node("MatMul", ["x", "t0"], ["h"]), node("Add", ["t1", "h"], ["y"])], (64, 48), (1, 48)),
    "a bias of Gemm": ([node("Gemm", ["x", "t0", "t1"], ["y"])], (64, 48), (1, 48)),
    "a divisor": ([node("MatMul", ["x", "t0"], ["h"]), node("Div", ["h", "t1"], ["y"])], (64, 48), (1, 48)),
    "gains of columns": (
        [node("Einsum", ["x", "t0"], ["h"], equation="ni,ij->jn"), node("Mul", ["h", "t1"], ["y"])],
        *((64, 48), (48, 1)),
    ),
    "gains of every element": (
        [node("MatMul", ["x", "t0"], ["h"]), node("Mul", ["h", "t1"], ["y"])],
        (64, 48),
        (4, 48),
    ),
    "slopes": ([node("MatMul", ["x", "t0"], ["h"]), node("PRelu", ["h", "t1"], ["y"])], (64, 48), (1, 48)),
    "an inverse": (
        [node("Reciprocal", ["t1"], ["s"]), node("Mul", ["x", "s"], ["h"]), node("MatMul", ["h", "t0"], ["y"])],
        *((64, 48), (1, 64)),
    ),
    "a gain of two dimensions": (
        [node("LayerNormalization", ["x", "t1"], ["h"]), node("MatMul", ["h", "t0"], ["y"])],
        *((64, 48), (2, 64)),
    ),
    "through a view": (
        [node("Transpose", ["t1"], ["b"]), node("MatMul", ["x", "t0"], ["h"]), node("Add", ["h", "b"], ["y"])],
        *((64, 48), (48, 1)),
    ),
    "cosines": (
        [node("RotaryEmbedding", ["x", "i", "t1"], ["h"], CONTRIB), node("MatMul", ["h", "t0"], ["y"])],
        *((64, 48), (128, 32)),
    ),
    "of an operator of somebody": (
        [node("MatMul", ["x", "t0"], ["h"]), node("BiasSwish", ["h", "t1"], ["y"], "mine")],
        *((64, 48), (1, 48)),
    ),
}


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_what_scales_or_shifts_is_elementwise(kind, tmp_path):
    nodes, *shapes = ELEMENTWISE[kind]
    assert elementwise(tmp_path / "m.onnx", nodes, *shapes) == {"t1"}


def test_biases_and_peepholes_of_recurrent_layers_are_elementwise_in_both_directions(tmp_path):
    for directions in (1, 2):
        shapes = [(directions, size) for size in (256, 96)]
        weights_of = [(directions, 128, size) for size in (64, 32)]
        assert elementwise(tmp_path / "m.onnx", LSTM, *weights_of, *shapes) == {"t2", "t3"}


WEIGHTS = {
    "one output": ([node("MatMul", ["x", "t0"], ["y"])], (64, 1)),
    "one input": ([node("Gemm", ["x", "t0"], ["y"], transB=1)], (1, 64)),
    "a convolution to one channel": ([node("Conv", ["x", "t0"], ["y"])], (1, 64, 1)),
    "an embedding that a mask multiplies": (
        [node("Gather", ["t0", "i"], ["h"]), node("Mul", ["h", "x"], ["y"])],
        (100, 64),
    ),
    "an embedding of one column": ([node("Gather", ["t0", "i"], ["h"]), node("Mul", ["h", "x"], ["y"])], (100, 1)),
    "positions": ([node("Add", ["x", "t0"], ["y"])], (16, 64)),
    "filters that inputs scale": ([node("Mul", ["t0", "x"], ["w"]), node("Conv", ["x", "w"], ["y"])], (64, 64, 3)),
    "behind views": (
        [
            constant("a", raw("", np.array([0]))),
            node("Unsqueeze", ["t0", "a"], ["w"]),
            node("MatMul", ["x", "w"], ["y"]),
        ],
        (64, 1),
    ),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_what_layers_multiply_by_or_look_up_stays_a_weight(kind, tmp_path):
    nodes, *shapes = WEIGHTS[kind]
    assert elementwise(tmp_path / "m.onnx", nodes, *shapes) == set()


def test_uses_are_found_in_functions_and_subgraphs(tmp_path):
    body = [node("MatMul", ["a", "w"], ["p"]), node("Add", ["p", "b"], ["c"])]
    function = helper.make_function("own", "Layer", ["a", "w", "b"], ["c"], body, OPSETS)
    call = [node("Layer", ["x", "t0", "t1"], ["y"], "own")]
    assert elementwise(tmp_path / "f.onnx", call, (64, 1), (1, 48), functions=[function]) == {"t1"}
    branch = helper.make_graph(
        [node("MatMul", ["x", "t0"], ["p"]), node("Add", ["p", "t1"], ["c"])], "b", [], [value("c", None, FLOAT)]
    )
    test = constant("yes", raw("", np.array(True)))
    nodes = [test, node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
    assert elementwise(tmp_path / "i.onnx", nodes, (64, 1), (1, 48)) == {"t1"}


@pytest.mark.parametrize("recipe", ["density", "share-smaller"])
def test_a_recipe_keeps_the_bias_of_a_recurrent_layer_and_says_so(recipe, tmp_path):
    """Pruned, most of its gates would lose their biases."""
    shapes = [(1, 128, 64), (1, 128, 32), (1, 256), (1, 96)]
    tensors = [raw(f"t{at}", weights(shape, at)) for at, shape in enumerate(shapes)]
    write(tmp_path / "m.onnx", LSTM, tensors)
    rule = {"module": "*", "prune": {"criterion": "magnitude", "density": 0.1}}
    wanted = Recipe.model_validate({"version": 1, "rules": [rule]}) if recipe == "density" else Recipe.load(recipe)
    with open_checkpoint(tmp_path / "m.onnx") as source:
        outcome = compress_checkpoint(source, tmp_path / "m.dcz", wanted)
    found = load_tensors(tmp_path / "m.dcz")
    for at, changes in enumerate([True, True, False, False]):
        assert (found[f"t{at}"].tobytes() != tensors[at].raw_data) == changes
        assert any(note.startswith(f"t{at} scales or shifts") for note in outcome) != changes


def test_an_elementwise_tensor_changes_where_its_name_is_given(tmp_path):
    write(
        tmp_path / "m.onnx",
        [node("Gemm", ["x", "w", "b"], ["y"])],
        [raw("w", weights((64, 48))), raw("b", weights((1, 48)))],
    )
    rule = {"tensor": "b", "prune": {"criterion": "magnitude", "density": 0.5}}
    with open_checkpoint(tmp_path / "m.onnx") as source:
        compress_checkpoint(source, tmp_path / "m.dcz", Recipe.model_validate({"version": 1, "rules": [rule]}))
    assert np.count_nonzero(load_tensors(tmp_path / "m.dcz")["b"]) == 24
