"""Multipliers and shifts: near the real factor, and within int32 for every sum that the bound allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompression.embedded.requantize import requantize, scale_and_offset, sum_of_two

INT32 = 2**31

factors = st.floats(1e-9, 1.0).flatmap(lambda most: st.lists(st.floats(-most, most), min_size=1, max_size=4))


@given(factors, st.integers(1, INT32 - 1), st.sampled_from([127, 32767]))
def test_no_sum_within_the_bound_leaves_int32(real, bound, high):
    # those whose results fit: a layer's outputs were measured
    real = [each * min(1.0, 2 * high / bound / max(1e-30, *map(abs, real))) for each in real]
    to = requantize("layer", real, bound, -high, high)
    assert 1 <= to.post <= 31
    assert 0 <= to.pre <= 31
    for multiplier in map(int, to.multiplier):
        for total in (bound, -bound, bound // 2, 1, 0, -1):
            scaled = (total >> to.pre) * multiplier
            assert -INT32 <= scaled < INT32
            assert -INT32 <= scaled + (1 << (to.post - 1)) < INT32


def test_the_rounding_counts_where_a_product_nearly_fills_int32():
    to = requantize("layer", 32767 / 2**20, 65535, -127, 127)
    assert (65535 >> to.pre) * int(to.multiplier[0]) + (1 << (to.post - 1)) < INT32


@given(st.floats(1e-6, 0.5), st.integers(1000, 1 << 24))
def test_results_are_within_two_steps_of_the_real_product(real, bound):
    real = min(real, 127 / bound)
    to = requantize("layer", real, bound, -127, 127)
    sums = np.linspace(-bound, bound, 101).astype(np.int64)
    # half of the dropped bits are part of the bias
    found = to(sums[:, None] + (1 << to.pre >> 1))[:, 0]
    assert np.abs(found - np.clip(sums * real, -127, 127)).max() < 0.52 + 0.01


def test_a_sum_beyond_int32_is_refused_with_the_layer():
    with pytest.raises(ValueError, match=r"fc1: its sums reach 2147483648, and int32 ends at 2147483648"):
        requantize("fc1", 1e-6, INT32, -127, 127)


def test_a_factor_that_no_multiplier_holds_is_refused_with_the_layer():
    with pytest.raises(ValueError, match="fc1: a sum of up to 1000000 times 3e"):
        requantize("fc1", 3e5, 1_000_000, -127, 127)


def test_limits_hold():
    to = requantize("layer", 0.01, 100_000, 0, 60)
    assert to(np.array([[-(10**5)], [10**5], [100]]))[:, 0].tolist() == [0, 60, 1]


@given(st.floats(1e-4, 50), st.floats(1e-4, 50))
def test_two_factors_have_one_shift(first, second):
    to = sum_of_two("add", first, second, -127, 127)
    for factor, real in zip(to.multiplier, (first, second), strict=True):
        assert factor / 2**to.post == pytest.approx(real, abs=max(first, second) / 2**13)
    assert 127 * int(np.abs(to.multiplier.astype(int)).sum()) + 2 ** (to.post - 1) < INT32


def test_two_factors_beyond_any_multiplier_are_refused_with_the_layer():
    with pytest.raises(ValueError, match="add: its inputs are 4e"):
        sum_of_two("add", 4e4, 1, -127, 127)


def test_offsets_hold_the_rounding_and_stay_within_int32():
    scale, offset = np.array([0.3, -2.0]), np.array([5.0, -120.0])
    to, offsets = scale_and_offset("norm", scale, offset, -127, 127)
    x = np.arange(-127, 128)
    found = np.clip((x[:, None] * to.multiplier.astype(np.int64) + offsets) >> to.post, to.low, to.high)
    assert np.abs(found - np.clip(x[:, None] * scale + offset, -127, 127)).max() < 0.51
    assert (127 * np.abs(to.multiplier.astype(np.int64)) + np.abs(offsets.astype(np.int64))).max() < INT32
    with pytest.raises(ValueError, match="norm: its scale or offset"):
        scale_and_offset("norm", scale, np.array([0, 1e12]), -127, 127)
