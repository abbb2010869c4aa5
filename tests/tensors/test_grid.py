"""Codebooks on a grid: scales, and rounding to their multiples."""

import math
from fractions import Fraction

import numpy as np
import pytest
from grids import CODEBOOK, PAIRS, codebook_in
from hypothesis import given

from deepcompression.tensors.dtypes import WEIGHT_DTYPES, narrow, widen
from deepcompression.tensors.grid import LIMITS, digits_on_grid, grid_of, grid_scale, to_grid


@pytest.mark.parametrize(
    ("grid", "dtype", "scale_bits"),
    [("int8", "F32", 17), ("int8", "F64", 17), ("int8", "F16", 4), ("int8", "BF16", 1), ("int16", "F32", 9)],
)
def test_a_scale_has_the_bits_that_its_digits_leave(grid, dtype, scale_bits):
    assert grid_of(grid, dtype).scale_bits == scale_bits


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
def test_every_multiple_of_the_largest_and_of_the_smallest_scale_is_exact(grid, dtype):
    found = grid_of(grid, dtype)
    for scale in (found.least_scale, found.largest_scale, found.least_scale * (2**found.scale_bits - 1)):
        multiples = scale * np.arange(found.limit + 1)
        stored = widen(narrow(multiples.astype(np.float64), dtype), dtype).astype(np.float64)
        assert np.array_equal(stored, multiples)


def twin_scale(codebook, grid, dtype):
    """The smallest scale whose largest digit suffices, in rational numbers."""
    found = grid_of(grid, dtype)
    needed = Fraction(max((abs(float(np.float32(value))) for value in codebook), default=0)) / found.limit
    step = Fraction(found.least_scale)
    while -(-needed // step) >= 1 << found.scale_bits:
        step *= 2
    return min(max(-(-needed // step), 1) * step, Fraction(found.largest_scale))


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_the_scale_is_that_of_the_slow_twin(grid, dtype, values):
    codebook = codebook_in(values, dtype)
    assert grid_scale(codebook, grid, dtype) == twin_scale(codebook, grid, dtype)


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_centroids_are_rounded_to_multiples_of_the_scale(grid, dtype, values):
    codebook = codebook_in(values, dtype)
    found, scale = to_grid(codebook, grid, dtype), Fraction(grid_scale(codebook, grid, dtype))
    assert found.dtype == codebook.dtype
    assert widen(narrow(found, dtype), dtype).tobytes() == found.tobytes(), "not exact in the dtype"
    largest = max(map(abs, codebook.tolist()), default=0)
    for before, after in zip(codebook.tolist(), found.tolist(), strict=True):
        digit = Fraction(after) / scale
        assert digit.denominator == 1
        assert abs(digit) <= LIMITS[grid]
        assert math.copysign(1, after) == (math.copysign(1, before) if after else 1)
        if largest <= scale * LIMITS[grid]:
            assert abs(Fraction(after) - Fraction(before)) <= (scale if abs(before) == largest else scale / 2)


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_a_codebook_on_the_grid_does_not_change(grid, dtype, values):
    once = to_grid(codebook_in(values, dtype), grid, dtype)
    assert to_grid(once, grid, dtype).tobytes() == once.tobytes()


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
def test_the_largest_centroid_has_the_largest_digit_where_scales_are_fine(dtype):
    codebook = codebook_in([0.1, -0.7, 0.30000001], dtype)
    digits = np.rint(to_grid(codebook, "int8", dtype) / grid_scale(codebook, "int8", dtype))
    assert digits.tolist() == {"F16": [17, -120, 51], "BF16": [13, -90, 38]}.get(dtype, [18, -127, 54])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_centroids_that_are_not_finite_do_not_change(bad):
    codebook = np.array([0.3, bad, -1.0])
    assert to_grid(codebook, "int8", "F64").tobytes() == codebook.tobytes()
    assert digits_on_grid(codebook) is None


def test_an_unknown_grid_is_refused():
    with pytest.raises(ValueError, match="unknown grid 'int4'; known are int8, int16"):
        grid_of("int4")
