"""Weights of ONNX models behind Cast, Identity and Transpose; weights with several uses."""

from __future__ import annotations

import numpy as np
import pytest
from network_outputs import flat
from onnx import helper
from onnx_models import BFLOAT16, FLOAT, FLOAT16, fields, model_of, narrow, raw, run, save, value, weights
from typer.testing import CliRunner

import deepcompression as dc
from deepcompression.calibration.calibrate import calibrate_network
from deepcompression.calibration.onnx_network import OnnxNetwork
from deepcompression.calibration.onnx_parts import PartedGraph
from deepcompression.cli import app

node = helper.make_node
DTYPES = {FLOAT16: "F16", BFLOAT16: "BF16"}
# their mean is not zero, so that biases can make up for errors
INPUTS = {"x": weights((40, 8), seed=9) + 1}
NAMES = ["w1", "w2", "w3", "w4", "w5", "r5"]


@pytest.fixture
def network_of(tmp_path):
    def make(model, inputs=INPUTS):
        save(model, tmp_path / "m.onnx")
        return OnnxNetwork.open(tmp_path / "m.onnx", inputs)

    return make


def widened(model):
    """The same values as float32 initializers that layers take directly."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        if tensor.data_type in DTYPES:
            tensor.CopyFrom(raw(tensor.name, numpy_helper.to_array(tensor).astype(np.float32)))
    for each in [each for each in model.graph.node if each.op_type in ("Cast", "Identity")]:
        model.graph.node.remove(each)
        for reader in model.graph.node:
            reader.input[:] = [each.input[0] if name == each.output[0] else name for name in reader.input]
    return model


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("data_type", DTYPES)
def test_weights_behind_casts_are_measured_as_if_they_were_float32(data_type, early, network_of):
    found, plain = network_of(narrow(data_type, early)), network_of(widened(narrow(data_type)))
    assert list(found.roles) == list(plain.roles) == NAMES
    assert dict(found.roles) == dict(plain.roles)
    assert {name: role.bias for name, role in found.roles.items() if role.bias} == {"w1": "b1", "w3": "b3"}
    assert found.roles["w1"].layout.transposed
    assert not found.roles["w2"].layout.transposed
    assert {found.dtype(name) for name in [*NAMES, "b1"]} == {DTYPES[data_type]}
    assert np.allclose(flat(found.outputs({})), flat(plain.outputs({})), atol=1e-6)
    halves = {name: found.weight(name) / 2 for name in [*NAMES, "b1"]}
    assert np.allclose(flat(found.outputs(halves)), flat(plain.outputs(halves)), atol=1e-6)
    for name, moments in found.moments(NAMES).items():
        assert np.allclose(moments.second, plain.moments([name])[name].second, rtol=1e-4, atol=1e-5)
    gains, expected = found.gains(NAMES), plain.gains(NAMES)
    assert all(gains[name] == pytest.approx(expected[name], rel=0.05) for name in NAMES)


@pytest.mark.parametrize("data_type", DTYPES)
def test_a_model_of_a_narrow_dtype_is_compressed_by_its_inputs(data_type, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(narrow(data_type), tmp_path / "m.onnx")
    np.savez("x.npz", **INPUTS)
    wanted = ["--calibration", "x.npz", "--target-size", "5000"]
    done = CliRunner().invoke(app, ["compress", "m.onnx", "-o", "m.dcz", *wanted])
    assert done.exit_code == 0, done.output
    assert 0.98 * 5000 <= (tmp_path / "m.dcz").stat().st_size <= 5000
    with dc.DczFile("m.dcz") as file:
        kinds = {name: entry.dtype for name, entry in file.entries.items() if name != "onnx.graph"}
        assert set(kinds.values()) == {DTYPES[data_type]}
        assert {"b1", "b3"} < set(kinds)
    assert CliRunner().invoke(app, ["decompress", "m.dcz", "-o", "back.onnx"]).exit_code == 0
    exact, found = (np.frombuffer(b"".join(run(name, 20)), np.float32) for name in ("m.onnx", "back.onnx"))
    assert 0 < np.linalg.norm(found - exact) < 0.3 * np.linalg.norm(exact)


@pytest.mark.parametrize("data_type", DTYPES)
@pytest.mark.parametrize("settings", [{"prune": dc.Prune(density=0.5)}, {"share": dc.Share(bits=4)}])
def test_fitted_weights_and_their_biases_keep_their_dtypes(data_type, settings, network_of):
    network = network_of(narrow(data_type))
    found = calibrate_network(network, {"w1": dc.Rule(tensor="w1", **settings)}).tensors
    assert {name: tensor.dtype for name, tensor in found.items()} == dict.fromkeys(["w1", "b1"], DTYPES[data_type])
    assert np.isfinite(flat(network.outputs({name: tensor.numpy() for name, tensor in found.items()}))).all()
    assert not np.array_equal(found["b1"].numpy(), network.weight("b1"))


def test_weights_of_other_dtypes_are_found_too(network_of):
    from onnx_models import chain

    network = network_of(chain())
    assert list(network.roles) == ["w1", "w2", "w3", "half", "double", "last"]
    assert [network.dtype(name) for name in network.roles] == ["F32", "F32", "F32", "F16", "F64", "F32"]
    assert network.moments(network.roles).keys() == network.roles.keys() - {"w1"}
    assert all(gain > 0 for gain in network.gains(network.roles).values())


TWICE = {
    "two layers": [node("MatMul", ["x", "v"], ["a"]), node("MatMul", ["a", "v"], ["y"])],
    "two casts": [
        node("MatMul", ["x", "v"], ["a"]),
        node("Cast", ["w"], ["u"], to=FLOAT),
        node("MatMul", ["a", "u"], ["y"]),
    ],
    "turned": [
        node("MatMul", ["x", "v"], ["a"]),
        node("Transpose", ["v"], ["u"]),
        node("MatMul", ["a", "u"], ["y"]),
    ],
    "something else": [
        node("MatMul", ["x", "v"], ["a"]),
        node("ReduceMax", ["v"], ["m"]),
        node("Add", ["a", "m"], ["y"]),
    ],
    "an integer": [
        node("MatMul", ["x", "v"], ["a"]),
        node("Cast", ["w"], ["i"], to=7),
        node("Cast", ["i"], ["f"], to=FLOAT),
        node("ReduceMax", ["f"], ["m"]),
        node("Add", ["a", "m"], ["y"]),
    ],
}


@pytest.mark.parametrize("kind", TWICE)
@pytest.mark.parametrize("data_type", DTYPES)
def test_a_weight_with_two_uses_has_only_a_gain(kind, data_type, network_of):
    cast = node("Cast", ["w"], ["v"], to=FLOAT)
    network = network_of(model_of([cast, *TWICE[kind]], [fields("w", weights((8, 8)), data_type)]))
    assert list(network.roles) == ["w"]
    assert network.roles["w"].bias is None
    assert network.moments(["w"]) == {}
    assert network.gains(["w"])["w"] > 0
    assert calibrate_network(network, {"w": dc.Rule(tensor="w", share=dc.Share(bits=3))}).tensors.keys() == {"w"}


def test_a_bias_of_two_layers_is_left_alone(network_of):
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Add", ["a", "b"], ["c"]),
        node("MatMul", ["c", "v"], ["d"]),
        node("Add", ["d", "b"], ["e"]),
        node("ReduceSum", ["e"], ["y"]),
    ]
    tensors = [raw("w", weights((8, 40))), raw("v", weights((40, 40))), raw("b", weights((40,)))]
    network = network_of(model_of(nodes, tensors))
    assert {name: role.bias for name, role in network.roles.items()} == {"w": None, "v": None}


@pytest.mark.parametrize("data_type", DTYPES)
def test_casts_at_the_head_of_a_graph_are_not_held_for_each_batch(data_type, network_of):
    """Otherwise each batch of inputs would hold all weights in float32."""
    network = network_of(narrow(data_type, early=True))
    parts = PartedGraph(network.model, network.inputs)
    assert [parts.first_use(name) for name in NAMES] == sorted(parts.first_use(name) for name in NAMES)
    parts.advance(parts.first_use("r5"))
    assert parts.at == parts.first_use("r5") > 5
    assert {name for batch in parts.values for name in batch} == {"a9"}


def test_a_value_that_numpy_cannot_hold_may_cross_where_a_graph_is_cut(network_of):
    """One node takes a row of a bfloat16 embedding before another weight is used; a node behind widens the row."""
    nodes = [
        node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        node("Gather", ["e", "i"], ["r"]),
        node("MatMul", ["x", "w"], ["a"]),
        node("Cast", ["r"], ["s"], to=FLOAT),
        node("Add", ["a", "s"], ["y"]),
    ]
    network = network_of(model_of(nodes, [fields("e", weights((8, 8)), BFLOAT16), raw("w", weights((8, 8), 1))]))
    gains = network.gains(["e", "w"])
    assert list(network.roles) == ["e", "w"]
    assert min(gains.values()) > 0


def test_weights_that_no_layer_multiplies_by_are_named(network_of):
    network = network_of(
        model_of([node("Add", ["x", "w"], ["m"]), node("ReduceSum", ["m"], ["y"])], [raw("w", weights((8, 8)))])
    )
    with pytest.raises(ValueError, match=r"no layer is known to multiply by w \(without calibration"):
        dc.plan(network, target_ratio=4)


REFUSED = {
    "cannot run the model on the CPU: .*MatMul.* compute in float32": (
        [
            node("Cast", ["x"], ["n"], to=BFLOAT16),
            node("MatMul", ["n", "w"], ["m"]),
            node("Cast", ["m"], ["y"], to=FLOAT),
        ],
        FLOAT,
    ),
    r"the output y is a tensor\(bfloat16\), which NumPy cannot hold: export it as float32": (
        [
            node("Cast", ["w"], ["v"], to=FLOAT),
            node("MatMul", ["x", "v"], ["n"]),
            node("Cast", ["n"], ["y"], to=BFLOAT16),
        ],
        BFLOAT16,
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_model_that_cannot_be_run_is_refused_with_the_reason(message, network_of):
    nodes, output = REFUSED[message]
    model = model_of(nodes, [fields("w", weights((8, 8)), BFLOAT16)])
    model.graph.output[0].CopyFrom(value("y", data_type=output))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        network_of(model)
