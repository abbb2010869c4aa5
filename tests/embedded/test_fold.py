"""BatchNorm and limits go into the layer before, wherever that changes nothing; codebooks stay."""

import numpy as np
import pytest
from onnx_boards import floats, model, node

from deepcompression.embedded.fold import fold
from deepcompression.embedded.graph import AveragePool, Clip, Conv, Linear, Recurrent, Scale
from deepcompression.embedded.onnx_front import graph_of_onnx
from deepcompression.embedded.simulate_float import simulate_float

PICTURE = (1, 4, 5, 5)
NORM = {"s": floats(3), "b": floats(3, seed=1), "m": floats(3, seed=2), "v": abs(floats(3, seed=3)) + 0.1}
WEIGHT = np.round(floats(3, 4, 2, 2))


def folded(nodes, shape=PICTURE, constants=None):
    graph = graph_of_onnx(model(nodes, shape, {"w": WEIGHT, **NORM, **(constants or {})}))
    found, inputs = fold(graph), floats(3, *shape, seed=5)
    np.testing.assert_allclose(
        simulate_float(found, inputs)[found.output], simulate_float(graph, inputs)[graph.output], atol=1e-5
    )
    return found


def kinds(graph):
    return [type(each) for each in graph.calls]


NORMED = node("BatchNormalization", ["a", *NORM], "n", "norm")


def test_batch_norm_and_relu_go_into_a_convolution_whose_weights_stay():
    graph = folded([node("Conv", ["x", "w"], "a", "conv"), NORMED, node("Relu", ["n"], "y", "relu")])
    (conv,) = graph.calls
    assert isinstance(conv, Conv)
    assert np.array_equal(conv.weight.values, WEIGHT)
    assert (conv.low, conv.high) == (0, np.inf)
    np.testing.assert_allclose(conv.scale, NORM["s"] / np.sqrt(NORM["v"] + 1e-5), rtol=1e-6)
    assert graph.notes == (
        "1 BatchNorm or scale folded into the layer before: norm",
        "1 limit folded into the layer before: relu",
    )


@pytest.mark.parametrize("between", ["relu", "used twice", "pool"])
def test_batch_norm_that_cannot_be_folded_stays(between):
    first = node("Conv", ["x", "w"], "c" if between != "used twice" else "a")
    more = {
        "relu": [node("Relu", ["c"], "a"), NORMED, node("Tanh", ["n"], "y")],
        "used twice": [NORMED, node("Add", ["a", "n"], "y")],
        "pool": [node("GlobalAveragePool", ["c"], "a"), NORMED, node("Tanh", ["n"], "y")],
    }[between]
    graph = folded([first, *more])
    assert Scale in kinds(graph)


def test_two_limits_become_one_and_an_average_keeps_its_own():
    clip = {"low": np.float32(-1), "high": np.float32(1)}
    graph = folded(
        [node("Conv", ["x", "w"], "a"), node("Relu", ["a"], "c"), node("Clip", ["c", *clip], "y")], constants=clip
    )
    (conv,) = graph.calls
    assert (conv.low, conv.high) == (0, 1)
    graph = folded([node("GlobalAveragePool", ["x"], "a"), node("Relu", ["a"], "y")])
    assert kinds(graph) == [AveragePool, Clip]


def test_a_scale_of_each_vector_alike_goes_into_a_matrix():
    nodes = [node("MatMul", ["x", "m2"], "a"), node("Mul", ["a", "s"], "c"), node("Add", ["c", "b2"], "y")]
    graph = folded(nodes, (1, 5, 4), {"m2": floats(4, 3), "b2": floats(3, seed=8)})
    assert kinds(graph) == [Linear]
    graph = folded([*nodes[:2], node("Tanh", ["c"], "y")], (1, 3, 4), {"m2": floats(4, 3), "s": floats(3, 3)})
    assert Scale in kinds(graph), "a factor for each vector is no factor of a row"


def test_only_the_last_state_is_written_where_it_alone_is_read():
    constants = {"w2": floats(1, 12, 3), "r": floats(1, 12, 4, seed=1), "b2": floats(1, 24, seed=2)}
    gru = node("GRU", ["x", *constants], ["", "h"], hidden_size=4, linear_before_reset=1)
    graph = folded([gru, node("Relu", ["h"], "y")], (6, 1, 3), constants)
    assert [each.last for each in graph.calls if isinstance(each, Recurrent)] == [True]
    assert graph.size(graph.calls[0].output) == 4


def test_operators_whose_values_nobody_takes_are_dropped_and_named():
    graph = graph_of_onnx(model([node("Relu", ["x"], "y")], PICTURE))
    more = graph.with_operators((*graph.operators, Clip("spare", ("x",), "z", 100)))
    assert fold(more).notes == ("dropped, since nothing takes their values: spare",)
