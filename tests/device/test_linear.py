"""Linear layers on boards are NumPy's products: bit for bit in int8, to rounding in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from device_layers import ERROR_SIZE, ERROR_WORK, OK, WAYS, Calls, held, outputs, sparse, work
from layers_twin import Requantize

from deepcompression.file.reader import DczFile

LIMITS = np.array([-3e38, 3e38], np.float32)

# rows, columns, density; more than 255 columns take fillers
SHAPES = [
    (1, 1, 1.0),
    (3, 5, 0.0),
    (7, 31, 0.5),
    (64, 256, 0.1),
    (5, 1000, 0.002),
    (4, 257, 1.0),
    (9, 600, 0.01),
    (2, 3, 0.4),
]


def _requantize(rng: np.random.Generator, rows: int, low: int = -127, high: int = 127) -> Requantize:
    """Multipliers of both signs, and zero; sums of up to 2^22 stay in range."""
    multiplier = rng.integers(-8000, 8001, rows).astype(np.int16)
    multiplier[:1] = 0 if rows > 3 else 31
    return Requantize(multiplier, int(rng.integers(8, 12)), int(rng.integers(1, 20)), low, high)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("rows", "cols", "density"), SHAPES)
def test_int8_products_are_exact(rows: int, cols: int, density: float, way: str) -> None:
    rng = np.random.default_rng(rows * cols)
    calls, expected = Calls(), []
    end, more = WAYS[way]
    for kind, low, high in (("i8", -127, 127), ("i8", 0, 127), ("i8", 0, 47), ("i16", -32767, 32767)):
        dense = sparse(rng, (rows, cols), density)
        x = rng.integers(-127, 128, cols).astype(np.int8)
        for bias in (rng.integers(-(2**20), 2**20, rows).astype(np.int32), None):
            to = _requantize(rng, rows, low, high)
            name, room = f"linear_{kind}_{end}", work(more=more)
            calls.add(name, rows, rows, cols, bias, to, held(dense, way), x, room)
            sums = dense.astype(np.int64) @ x + (0 if bias is None else bias)
            expected.append(to(sums, np.arange(rows)))
    for found, right in zip(outputs(calls), expected, strict=True):
        assert np.array_equal(found, right)


def test_sums_reach_the_ends_of_int32_and_activations_saturate() -> None:
    cols = 256
    dense = np.full((2, cols), 127, np.int8)
    dense[1] = -127
    x = np.full(cols, 127, np.int8)
    bias = np.array([2**31 - 1 - 127 * 127 * cols, -(2**31) + 127 * 127 * cols], np.int32)
    to = Requantize(np.array([32766], np.int16), 16, 16, -127, 127)
    calls = Calls()
    calls.add("linear_i8_packed", 2, 2, cols, bias, to, held(dense, "packed"), x, None)
    calls.add(
        "linear_i16_packed", 2, 2, cols, bias, to._replace(low=-32767, high=32767), held(dense, "packed"), x, None
    )
    narrow, wider = outputs(calls)
    assert narrow.tolist() == [127, -127]
    assert wider.tolist() == [16383, -16383]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("rows", "cols", "density"), SHAPES)
def test_float_products_are_right_to_rounding(rows: int, cols: int, density: float, way: str) -> None:
    rng = np.random.default_rng(rows + cols)
    dense = sparse(rng, (rows, cols), density, np.float32)
    x = rng.standard_normal(cols).astype(np.float32)
    bias = rng.standard_normal(rows).astype(np.float32)
    calls = Calls()
    end, more = WAYS[way]
    for given, limits in ((bias, LIMITS), (None, LIMITS), (bias, np.array([0, 0.5], np.float32))):
        calls.add(f"linear_f32_{end}", rows, rows, cols, given, limits, held(dense, way), x, work(more=more))
    sums = dense.astype(np.float64) @ x
    for found, right in zip(outputs(calls), (sums + bias, sums, np.clip(sums + bias, 0, 0.5)), strict=True):
        assert np.abs(found - right).max() <= 1e-5 * max(1, np.abs(right).max())


def test_tensors_of_another_shape_or_dtype_are_refused() -> None:
    rng = np.random.default_rng(7)
    dense, real = sparse(rng, (4, 6), 0.7), sparse(rng, (4, 6), 0.7, np.float32)
    to, x, x_real = Requantize(np.array([1], np.int16), 0, 1, -127, 127), np.ones(7, np.int8), np.ones(7, np.float32)
    calls = Calls()
    for way in ("raw", "device"):
        for rows, cols in ((4, 7), (5, 6), (4, 5), (3, 6)):
            calls.add("linear_i8_coded", rows, rows, cols, None, to, held(dense, way), x, work(more=4096))
            calls.add("linear_f32_coded", rows, rows, cols, None, LIMITS, held(real, way), x_real, work(more=4096))
        calls.add("linear_i8_coded", 4, 4, 6, None, to, held(real, way), x, work(more=4096))
        calls.add("linear_f32_coded", 4, 4, 6, None, LIMITS, held(dense, way), x_real, work(more=4096))
    assert {error for error, _ in calls.run()} == {ERROR_SIZE}


def test_a_work_buffer_of_exactly_what_the_file_states_is_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    to, x = Requantize(np.array([1], np.int16), 0, 1, -127, 127), rng.integers(-127, 128, 300).astype(np.int8)
    dense = sparse(rng, (20, 300), 0.1)
    file, number, _ = held(dense, "device")
    (tmp_path / "weights.dcz").write_bytes(file)
    with DczFile(tmp_path / "weights.dcz") as opened:
        stated = opened.work_bytes
    assert stated
    calls = Calls()
    for size in (stated, stated - 1):
        calls.add("linear_i8_coded", 20, 20, 300, None, to, file, number, None, x, work(more=size))
    (enough, found), (short, _) = calls.run()
    assert (enough, short) == (OK, ERROR_WORK)
    assert np.array_equal(found, to(dense.astype(np.int64) @ x))
