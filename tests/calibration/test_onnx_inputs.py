"""Models with inputs of every kind that ONNX Runtime runs, and what is asked of their arrays."""

from __future__ import annotations

import numpy as np
import pytest
from network_outputs import flat
from onnx import TensorProto, helper, numpy_helper

import deepcompression as dc
from deepcompression.calibration.calibrate import calibrate_network
from deepcompression.calibration.network import change
from deepcompression.calibration.onnx_network import OnnxNetwork

RNG = np.random.default_rng(0)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node, value = helper.make_node, helper.make_tensor_value_info


def weight(*shape):
    return RNG.standard_normal(shape).astype("f4")


def model_of(nodes, tensors, inputs, outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [value(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def stateful(batch="batch"):
    """As detectors of speech are: samples, a state with the batch on its second axis, a scalar rate."""
    return model_of(
        [
            node("MatMul", ["input", "w"], ["a"]),
            node("Unsqueeze", ["a", "first"], ["steps"]),
            node("Split", ["state"], ["h", "c"], axis=0, num_outputs=2),
            node("LSTM", ["steps", "W", "R", "", "", "h", "c"], ["", "hn", "cn"], hidden_size=16),
            node("Concat", ["hn", "cn"], ["staten"], axis=0),
            node("Cast", ["sr"], ["rate"], to=FLOAT),
            node("Div", ["rate", "hertz"], ["gain"]),
            node("MatMul", ["hn", "v"], ["b"]),
            node("Mul", ["b", "gain"], ["y"]),
        ],
        {
            **{"w": weight(64, 24), "W": weight(1, 64, 24), "R": weight(1, 64, 16), "v": weight(16, 8)},
            **{"first": np.array([0]), "hertz": np.array(16000, "f4")},
        },
        [value("input", FLOAT, [batch, 64]), value("state", FLOAT, [2, batch, 16]), value("sr", INT64, [])],
        ("y", "staten"),
    )


STATEFUL = {
    "batch on another axis": {"input": weight(24, 64), "state": weight(2, 24, 16), "sr": np.array(16000)},
    "a part for each run": {"input": weight(24, 1, 64), "state": weight(24, 2, 1, 16), "sr": np.full(24, 16000)},
    "one state for all runs": {"input": weight(24, 1, 64), "state": weight(2, 1, 16), "sr": np.array(16000)},
    "a rate for each input": {"input": weight(24, 64), "state": weight(24, 2, 1, 16), "sr": np.full(24, 16000)},
}


def network(model, arrays, tmp_path):
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return OnnxNetwork.open(tmp_path / "m.onnx", arrays)


def calibrates(found, names=()):
    """A plan by the inputs is found, and weights are fitted to them."""
    plan = dc.plan(found, target_ratio=3)
    assert set(names) <= {rule.tensor for rule in plan.recipe.rules}
    tensors = calibrate_network(found, {rule.tensor: rule for rule in plan.recipe.rules}).tensors
    exact = found.outputs({})
    assert 0 < change(found.outputs({n: t.numpy() for n, t in tensors.items()}), exact) < 1


@pytest.mark.parametrize("batch", ["batch", None, 1])
@pytest.mark.parametrize("layout", STATEFUL)
def test_a_model_with_states_and_a_scalar_is_calibrated(layout, batch, tmp_path):
    arrays = STATEFUL[layout]
    if batch == 1 and layout == "batch on another axis":
        arrays = arrays | {"state": weight(2, 1, 16)}
    calibrates(network(stateful(batch), arrays, tmp_path), ["w", "v"])


def test_the_layouts_give_the_same_outputs(tmp_path):
    model = stateful()
    one = STATEFUL["batch on another axis"]
    other = {"input": one["input"][:, None], "state": one["state"].swapaxes(0, 1)[:, :, None], "sr": one["sr"]}
    first = network(model, one, tmp_path)
    second = network(model, other, tmp_path)
    assert len(first.inputs) == 3
    assert len(second.inputs) == 24
    assert np.isclose(np.linalg.norm(flat(first.outputs({}))), np.linalg.norm(flat(second.outputs({}))), rtol=1e-5)


def embedding(shape, kind=INT64, name="ids"):
    return model_of(
        [node("Gather", ["table", name], ["e"]), node("MatMul", ["e", "w"], ["y"])],
        {"table": weight(50, 16), "w": weight(16, 32)},
        [value(name, kind, shape)],
    )


@pytest.mark.parametrize("shape", [["batch", "sequence"], [1, "sequence"], None, ["sequence"], []])
def test_integers_of_any_axes_are_taken(shape, tmp_path):
    ids = RNG.integers(0, 50, (20, 6) if shape is None or len(shape) == 2 else (20, 6)[: 1 + len(shape)])
    found = network(embedding(shape), {"ids": ids}, tmp_path)
    calibrates(found, ["w"])


def test_several_inputs_without_names_go_to_the_model_s_in_order(tmp_path):
    model = model_of(
        [node("MatMul", ["b", "w"], ["p"]), node("Add", ["a", "p"], ["y"])],
        {"w": weight(8, 32)},
        [value("a", FLOAT, ["n", 32]), value("b", FLOAT, ["n", 8])],
    )
    calibrates(network(model, {"arr_0": weight(20, 32), "arr_1": weight(20, 8)}, tmp_path))


def with_default():
    return model_of(
        [node("MatMul", ["x", "w"], ["p"]), node("Mul", ["p", "scale"], ["y"])],
        {"w": weight(8, 32), "scale": np.array(2, "f4")},
        [value("x", FLOAT, ["n", 8]), value("scale", FLOAT, []), value("w", FLOAT, [8, 32])],
    )


def test_an_input_with_a_value_of_its_own_may_be_left_out_or_given(tmp_path):
    x = weight(20, 8)
    model = with_default()
    found = network(model, {"x": x}, tmp_path)
    other = network(model, {"x": x, "scale": np.array(6, "f4")}, tmp_path)
    assert np.allclose(3 * flat(found.outputs({})), flat(other.outputs({})), rtol=1e-5)
    calibrates(other)


def test_a_weight_is_no_calibration_input(tmp_path):
    with pytest.raises(ValueError, match="w is a weight of the model, no calibration input"):
        network(with_default(), {"x": weight(20, 8), "w": weight(8, 32)}, tmp_path)


def test_texts_are_taken(tmp_path):
    model = model_of(
        [
            node("LabelEncoder", ["word"], ["ids"], domain="ai.onnx.ml", keys_strings=["a", "b"], values_int64s=[3, 7]),
            *embedding(["n"]).graph.node,
        ],
        {"table": weight(50, 16), "w": weight(16, 32)},
        [value("word", TensorProto.STRING, ["n"])],
    )
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    calibrates(network(model, {"word": np.array(["a", "b", "a", "a"])}, tmp_path))


def test_bool_and_half_inputs_are_taken(tmp_path):
    model = model_of(
        [
            node("Cast", ["mask"], ["m"], to=FLOAT),
            node("Cast", ["x"], ["f"], to=FLOAT),
            node("Mul", ["m", "f"], ["p"]),
            node("MatMul", ["p", "w"], ["y"]),
        ],
        {"w": weight(8, 32)},
        [value("x", TensorProto.FLOAT16, ["n", 8]), value("mask", TensorProto.BOOL, ["n", 8])],
    )
    arrays = {"x": weight(20, 8).astype("f2"), "mask": RNG.random((20, 8)) < 0.5}
    calibrates(network(model, arrays, tmp_path))


def test_bfloat16_inputs_come_as_float32(tmp_path):
    model = model_of(
        [node("Cast", ["x"], ["f"], to=FLOAT), node("MatMul", ["f", "w"], ["y"])],
        {"w": weight(8, 32)},
        [value("x", TensorProto.BFLOAT16, ["n", 8])],
    )
    calibrates(network(model, {"x": weight(20, 8)}, tmp_path))


def test_sequences_and_optional_inputs_are_refused(tmp_path):
    tensor = helper.make_tensor_type_proto(FLOAT, ["n", 8])
    for kind, make in (("sequence", helper.make_sequence_type_proto), ("optional", helper.make_optional_type_proto)):
        model = embedding(["n"])
        model.graph.input.append(helper.make_value_info("more", make(tensor)))
        with pytest.raises(ValueError, match=f"input more is of the kind {kind}; calibration feeds tensors alone"):
            network(model, {"ids": np.zeros(4, np.int64)}, tmp_path)


def test_outputs_that_are_no_tensors_do_not_count(tmp_path):
    model = embedding(["n"])
    model.graph.node.append(node("SequenceConstruct", ["y"], ["list"]))
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    model.graph.output.append(helper.make_value_info("list", kind))
    calibrates(network(model, {"ids": RNG.integers(0, 50, 20)}, tmp_path))
