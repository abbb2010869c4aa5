"""Scales of least squared error on calibration inputs, and exact ones where weights are on a grid."""

import numpy as np
import pytest
from onnx_boards import floats, model, node

from deepcompression.embedded.onnx_front import graph_of_onnx
from deepcompression.embedded.scales import quantized, scales_of, squared_error, step_of_weights


def scales(nodes, inputs, constants=None):
    return scales_of(graph_of_onnx(model(nodes, (1, *inputs.shape[1:]), constants)), inputs)


def test_a_rare_outlier_is_clipped_if_that_makes_the_error_smaller():
    inputs = floats(64, 500)
    inputs[0, 0] = 30
    found = scales([node("Relu", ["x"], "y")], inputs)["x"]
    assert found < 30 / 127
    assert squared_error(inputs, found) < squared_error(inputs, 30 / 127)


def test_values_that_are_spread_evenly_keep_their_whole_range():
    inputs = np.linspace(-2, 2, 4096, dtype=np.float32).reshape(8, 512)
    assert scales([node("Relu", ["x"], "y")], inputs)["x"] == pytest.approx(2 / 127, rel=0.06)


def test_pools_and_views_keep_the_scale_and_functions_have_their_own():
    nodes = [
        node("MaxPool", ["x"], "a", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["a"], "b"),
        node("Softmax", ["b"], "y"),
    ]
    found = scales(nodes, floats(8, 1, 4, 4))
    assert found["x"] == found["a"] == found["b"]
    assert found["y"] == 1 / 127


def test_a_value_that_is_always_zero_has_some_scale():
    found = scales([node("Mul", ["x", "c"], "a"), node("Relu", ["a"], "y")], floats(4, 3), {"c": np.float32(0)})
    assert found["a"] > 0


def test_values_that_are_not_finite_are_refused_by_name():
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="the calibration inputs make a infinite"):
        scales([node("Mul", ["x", "c"], "a"), node("Relu", ["a"], "y")], 1e30 * floats(4, 3), {"c": np.float32(1e30)})


def test_weights_on_an_int8_grid_are_exact():
    digits = np.random.default_rng(0).integers(-90, 91, (8, 8))
    weights = (digits * np.float32(0.0625)).astype(np.float32)
    step = step_of_weights(weights)
    assert np.array_equal(quantized(weights, step) * np.float32(step), weights)
    # else the largest weight would have the digit 127
    assert np.abs(quantized(weights, step)).max() <= 90


def test_weights_off_any_grid_have_a_small_error():
    weights = floats(40, 50)
    error = squared_error(weights, step_of_weights(weights)) / np.square(weights).sum()
    assert error < (1.2 / 127) ** 2
