"""Elementwise layers and softmax on boards: NumPy's, bit for bit in int8, to 1e-6 in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from device_layers import Calls, outputs
from layers_twin import Requantize, sigmoid, softmax_i8, softmax_table
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALL = np.arange(-127, 128).astype(np.int8)
REALS = np.concatenate(
    [np.linspace(-100, 100, 4001), np.linspace(-1, 1, 2001), [0.0, 1e-30, -1e-30, 1e4, -1e4, 3e38, -3e38]]
).astype(np.float32)


def _gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


# name, arguments, the same in float64, the largest input
UNARY: dict[str, tuple[tuple[float, ...], Callable[[Floats], Any], float]] = {
    "clip_f32": ((-2.5, 6.0), lambda x: np.clip(x, -2.5, 6), 4e38),
    "leaky_f32": ((0.01,), lambda x: np.where(x < 0, np.float32(0.01) * x, x), 1e36),
    "sigmoid_f32": ((), sigmoid, 4e38),
    "tanh_f32": ((), np.tanh, 1e38),
    "hard_sigmoid_f32": ((0.2, 0.5), lambda x: np.clip(np.float32(0.2) * x + 0.5, 0, 1), 4e38),
    "hard_swish_f32": ((), lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 4e38),
    "elu_f32": ((1.5,), lambda x: np.where(x < 0, 1.5 * np.expm1(np.minimum(x, 0)), x), 4e38),
    "gelu_f32": ((), lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), 1e5),
    "gelu_tanh_f32": ((), _gelu_tanh, 1e5),
    "silu_f32": ((), lambda x: x * sigmoid(x), 4e38),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_float_functions(name: str) -> None:
    arguments, expected, most = UNARY[name]
    x = REALS[np.abs(REALS) <= most]
    calls = Calls()
    calls.add(name, len(x), x, *arguments)
    (found,) = outputs(calls)
    right = expected(x.astype(np.float64))
    assert np.all(np.abs(found - right) <= 1e-6 * np.maximum(1, np.abs(x) * (np.abs(right) > 0)))


def test_a_table_is_any_function_of_int8() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(-127, 128, 256).astype(np.int8)
    calls = Calls()
    calls.add("table_i8", len(ALL), table, ALL)
    assert np.array_equal(outputs(calls)[0], table[ALL.astype(int) + 128])


@pytest.mark.parametrize(
    ("factor", "post", "low", "high"), [(16384, 14, 0, 127), (23456, 15, -127, 127), (-77, 3, -90, 100)]
)
def test_rescaling_rounds_halves_up_and_clamps(factor: int, post: int, low: int, high: int) -> None:
    to = Requantize(np.array([factor], np.int16), 0, post, low, high)
    calls = Calls()
    calls.add("rescale_i8", len(ALL), to, ALL)
    right = np.clip(np.floor(ALL * (factor / 2**post) + 0.5), low, high)
    assert np.array_equal(outputs(calls)[0], right)


def test_scaling_by_channel() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-127, 128, (5, 12)).astype(np.int8)
    factor, post = rng.integers(-9000, 9000, 5).astype(np.int16), 13
    offset = rng.integers(-(2**18), 2**18, 5).astype(np.int32)
    to = Requantize(factor, 0, post, -127, 127)
    calls = Calls()
    calls.add("scale_i8", x.shape, to, offset, x, 5, 12)
    reals = [rng.standard_normal(shape).astype(np.float32) for shape in (5, 5, (5, 12))]
    calls.add("scale_f32", x.shape, *reals, 5, 12)
    found, found_f = outputs(calls)
    sums = x.astype(np.int64) * factor[:, None] + offset[:, None]
    assert np.array_equal(found, np.clip(sums >> post, -127, 127))
    assert np.allclose(found_f, reals[2] * reals[0][:, None] + reals[1][:, None], atol=1e-6)


@pytest.mark.parametrize("wide", [True, False])
def test_adding_and_multiplying(wide: bool) -> None:
    rng = np.random.default_rng(2)
    shape = (6, 11)
    a = rng.integers(-127, 128, shape).astype(np.int8)
    b = rng.integers(-127, 128, shape if wide else 6).astype(np.int8)
    a_f = rng.standard_normal(shape).astype(np.float32)
    b_f = rng.standard_normal(b.shape).astype(np.float32)
    add = Requantize(np.array([32767, -20000], np.int16), 0, 15, -127, 127)
    multiply = Requantize(np.array([30000], np.int16), 0, 21, -127, 100)
    calls = Calls()
    calls.add("add_i8", shape, add, a, b, *shape, wide)
    calls.add("multiply_i8", shape, multiply, a, b, *shape, wide)
    calls.add("add_f32", shape, a_f, b_f, *shape, wide)
    calls.add("multiply_f32", shape, a_f, b_f, *shape, wide)
    found = outputs(calls)
    spread, spread_f = (each if wide else each[:, None] for each in (b, b_f))
    sums = a.astype(np.int64) * 32767 + spread.astype(np.int64) * -20000
    assert np.array_equal(found[0], np.clip((sums + 2**14) >> 15, -127, 127))
    assert np.array_equal(found[1], multiply(a.astype(np.int64) * spread))
    assert np.array_equal(found[2], a_f + spread_f)
    assert np.array_equal(found[3], a_f * spread_f)


@pytest.mark.parametrize("scale", [0.001, 0.05, 0.7])
def test_softmax(scale: float) -> None:
    rng = np.random.default_rng(3)
    calls, expected = Calls(), []
    table = softmax_table(scale)
    for rows, n in ((1, 1), (1, 10), (4, 12), (1, 1000)):
        x = rng.integers(-127, 128, (rows, n)).astype(np.int8)
        x[0, 0], x[0, -1] = 127, -127
        calls.add("softmax_i8", (rows, n), table, x, rows, n)
        calls.add("softmax_f32", (rows, n), x.astype(np.float32) * np.float32(scale), rows, n)
        e = np.exp(scale * (x - x.max(1, keepdims=True).astype(float)))
        expected.append((softmax_i8(table, x), e / e.sum(1, keepdims=True)))
    found = outputs(calls)
    for i, (right, right_f) in enumerate(expected):
        assert np.array_equal(found[2 * i], right)
        assert np.abs(found[2 * i] / 127 - right_f).max() <= 0.005
        assert np.abs(found[2 * i + 1] - right_f).max() <= 1e-6
