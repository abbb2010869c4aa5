"""Convolutions on boards are those of slow loops, whatever strides, padding, dilation and groups."""

from __future__ import annotations

import numpy as np
import pytest
from device_layers import ERROR_RANGE, ERROR_WORK, WAYS, Calls, held, outputs, packed_i8, sparse, work
from layers_twin import Requantize, Window, convolution

# groups, filters, density, window; outputs are set by `_sized`
CASES = {
    "plain": (1, 3, 0.4, Window(7, 9, 0, 0, 2, 3, 3, 3)),
    "one pixel": (1, 2, 0.7, Window(3, 3, 0, 0, 1, 2, 3, 3)),
    "pointwise": (1, 5, 0.5, Window(3, 10, 0, 0, 6, 5, 1, 1)),
    "strides": (1, 3, 0.5, Window(11, 12, 0, 0, 2, 3, 3, 4, 2, 3)),
    "padding": (1, 3, 0.5, Window(5, 6, 0, 0, 2, 3, 3, 3, 1, 1, 1, 1)),
    "wide padding, narrow input": (1, 2, 0.8, Window(2, 3, 0, 0, 2, 2, 5, 5, 1, 1, 4, 4)),
    "strides over the edge": (1, 2, 0.8, Window(5, 5, 0, 0, 1, 2, 3, 3, 3, 3, 2, 2)),
    "dilation": (1, 2, 0.6, Window(9, 11, 0, 0, 2, 2, 3, 3, 1, 2, 2, 3, 2, 3)),
    "groups": (3, 6, 0.5, Window(6, 5, 0, 0, 2, 2, 3, 2, 1, 1, 1, 0)),
    "depthwise": (8, 8, 1.0, Window(6, 13, 0, 0, 1, 1, 3, 3, 1, 1, 1, 1)),
    "depthwise, two each": (4, 8, 0.7, Window(5, 5, 0, 0, 1, 2, 3, 3, 2, 2, 1, 1)),
    "one dimension": (1, 4, 0.3, Window(1, 40, 0, 0, 5, 4, 1, 7, 1, 2, 0, 3)),
    "keyword spotting": (1, 4, 0.3, Window(49, 10, 0, 0, 1, 4, 10, 4, 2, 2, 4, 1)),
    "nothing survives": (1, 3, 0.0, Window(5, 5, 0, 0, 2, 3, 3, 3, 1, 1, 1, 1)),
    "long rows": (1, 2, 0.01, Window(5, 6, 0, 0, 70, 2, 3, 3)),
    "large kernel": (1, 2, 0.1, Window(17, 16, 0, 0, 1, 2, 16, 16, 1, 1, 3, 5)),
}


def _sized(window: Window, more: int = 0) -> Window:
    """With as many outputs as padding on both sides gives, and `more` rows and columns of padding behind."""

    def outs(size: int, pad: int, kernel: int, dilation: int, stride: int) -> int:
        return (size + 2 * pad + more - (kernel - 1) * dilation - 1) // stride + 1

    w = window
    return w._replace(
        out_height=outs(w.height, w.pad_top, w.kernel_height, w.dilation_y, w.stride_y),
        out_width=outs(w.width, w.pad_left, w.kernel_width, w.dilation_x, w.stride_x),
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_convolutions(name: str, more: int, way: str) -> None:
    groups, filters, density, window = CASES[name]
    window = _sized(window, more)
    cols = window.group_channels * window.kernel_height * window.kernel_width
    shape = (filters, window.out_height, window.out_width)
    rng = np.random.default_rng(len(name))
    calls = Calls()
    inputs = (groups * window.group_channels, window.height, window.width)

    dense = sparse(rng, (filters, cols), density)
    x = rng.integers(-127, 128, inputs).astype(np.int8)
    bias = rng.integers(-5000, 5000, filters).astype(np.int32)
    to = Requantize(rng.integers(-3000, 3000, filters).astype(np.int16), 4, 15, -127, 127)
    end, decoder = WAYS[way]
    room = work(int(np.count_nonzero(dense, axis=1).max()), decoder)
    calls.add(f"conv_i8_{end}", shape, window, filters, cols, bias, to, held(dense, way), x, room)
    right = to(convolution(window, dense, bias, x), np.arange(filters)[:, None, None])

    dense_f = sparse(rng, (filters, cols), density, np.float32)
    x_f = rng.standard_normal(inputs).astype(np.float32)
    bias_f = rng.standard_normal(filters).astype(np.float32)
    row = 4 * cols if way == "raw" else 0
    room_f = work(int(np.count_nonzero(dense_f, axis=1).max()), decoder + row)
    limits = np.array([-1, 3e38], np.float32)
    arguments = (window, filters, cols, bias_f, limits, held(dense_f, way), x_f, room_f)
    calls.add(f"conv_f32_{end}", shape, *arguments)
    right_f = np.maximum(convolution(window, dense_f, bias_f, x_f), -1)

    found, found_f = outputs(calls)
    assert np.array_equal(found, right)
    assert np.abs(found_f - right_f).max() <= 1e-5 * max(1, np.abs(right_f).max())


def test_work_that_is_too_small_and_columns_outside_are_refused() -> None:
    window = _sized(Window(4, 4, 0, 0, 2, 1, 2, 2))
    dense = np.ones((1, 8), np.int8)
    to = Requantize(np.array([1], np.int16), 0, 1, -127, 127)
    x = np.ones((2, 4, 4), np.int8)
    calls = Calls()
    calls.add("conv_i8_packed", (1, 3, 3), window, 1, 8, None, to, packed_i8(dense), x, work(7, more=7))
    calls.add("conv_i8_packed", (1, 3, 3), window, 1, 8, None, to, packed_i8(np.ones((1, 9), np.int8)), x, work(9))
    assert [error for error, _ in calls.run()] == [ERROR_WORK, ERROR_RANGE]
