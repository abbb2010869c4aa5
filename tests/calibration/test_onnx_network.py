"""ONNX models as calibration sees them, with ONNX Runtime."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from network_outputs import flat
from onnx import TensorProto, helper, numpy_helper

import deepcompression as dc
from deepcompression.calibration.calibrate import calibrate_network
from deepcompression.calibration.network import change
from deepcompression.calibration.onnx_network import OnnxNetwork
from deepcompression.calibration.onnx_parts import PartedGraph
from deepcompression.sharing.codebook import share_values
from deepcompression.tensors.slices import Weights

RNG = np.random.default_rng(0)


def weights(**shapes):
    return {
        name: (RNG.standard_normal(shape) / math.sqrt(shape[-1])).astype(np.float32) for name, shape in shapes.items()
    }


def model_of(nodes, tensors, shape, outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture
def network_of(tmp_path):
    """A function that makes a network of a model and its inputs."""

    def make(model, inputs):
        (tmp_path / "model.onnx").write_bytes(model)
        return OnnxNetwork.open(tmp_path / "model.onnx", inputs)

    return make


node = helper.make_node
MODELS = {
    "matmul": lambda: (
        [node("MatMul", ["x", "w"], ["a"]), node("Add", ["a", "b"], ["y"])],
        weights(w=(8, 40), b=(40,)),
        (8,),
    ),
    "gemm": lambda: ([node("Gemm", ["x", "w", "b"], ["y"], transB=1)], weights(w=(40, 8), b=(40,)), (8,)),
    "conv": lambda: (
        [node("Conv", ["x", "w", "b"], ["y"], strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2], group=2)],
        weights(w=(32, 2, 3, 2), b=(32,)),
        (4, 9, 8),
    ),
    "same": lambda: (
        [node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])],
        weights(w=(6, 4, 4, 3)),
        (4, 9, 8),
    ),
    "conv1d": lambda: ([node("Conv", ["x", "w"], ["y"])], weights(w=(6, 4, 3)), (4, 9)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_moments_explain_outputs(kind, network_of):
    nodes, tensors, shape = MODELS[kind]()
    x = RNG.standard_normal((5, *shape)).astype(np.float32)
    network = network_of(model_of(nodes, tensors, shape), {"x": x})
    found = network.moments(["w"])["w"]
    error = RNG.standard_normal(tensors["w"].shape).astype(np.float32)
    parts = network.roles["w"].layout.matrices(error).astype(np.float64)
    cost = np.einsum("grc,gcd,grd->", parts, found.second, parts)
    difference = flat(network.outputs({"w": tensors["w"] + error})) - flat(network.outputs({}))
    assert cost == pytest.approx(float(np.square(difference.astype(np.float64)).sum()), rel=1e-3)
    assert network.roles["w"].bias == ("b" if "b" in tensors else None)


def test_weights_of_constant_nodes_count_as_initializers(network_of):
    nodes, tensors, shape = MODELS["matmul"]()
    x = RNG.standard_normal((5, *shape)).astype(np.float32)
    constants = [node("Constant", [], [name], value=numpy_helper.from_array(each)) for name, each in tensors.items()]
    networks = [
        network_of(model_of(nodes, tensors, shape), {"x": x}),
        network_of(model_of([*constants, *nodes], {}, shape), {"x": x}),
    ]
    rules = {"w": dc.Rule(tensor="w", share=dc.Share(bits=3))}
    initializers, found = (calibrate_network(network, rules).tensors for network in networks)
    assert found.keys() == initializers.keys() == {"w", "b"}
    assert all(np.array_equal(found[name].numpy(), initializers[name].numpy()) for name in found)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("kind", "gates"), [("GRU", 3), ("LSTM", 4)])
def test_states_of_recurrent_layers_are_inputs_too(kind, gates, directions, network_of):
    options = {"direction": "bidirectional"} if directions == 2 else {}
    tensors = weights(w=(directions, gates * 6, 4), r=(directions, gates * 6, 6))
    # (time, batch, features): the first axis counts time
    nodes = [node(kind, ["x", "w", "r"], ["y"], hidden_size=6, **options)]
    network = network_of(model_of(nodes, tensors, (3, 4)), {"x": RNG.standard_normal((7, 3, 4)).astype(np.float32)})
    found = network.moments(["w", "r"])
    y = flat(network.outputs({})).reshape(7, directions, 3, 6).astype(np.float64)
    before = y[:-1, 0].reshape(-1, 6)
    assert np.allclose(found["r"].second[0], before.T @ before, atol=1e-4)
    if directions == 2:
        after = y[1:, 1].reshape(-1, 6)
        assert np.allclose(found["r"].second[1], after.T @ after, atol=1e-4)
    assert found["w"].second.shape == (directions, 4, 4)


def deep():
    tensors = weights(c=(16, 3, 3, 3), cb=(16,), e=(16, 40), eb=(40,), f=(40, 10))
    nodes = [
        node("Conv", ["x", "c", "cb"], ["h"], pads=[1, 1, 1, 1]),
        node("Relu", ["h"], ["i"]),
        node("GlobalAveragePool", ["i"], ["j"]),
        node("Flatten", ["j"], ["k"]),
        node("MatMul", ["k", "e"], ["l"]),
        node("Add", ["l", "eb"], ["m"]),
        node("Relu", ["m"], ["n"]),
        node("MatMul", ["n", "f"], ["y"]),
    ]
    x = np.cumsum(RNG.standard_normal((40, 3, 8, 8)), axis=3).astype(np.float32)
    return model_of(nodes, tensors, (3, 8, 8)), tensors, x


def test_outputs_change_less_than_by_k_means(network_of):
    model, tensors, x = deep()
    network, fresh = network_of(model, {"x": x[:20]}), network_of(model, {"x": x[20:]})
    rules = {name: dc.Rule(tensor=name, share=dc.Share(bits=3)) for name in ("c", "e", "f")}
    found = {name: tensor.numpy() for name, tensor in calibrate_network(network, rules).tensors.items()}
    plain = {}
    for name in rules:
        codebook, codes = share_values(Weights.of(tensors[name].reshape(-1)), 3, "optimal")
        plain[name] = codebook[codes].reshape(tensors[name].shape)
    exact = fresh.outputs({})
    assert change(fresh.outputs(found), exact) < 0.7 * change(fresh.outputs(plain), exact)


def test_a_plan_counts_the_graph_too(tmp_path, network_of):
    model, _, x = deep()
    network = network_of(model, {"x": x})
    plan = dc.plan(network, target_size=3000)
    fitted = calibrate_network(network, {rule.tensor: rule for rule in plan.recipe.rules})
    dc.save_tensors(tmp_path / "m.dcz", network.tensors | fitted.tensors, plan.metadata)
    assert 0.98 * 3000 <= (tmp_path / "m.dcz").stat().st_size == plan.file_bytes <= 3000


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no calibration inputs; the model takes x"),
        ({"z": np.zeros((2, 8), np.float32)}, "calibration inputs are z; the model takes x"),
        ({"x": np.zeros((2, 8))}, r"x is float64 \[2, 8\]; expected float32 \[any, 8\]"),
        ({"x": np.zeros((2, 7), np.float32)}, r"x is float32 \[2, 7\]; expected float32 \[any, 8\]"),
        ({"x": np.zeros((8,), np.float32)}, r"expected float32 \[any, 8\]"),
        ({"x": np.zeros((0, 8), np.float32)}, "one number of rows, and some"),
        ({"x": np.full((2, 8), np.nan, np.float32)}, "x has 16 values that are not finite"),
    ],
)
def test_unsound_inputs_are_refused(inputs, message, network_of):
    nodes, tensors, shape = MODELS["gemm"]()
    with pytest.raises(ValueError, match=message):
        network_of(model_of(nodes, tensors, shape), inputs)


def branching():
    """The last nodes need a value of the first, also in a branch; it is an output, too."""
    tensors = weights(a=(8, 24), b=(24, 24), c=(24, 10))
    branch = [
        helper.make_graph([node(kind, ["h"], [out])], out, [], [helper.make_tensor_value_info(out, 1, None)])
        for kind, out in (("Relu", "then"), ("Neg", "else"))
    ]
    nodes = [
        node("MatMul", ["x", "a"], ["h"]),
        node("MatMul", ["h", "b"], ["i"]),
        node("ReduceSum", ["h"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["positive"]),
        node("If", ["positive"], ["j"], then_branch=branch[0], else_branch=branch[1]),
        node("Add", ["i", "j"], ["k"]),
        node("Add", ["k", "h"], ["l"]),
        node("MatMul", ["l", "c"], ["y"]),
    ]
    model = model_of(nodes, tensors | {"zero": np.zeros((), np.float32)}, (8,), ("h", "y"))
    return model, tensors, RNG.standard_normal((20, 8)).astype(np.float32)


@pytest.mark.parametrize("make", [deep, branching])
def test_nodes_behind_a_weight_give_the_outputs_of_the_whole_graph(make, network_of):
    model, tensors, x = make()
    network = network_of(model, {"x": x})
    parts = PartedGraph(network.model, network.inputs)
    for name in sorted(network.roles, key=parts.first_use):
        parts.advance(parts.first_use(name))
        assert parts.at == parts.first_use(name)
        changed = {name: tensors[name] * 1.5}
        found = zip(*parts.outputs(changed), strict=True)
        for (output, expected), batches in zip(network.outputs(changed).items(), found, strict=True):
            together = np.concatenate([array.reshape(-1) for array in batches])
            assert np.allclose(together, expected, rtol=1e-4, atol=1e-5), output


def test_a_plan_has_the_tensors_of_its_recipe(network_of):
    model, _, x = deep()
    network = network_of(model, {"x": x})
    plan = dc.plan(network, target_size=3000)
    found = calibrate_network(network, {rule.tensor: rule for rule in plan.recipe.rules}).tensors
    assert found.keys() == plan.tensors.keys()
    for name, tensor in found.items():
        assert (tensor.numpy() == plan.tensors[name].numpy()).all()


def test_nodes_may_stand_in_any_order(network_of):
    """ONNX Runtime takes them so, and tools that convert to float16 write them so."""
    model, _, x = deep()
    parsed = onnx.load_from_string(model)
    nodes = list(parsed.graph.node)
    del parsed.graph.node[:]
    parsed.graph.node.extend(nodes[::-1])
    network, turned = (network_of(each, {"x": x}) for each in (model, parsed.SerializeToString()))
    assert np.array_equal(flat(network.outputs({})), flat(turned.outputs({})))
    assert dc.plan(turned, max_change=0.1).change_of_outputs <= 0.1
