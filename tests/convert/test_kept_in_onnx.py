"""Constants of ONNX models that scale or shift others: known by their nodes, whatever their names."""

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import OPSETS, raw, value

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint
from deepcompression.checkpoint.onnx.graph import GRAPH
from deepcompression.convert.to_dcz import compress_checkpoint
from deepcompression.recipe.targets import targets_of

RNG = np.random.default_rng(0)
PRUNE = dc.Recipe(rules=(dc.Rule(module="*", prune=dc.Prune(density=0.5)),))


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def saved(path, nodes, constants, of_x=(4, 64)):
    tensors = [raw(name, array) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [value("x", of_x)], [value("y", None)], tensors)
    onnx.save(helper.make_model(graph, opset_imports=OPSETS), path)
    return path


CASES = {
    "sum": ([helper.make_node("Add", ["h", "c"], ["y"])], (1, 64)),
    "product": ([helper.make_node("Mul", ["c", "h"], ["y"])], (1, 1, 64)),
    "PReLU named as a weight": ([helper.make_node("PRelu", ["h", "c"], ["y"])], (64, 1, 1)),
    "through a cast": (
        [helper.make_node("Cast", ["c"], ["d"], to=1), helper.make_node("Sub", ["h", "d"], ["y"])],
        (1, 64),
    ),
    "bias of Gemm": ([helper.make_node("Gemm", ["h", "w", "c"], ["y"])], (1, 64)),
    "normalisation": ([helper.make_node("LayerNormalization", ["h", "c"], ["y"], axis=0)], (4, 64)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_operators_on_elements_take_is_kept_and_said(case, tmp_path):
    nodes, shape = CASES[case]
    name = "act.weight" if "named" in case else "c"
    for node in nodes:
        for at, each in enumerate(node.input):
            node.input[at] = name if each == "c" else each
    constants = {"w": floats(64, 64), name: floats(*shape)}
    path = saved(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["h"]), *nodes], constants)
    with open_checkpoint(path) as source:
        outcome = compress_checkpoint(source, tmp_path / "m.dcz", PRUNE)
    found = dc.load_tensors(tmp_path / "m.dcz")
    assert found[name].tobytes() == constants[name].tobytes()
    assert np.count_nonzero(found["w"]) == 64 * 32
    assert [note for note in outcome if name in note and "element by element" in note]
    with dc.DczFile(tmp_path / "m.dcz") as file:
        tensors = {each: file.read_dense(each) for each in (GRAPH, "w", name)}
    assert [target.name for target in targets_of(tensors) if target.weight] == ["w"]


def test_the_weight_of_a_layer_stays_one_whatever_its_shape(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Conv", ["h", "depthwise"], ["y"], group=64),
    ]
    constants = {"w": floats(64, 64), "depthwise": floats(64, 1, 1)}
    path = saved(tmp_path / "m.onnx", nodes, constants, (2, 64, 64))
    with open_checkpoint(path) as source:
        assert [target.name for target in targets_of(source.entries) if target.weight] == ["w", "depthwise"]
