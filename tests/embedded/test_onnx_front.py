"""Every ONNX operator that boards know computes what ONNX's reference computes; all others are named at once."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_boards import floats, model, node, reference

from deepcompression.embedded.fold import fold
from deepcompression.embedded.onnx_front import graph_of_onnx
from deepcompression.embedded.onnx_operators import OPERATORS
from deepcompression.embedded.simulate_float import simulate_float

PICTURE, VECTOR, SEQUENCE = (1, 4, 6, 5), (1, 8), (7, 1, 3)
INTS = np.int64


def one(kind, shape, constants=None, opset=18, **attributes):
    """A model of one node, whose inputs are x and the constants in their order."""
    return model([node(kind, ["x", *(constants or {})], "y", **attributes)], shape, constants, opset=opset)


def recurrent(kind, gates, direction="forward", output=0, **more):
    count = 2 if direction == "bidirectional" else 1
    shapes = {"w": (gates * 5, 3), "r": (gates * 5, 5), "b": (gates * 10,)}
    constants = {name: floats(count, *shape, seed=at) for at, (name, shape) in enumerate(shapes.items())}
    names = ["", "", ""][: output + 1]
    names[output] = "y"
    made = node(kind, ["x", *constants], names, hidden_size=5, direction=direction, **more)
    return model([made], SEQUENCE, constants)


CASES = {
    "MatMul": one("MatMul", (1, 3, 8), {"w": floats(8, 6)}),
    "Gemm": one("Gemm", VECTOR, {"w": floats(6, 8), "b": floats(6, seed=1)}, transB=1, alpha=0.5, beta=2.0),
    "Gemm of a row": one("Gemm", VECTOR, {"w": floats(8, 6), "b": floats(1, 6, seed=1)}),
    "Conv": one("Conv", PICTURE, {"w": floats(6, 2, 3, 2), "b": floats(6)}, group=2, pads=[1, 0, 2, 1], strides=[2, 1]),
    "Conv dilated": one("Conv", PICTURE, {"w": floats(3, 4, 2, 2)}, dilations=[2, 3]),
    "Conv of one axis": one("Conv", (1, 4, 9), {"w": floats(3, 4, 3)}, pads=[1, 1]),
    "Conv depthwise": one("Conv", PICTURE, {"w": floats(4, 1, 3, 3)}, group=4, auto_pad="SAME_UPPER", strides=[2, 2]),
    "MaxPool": one("MaxPool", PICTURE, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    "MaxPool rounded up": one("MaxPool", PICTURE, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "AveragePool": one("AveragePool", PICTURE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool whole": one("AveragePool", PICTURE, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "AveragePool of one axis": one("AveragePool", (1, 4, 9), kernel_shape=[2], strides=[2]),
    "GlobalMaxPool": one("GlobalMaxPool", PICTURE),
    "GlobalAveragePool": one("GlobalAveragePool", PICTURE),
    "GlobalAveragePool of a long axis": one("GlobalAveragePool", (1, 2, 1000)),
    "ReduceMean": one("ReduceMean", PICTURE, {"axes": np.array([2, -1], INTS)}, keepdims=0),
    "ReduceMean of channels": one("ReduceMean", PICTURE, {"axes": np.array([1], INTS)}),
    "ReduceMean of all": one("ReduceMean", PICTURE, keepdims=0),
    "ReduceMean of attributes": one("ReduceMean", PICTURE, opset=13, axes=[2, 3]),
    "Relu": one("Relu", VECTOR),
    "Clip": one("Clip", VECTOR, {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "LeakyRelu": one("LeakyRelu", VECTOR, alpha=0.2),
    "PRelu": one("PRelu", VECTOR, {"slope": np.array([0.3], np.float32)}),
    "Sigmoid": one("Sigmoid", VECTOR),
    "Tanh": one("Tanh", VECTOR),
    "HardSigmoid": one("HardSigmoid", VECTOR, alpha=0.3, beta=0.4),
    "HardSwish": one("HardSwish", VECTOR),
    "Elu": one("Elu", VECTOR, alpha=1.5),
    "Gelu": one("Gelu", VECTOR, opset=20),
    "Gelu by tanh": one("Gelu", VECTOR, opset=20, approximate="tanh"),
    "Swish": model([node("Sigmoid", ["x"], "s"), node("Mul", ["x", "s"], "y")], VECTOR),
    "Add": model([node("Relu", ["x"], "r"), node("Add", ["r", "x"], "y")], PICTURE),
    "Add a constant": one("Add", PICTURE, {"c": floats(4, 1, 1)}),
    "Add to a constant": model([node("Add", ["c", "x"], "y")], VECTOR, {"c": np.float32(3)}),
    "Add a number for each channel": model([node("GlobalMaxPool", ["x"], "g"), node("Add", ["g", "x"], "y")], PICTURE),
    "Add to more axes": model(
        [
            node("Reshape", ["x", "s"], "one"),
            node("GlobalMaxPool", ["one"], "g"),
            node("Add", ["x", "g"], "z"),
            node("Transpose", ["z"], "y", perm=[1, 0, 3, 2]),
        ],
        (5, 3),
        {"s": np.array([1, 1, 5, 3], INTS)},
    ),
    "Sub": model([node("Relu", ["x"], "r"), node("Sub", ["r", "x"], "y")], PICTURE),
    "Sub a constant": one("Sub", PICTURE, {"c": floats(5)}),
    "Sub from a constant": model([node("Sub", ["c", "x"], "y")], VECTOR, {"c": floats(8)}),
    "Neg": one("Neg", VECTOR),
    "Mul": model([node("Sigmoid", ["x"], "s"), node("Mul", ["s", "x"], "y")], PICTURE),
    "Mul a constant": one("Mul", PICTURE, {"c": floats(1, 4, 6, 1)}),
    "Div": one("Div", PICTURE, {"c": np.float32(3)}),
    "BatchNormalization": one(
        "BatchNormalization",
        PICTURE,
        {"s": floats(4), "b": floats(4, seed=1), "m": floats(4, seed=2), "v": abs(floats(4, seed=3)) + 0.1},
        epsilon=0.01,
    ),
    "Concat": model(
        [
            node("Relu", ["x"], "r"),
            node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
            node("Concat", ["b", "r", "a"], "y", axis=1),
        ],
        PICTURE,
    ),
    "Concat of the last axis": model(
        [node("Relu", ["x"], "r"), node("Slice", ["x", "a", "b", "c"], "s"), node("Concat", ["s", "r"], "y", axis=3)],
        PICTURE,
        {"a": np.array([1], INTS), "b": np.array([4], INTS), "c": np.array([3], INTS)},
    ),
    "Softmax": one("Softmax", (1, 3, 8)),
    "Softmax of old": one("Softmax", VECTOR, opset=11),
    "Identity": model([node("Identity", ["x"], "i"), node("Relu", ["i"], "y")], VECTOR),
    "Dropout": model([node("Dropout", ["x"], "i"), node("Relu", ["i"], "y")], VECTOR),
    "Flatten": model([node("Relu", ["x"], "r"), node("Flatten", ["r"], "y", axis=2)], PICTURE),
    "Reshape": model(
        [node("Reshape", ["x", "s"], "i"), node("MatMul", ["i", "w"], "y")],
        PICTURE,
        {"s": np.array([0, -1, 15], INTS), "w": floats(15, 2)},
    ),
    "Reshape by its own shape": model(
        [
            node("Shape", ["x"], "s"),
            node("Gather", ["s", "zero"], "n"),
            node("Concat", ["n", "rest"], "whole", axis=0),
            node("Reshape", ["x", "whole"], "i"),
            node("MatMul", ["i", "w"], "y"),
        ],
        PICTURE,
        {"zero": np.array([0], INTS), "rest": np.array([-1], INTS), "w": floats(120, 2)},
    ),
    "Squeeze": model(
        [node("Squeeze", ["x", "a"], "i"), node("Relu", ["i"], "y")], SEQUENCE, {"a": np.array([1], INTS)}
    ),
    "Unsqueeze": model(
        [node("Unsqueeze", ["x", "a"], "i"), node("Relu", ["i"], "y")], VECTOR, {"a": np.array([-1, 0], INTS)}
    ),
    "Transpose": model([node("Transpose", ["x"], "i", perm=[1, 0, 2]), node("Relu", ["i"], "y")], SEQUENCE),
    "Transpose of a picture": one("Transpose", PICTURE, perm=[0, 2, 3, 1]),
    "Transpose of all": one("Transpose", PICTURE),
    "Transpose of weights": model(
        [node("Transpose", ["w"], "t"), node("MatMul", ["x", "t"], "y")], VECTOR, {"w": floats(6, 8)}
    ),
    "Slice": model(
        [node("Slice", ["x", "a", "b", "c"], "i"), node("Relu", ["i"], "y")],
        PICTURE,
        {"a": np.array([1], INTS), "b": np.array([3], INTS), "c": np.array([1], INTS)},
    ),
    "Slice of several axes": one(
        "Slice",
        PICTURE,
        {
            **{"a": np.array([-1, 1, 4], INTS), "b": np.array([-9, 6, 0], INTS)},
            **{"c": np.array([1, 2, 3], INTS), "d": np.array([-1, 2, -2], INTS)},
        },
    ),
    "Gather of columns": one("Gather", PICTURE, {"i": np.array(2)}, axis=3),
    "Gather": model([node("Gather", ["x", "i"], "g", axis=0), node("Relu", ["g"], "y")], SEQUENCE, {"i": np.array(-2)}),
    "Split": model([node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), node("Add", ["a", "b"], "y")], VECTOR),
    "GRU": recurrent("GRU", 3, linear_before_reset=1),
    "GRU backward": recurrent("GRU", 3, "reverse", linear_before_reset=1),
    "GRU, last state": recurrent("GRU", 3, output=1, linear_before_reset=1),
    "GRU of both directions": recurrent("GRU", 3, "bidirectional", linear_before_reset=1),
    "LSTM": recurrent("LSTM", 4),
    "LSTM of both directions, last states": recurrent("LSTM", 4, "bidirectional", output=1),
    "LSTM backward, last state": recurrent("LSTM", 4, "reverse", output=1),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_the_reference_computes(name):
    made = CASES[name]
    shape = [axis.dim_value for axis in made.graph.input[0].type.tensor_type.shape.dim]
    inputs = floats(3, *shape, seed=9)
    graph = graph_of_onnx(made)
    expected = reference(made, inputs)
    for each in (graph, fold(graph)):
        np.testing.assert_allclose(simulate_float(each, inputs)[each.output], expected, rtol=1e-5, atol=1e-5)


def test_every_operator_of_the_table_has_a_case():
    own = {each.op_type for made in CASES.values() for each in made.graph.node}
    assert set(OPERATORS) - own == {"Swish"}


def test_all_missing_operators_are_named_at_once():
    nodes = [
        node("Conv", ["x", "w"], "a", "first"),
        node("Einsum", ["a"], "b", "second", equation="abcd->abcd"),
        node("Relu", ["b"], "c", "third"),
        node("Einsum", ["c"], "d", "fourth", equation="abcd->abcd"),
        node("QuantizeLinear", ["d", "s"], "e", "fifth"),
        node("MatMul", ["a", "a"], "f", "sixth"),
        node("Own", ["f"], "g", "seventh", domain="mine"),
        node("Concat", ["e", "g"], "y", "last", axis=1),
    ]
    with pytest.raises(ValueError, match="boards cannot run") as caught:
        graph_of_onnx(model(nodes, PICTURE, {"w": floats(3, 4, 2, 2), "s": np.float32(1)}))
    message = str(caught.value)
    for words in (
        "Einsum, 2 times (second, fourth)",
        "QuantizeLinear, 1 time (fifth)",
        "MatMul, 1 time (sixth: its input 1 is no constant)",
        "mine.Own, 1 time (seventh)",
        "known are Add, AveragePool",
    ):
        assert words in message
    assert "third" not in message
    assert "last" not in message


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (recurrent("GRU", 3), "linear_before_reset = 0"),
        (recurrent("GRU", 3, linear_before_reset=1, clip=1.0), "it has layout, clip"),
        (recurrent("LSTM", 4, activations=["Relu", "Tanh", "Tanh"]), "activations are not sigmoid and tanh"),
        (one("MaxPool", PICTURE, kernel_shape=[2, 2], dilations=[2, 2]), "it is dilated"),
        (one("Conv", (2, 4, 6, 5), {"w": floats(3, 4, 2, 2)}), "expected one picture"),
        (one("Conv", PICTURE, {"w": floats(3, 3, 2, 2)}), "its input has 4 channels"),
        (one("MatMul", VECTOR, {"w": floats(7, 6)}), "its weight [6, 7]"),
        (model([node("MatMul", ["x", "x"], "y")], (1, 1)), "its input 1 is no constant"),
        (model([node("Gather", ["x", "i"], "y", axis=3)], PICTURE, {"i": np.array([1, 0])}), "several places"),
        (one("Slice", VECTOR, {"a": np.array([8]), "b": np.array([9])}), "it leaves no elements of [1, 8]"),
        (one("Reshape", VECTOR, {"s": np.array([1, 4])}), "it makes [1, 4] of [1, 8]"),
        (one("Softmax", PICTURE, axis=1), "expected the last"),
        (one("PRelu", PICTURE, {"slope": floats(4, 1, 1)}), "a slope for each channel"),
        (one("Add", (1, 1, 4), {"c": floats(3, 4)}), "larger"),
        (one("ReduceMean", VECTOR, {"axes": np.zeros(0, INTS)}, noop_with_empty_axes=1), "it is over no axes"),
        (
            model(
                [node("Reshape", ["x", "s"], "c"), node("Add", ["x", "c"], "y")], (4,), {"s": np.array([4, 1], INTS)}
            ),
            "its inputs are [4] and [4, 1]",
        ),
        (one("MaxPool", PICTURE, kernel_shape=[2, 2], pads=[2, 0, 0, 0]), "a window of it holds padding alone"),
        (one("AveragePool", PICTURE, kernel_shape=[2, 2], pads=[0, 0, 0, 2]), "a window of it holds padding alone"),
    ],
)
def test_a_use_that_is_missing_is_named_with_its_reason(made, words):
    with pytest.raises(ValueError, match="boards cannot run") as caught:
        graph_of_onnx(made)
    assert words in str(caught.value)


def test_weights_keep_their_names_and_codebooks_through_transposes():
    weight = np.round(floats(6, 8)).astype(np.float32)
    made = model([node("Transpose", ["w"], "t"), node("MatMul", ["x", "t"], "y")], VECTOR, {"w": weight})
    (layer,) = graph_of_onnx(made).operators
    assert layer.weight.name == "w"
    assert np.array_equal(layer.weight.values, weight)


def test_nodes_on_which_the_output_does_not_depend_are_left_out():
    nodes = [node("Einsum", ["x"], "gone", equation="ab->ab"), node("Relu", ["x"], "y")]
    assert len(graph_of_onnx(model(nodes, VECTOR)).operators) == 1


def with_axes(*axes):
    made = model([node("Relu", ["x"], "y")], (1, 1))
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, axes))
    return made


def test_an_open_batch_is_one_and_is_said():
    graph = graph_of_onnx(with_axes("batch", 3, 4))
    assert graph.shapes["x"] == (1, 3, 4)
    assert "the first axis of x, batch, was taken as the batch" in graph.notes[0]


def test_other_open_axes_are_refused_by_name_and_can_be_given():
    with pytest.raises(ValueError, match=r"shape \[batch, 3, height\], and the length of height is open"):
        graph_of_onnx(with_axes("batch", 3, "height"))
    assert graph_of_onnx(with_axes("batch", 3, "height"), [1, 3, 7]).shapes["x"] == (1, 3, 7)
    with pytest.raises(ValueError, match=r"an input shape of \[1, 4, 7\] is not one"):
        graph_of_onnx(with_axes("batch", 3, "height"), [1, 4, 7])


def test_several_inputs_or_outputs_are_refused_by_name():
    with pytest.raises(ValueError, match="has the inputs x, z and the outputs y; expected one of each"):
        graph_of_onnx(model([node("Add", ["x", "z"], "y")], VECTOR, inputs=("x", "z")))
    nodes = [node("Relu", ["x"], "y"), node("Tanh", ["x"], "w")]
    with pytest.raises(ValueError, match="and the outputs y, w; expected one of each"):
        graph_of_onnx(model(nodes, VECTOR, output=["y", "w"]))


def test_a_graph_without_layers_is_refused():
    made = model([node("Identity", ["c"], "y")], VECTOR, {"c": floats(3)})
    with pytest.raises(ValueError, match="does not depend on a layer"):
        graph_of_onnx(made)
