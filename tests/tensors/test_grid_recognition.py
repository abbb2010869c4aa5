"""Codebooks on a grid: recognised by their values alone."""

import math
from fractions import Fraction

import numpy as np
import pytest
from grids import CODEBOOK, PAIRS, codebook_in, significant_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression.sharing.codebook import share_values
from deepcompression.tensors.grid import LIMITS, digits_on_grid, grid_of, to_grid
from deepcompression.tensors.slices import Weights


def twin_digits(codebook):
    """Tries every largest digit: the grid, the scale and the digits of the first that explains all centroids."""
    # in units of the smallest positive float32: every scale is a multiple of it
    values = [int(Fraction(value) * 2**149) for value in codebook.tolist()]
    largest = max(map(abs, values))
    for grid, limit in LIMITS.items():
        for digit in range(1, limit + 1):
            scale, rest = divmod(largest, digit)
            fits = not rest and scale and significant_bits(scale) <= grid_of(grid).scale_bits
            if fits and not any(value % scale for value in values):
                return grid, math.ldexp(scale, -149), [value // scale for value in values]
    return None


# few significant bits each: they often have a common scale
COARSE = st.builds(math.ldexp, st.integers(-(2**9), 2**9), st.sampled_from([-149, -148, -3, 0]))
ROUGH = st.integers(-(2**24) + 1, 2**24 - 1).map(lambda value: value / 64)


@settings(deadline=None)
@given(st.lists(COARSE, min_size=1, max_size=4).filter(any) | st.lists(ROUGH, min_size=1, max_size=2).filter(any))
def test_recognition_is_that_of_the_slow_twin(values):
    codebook = np.array(values, np.float32)
    found, expected = digits_on_grid(codebook), twin_digits(codebook)
    assert (found and (found.grid, found.scale, found.digits.tolist())) == expected


@pytest.mark.parametrize("grid", LIMITS)
@given(
    exponent=st.integers(-149, 90),
    significand=st.integers(1),
    digits=st.lists(st.integers(-32639, 32639), min_size=1, max_size=20),
)
def test_any_scale_of_so_few_bits_is_recognised_whatever_the_largest_digit(grid, exponent, significand, digits):
    found = grid_of(grid)
    scale = (1 + significand % (2**found.scale_bits - 1)) * 2.0**exponent
    digits = np.array([int(math.fmod(digit, found.limit + 1)) for digit in digits])
    codebook = (digits * scale).astype(np.float32)
    recognised = digits_on_grid(codebook)
    assert recognised.grid in ("int8", grid)
    assert np.abs(recognised.digits).max() <= LIMITS[recognised.grid]
    assert (np.float32(recognised.scale) * recognised.digits.astype(np.float32)).tobytes() == codebook.tobytes()


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_centroids_rounded_to_a_grid_are_recognised(grid, dtype, values):
    codebook = to_grid(codebook_in(values, dtype), grid, dtype)
    found = digits_on_grid(codebook)
    assert found.grid in ("int8", grid)
    assert np.array_equal(np.float32(found.scale) * found.digits.astype(np.float32), codebook.astype(np.float32))


@pytest.mark.parametrize(
    ("codebook", "expected"),
    [
        ([], ("int8", 1.0, [])),
        ([0.0], ("int8", 1.0, [0])),
        ([-0.0, 0.0], ("int8", 1.0, [0, 0])),
        ([-0.0, 3.0, 0.0], ("int8", 3.0, [0, 1, 0])),
        ([0.75], ("int8", 0.75, [1])),
        ([-0.5, -1.5], ("int8", 0.5, [-1, -3])),
        ([2.0**-149, 127 * 2.0**-149], ("int8", 2.0**-149, [1, 127])),
        ([2.0**-149, 128 * 2.0**-149], ("int16", 2.0**-149, [1, 128])),
        ([2.0**127], ("int8", 2.0**127, [1])),
        ([-127.0, 1.0], ("int8", 1.0, [-127, 1])),
        ([-128.0, 1.0], ("int16", 1.0, [-128, 1])),
        ([32639.0, 1.0], ("int16", 1.0, [32639, 1])),
        ([32768.0, 1.0], None),
        ([float((2**17 - 1) * 127)], ("int8", 2.0**17 - 1, [127])),
        ([float(2**24 - 3)], None),  # a prime: no scale of 17 bits
        ([float(np.float32(0.1))], None),
        ([math.nan], None),
        ([1.0, math.inf], None),
        ([-math.inf], None),
        ([1.0, 1 / 3], None),
        ([2.0**-1074], None),
        ([1e300], None),
    ],
)
def test_the_edges_of_recognition(codebook, expected):
    found = digits_on_grid(np.array(codebook, np.float64))
    assert (found and (found.grid, found.scale, found.digits.tolist())) == expected


@pytest.mark.parametrize("seed", range(5))
def test_an_ordinary_codebook_is_on_no_grid(seed):
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(3000).astype(np.float32)
    assert digits_on_grid(share_values(Weights.of(values), 4).codebook) is None
