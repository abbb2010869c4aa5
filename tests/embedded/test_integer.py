"""Integers of each operator: the results stay near those of float32, and nothing overflows."""

import numpy as np
import pytest
from onnx_boards import floats, model, node

from deepcompression.embedded.fold import fold
from deepcompression.embedded.graph import Graph, Linear, Weight
from deepcompression.embedded.integer import integer_graph
from deepcompression.embedded.onnx_front import graph_of_onnx
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.embedded.simulate_int8 import sigmoid, simulate_int8, tanh
from tests.embedded.test_onnx_front import CASES


def change(graph, inputs):
    """The relative change of the outputs by int8, on the inputs that chose the scales."""
    integers = integer_graph(graph, inputs)
    q = simulate_int8(integers, integers.quantize(inputs))
    assert all(each.dtype == np.int8 and each.min() >= -127 for each in q.values())
    exact = simulate_float(graph, inputs)[graph.output]
    return np.linalg.norm(q[graph.output] * integers.scales[graph.output] - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("name", CASES)
def test_int8_is_near_float32(name):
    graph = fold(graph_of_onnx(CASES[name]))
    inputs = floats(16, graph.size(graph.input), seed=3)
    assert change(graph, inputs) < 0.03


def layer(weight, bias, scale=None, **limits):
    rows, columns = weight.shape
    ones = np.ones(rows, np.float32) if scale is None else np.asarray(scale, np.float32)
    operator = Linear("fc", ("x",), "y", Weight("w", weight), np.asarray(bias, np.float32), ones, 1, **limits)
    return Graph("x", "y", (operator,), {"x": (1, columns), "y": (1, rows)})


def test_every_sum_is_proved_to_fit_int32():
    weight = np.random.default_rng(0).uniform(0.5, 1, (1, 200_000)).astype(np.float32)
    with pytest.raises(ValueError, match=r"fc: its sums reach 2\d{9}, and int32 ends"):
        integer_graph(layer(weight, [0]), floats(4, 200_000))


def test_negative_and_zero_factors_of_rows_are_right():
    weight = floats(4, 30)
    graph = layer(weight, [0.5, -1, 2, 0.0], [-1.5, 0, 1e-12, 0])
    inputs = floats(16, 30, seed=1)
    assert change(graph, inputs) < 0.02
    found = simulate_int8(integers := integer_graph(graph, inputs), integers.quantize(inputs))["y"]
    np.testing.assert_allclose(found[0, 1:] * integers.scales["y"], [-1, 2, 0], atol=integers.scales["y"])


def test_a_bias_that_dwarfs_a_product_which_counts_is_refused_with_the_layer():
    weight, inputs = (np.random.default_rng(0).uniform(0.9, 1, (rows, 1000)).astype(np.float32) for rows in (1, 8))
    # 100 products are less than half a step of the output, 1000 are more
    few = layer(weight[:, :100], [1e5])
    assert change(few, inputs[:, :100]) < 0.005
    with pytest.raises(ValueError, match="fc: a bias is over 1073741824 times its row's smallest product"):
        integer_graph(layer(weight, [1e5]), inputs)


def test_limits_are_those_of_the_layer():
    graph = layer(floats(6, 20), floats(6), low=0.0, high=1.5)
    inputs = floats(16, 20, seed=1)
    integers = integer_graph(graph, inputs)
    found = simulate_int8(integers, integers.quantize(inputs))["y"] * integers.scales["y"]
    assert found.min() == 0
    assert found.max() == pytest.approx(1.5, abs=integers.scales["y"])


def test_weights_that_are_all_zero_give_the_bias():
    graph = layer(np.zeros((2, 5), np.float32), [1, -1])
    integers = integer_graph(graph, floats(8, 5))
    found = simulate_int8(integers, integers.quantize(floats(8, 5)))["y"] * integers.scales["y"]
    np.testing.assert_allclose(found, np.tile([1, -1], (8, 1)), atol=0.01)


def test_sigmoid_and_tanh_are_right_to_a_thousandth():
    q = np.arange(-32767, 32768)
    np.testing.assert_allclose(sigmoid(q) / 32768, 1 / (1 + np.exp(-q / 2048)), atol=5e-4)
    np.testing.assert_allclose(tanh(q) / 32768, np.tanh(q / 2048), atol=1e-3)
    assert np.array_equal(sigmoid(q) + sigmoid(-q), np.full(len(q), 32768))


def test_inputs_are_rounded_and_limited():
    graph = graph_of_onnx(model([node("Relu", ["x"], "y")], (1, 3)))
    integers = integer_graph(graph, floats(8, 3))
    step = integers.scales["x"]
    found = integers.quantize(np.array([[1.4 * step, -1e9, 1e9]], np.float32))
    assert found.tolist() == [[1, -127, 127]]
