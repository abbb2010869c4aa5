"""Weights in the branches of If: calibrated where all inputs take one branch."""

from __future__ import annotations

import numpy as np
import pytest
from network_outputs import flat
from onnx import TensorProto, helper, numpy_helper

from deepcompression.calibration.onnx_network import OnnxNetwork
from deepcompression.checkpoint import read_tensors

RNG = np.random.default_rng(0)
FLOAT = TensorProto.FLOAT
node = helper.make_node


def weight(*shape):
    return RNG.standard_normal(shape).astype("f4")


def branch(name, nodes, tensors):
    made = [numpy_helper.from_array(array, key) for key, array in tensors.items()]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("out", FLOAT, None)], made)


def rates(nested=False, condition="sr"):
    """A layer of its own for each of two rates, as detectors of speech have; with `nested`, in an If within the If."""
    high = [node("MatMul", ["h", "w"], ["a"]), node("Relu", ["a"], ["out"])]
    tensors = {"w": weight(16, 24)}
    if nested:
        inner = branch("inner", [node("MatMul", ["a", "v"], ["out"])], {"v": weight(24, 24)})
        other = branch("other", [node("Identity", ["a"], ["out"])], {})
        choose = node("If", ["fast"], ["chosen"], name="deep", then_branch=inner, else_branch=other)
        high = [high[0], choose, node("Relu", ["chosen"], ["out"])]
    low = [node("MatMul", ["h", "w"], ["a"]), node("Tanh", ["a"], ["out"])]
    which = [node("Cast", ["sr"], ["rate"], to=FLOAT)]
    if condition == "weights":
        which = [node("ReduceSum", ["first"], ["sum"], keepdims=0), node("Max", ["sum", "eight"], ["rate"])]
    graph = helper.make_graph(
        [
            node("MatMul", ["x", "first"], ["h"]),
            *which,
            node("Greater", ["rate", "eight"], ["fast"]),
            node(
                *("If", ["fast"], ["b"]),
                name="choose",
                then_branch=branch("high", high, tensors),
                else_branch=branch("low", low, {"w": weight(16, 24)}),
            ),
            node("MatMul", ["b", "last"], ["y"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", FLOAT, ["n", 8]),
            helper.make_tensor_value_info("sr", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [
            numpy_helper.from_array(weight(8, 16), "first"),
            numpy_helper.from_array(weight(24, 8), "last"),
            numpy_helper.from_array(np.array(8000, "f4"), "eight"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def network_of(tmp_path):
    def make(model, rate, x=None):
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        return OnnxNetwork.open(tmp_path / "m.onnx", {"x": weight(40, 8) if x is None else x, "sr": rate})

    return make


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_weights_of_the_branch_that_is_taken_are_calibrated_by_their_inputs(rate, nested, network_of, tmp_path):
    found = network_of(rates(nested), np.array(rate))
    taken = ["choose.else_branch/w"] if rate == 8000 else ["choose.then_branch/w"]
    taken += ["choose.then_branch/deep.then_branch/v"] * (nested and rate == 16000)
    assert set(found.roles) == {"first", "last", *taken}
    assert set(taken) <= read_tensors(tmp_path / "m.onnx")[0].keys()
    assert set(found.moments(taken)) == set(taken)
    exact = flat(found.outputs({}))
    for name in taken:
        assert not np.array_equal(flat(found.outputs({name: 0 * found.weight(name)})), exact)
    assert all(gain > 0 for gain in found.gains(taken).values())


def test_a_branch_in_the_place_of_its_if_gives_the_same_outputs(network_of, tmp_path):
    import onnxruntime

    model, x = rates(nested=True), weight(40, 8)
    found = network_of(model, np.array(16000), x)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(["y"], {"x": x, "sr": np.array(16000)})
    assert np.allclose(flat(found.outputs({})), expected.reshape(-1), atol=1e-4)


def test_an_if_whose_condition_differs_or_depends_on_weights_stays(network_of):
    both = network_of(rates(), np.array([16000, 8000] * 4), weight(8, 1, 8))
    assert set(both.roles) == {"first", "last"}
    assert [each.op_type for each in both.model.graph.node].count("If") == 1
    assert set(network_of(rates(condition="weights"), np.array(16000)).roles) == {"first", "last"}
