"""Counts of floats by their leading bits, against slow twins."""

import numpy as np
import pytest

from deepcompression import _core
from deepcompression.coding.coder import GAP_BITS

VALUES = np.float32([0.0, -0.0, 1, 1, -1, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf, np.nan, 0.1, 0.1000001])


def twin_ordered(value):
    """An integer that ascends with the value."""
    bits = int(np.float32(value + 0).view(np.uint32))
    return bits ^ 0xFFFFFFFF if bits >> 31 else bits | 0x80000000


def test_digits_ascend_with_the_values_and_values_that_are_not_finite_are_counted_apart():
    counts = np.zeros(1 << 16, np.uint64)
    assert _core.count_digits(VALUES, counts) == 3
    finite = sorted(float(value) for value in VALUES if np.isfinite(value))
    digits = [twin_ordered(value) >> 16 for value in finite]
    assert digits == sorted(digits)
    assert np.repeat(np.arange(1 << 16), counts.astype(np.int64)).tolist() == digits


@pytest.mark.parametrize(("kind", "bits"), [(np.float16, 16), (np.float32, 32), (np.float64, 64)])
def test_magnitudes_are_counted_where_their_higher_bits_are_the_prefix(kind, bits):
    values = np.random.default_rng(0).standard_normal(500).astype(kind)
    whole = [int(v.view(f"u{bits // 8}")) & ((1 << (bits - 1)) - 1) for v in values]
    for shift in range(bits - 16, -1, -16):
        prefix = whole[7] >> (shift + 16)
        counts = np.zeros(1 << 16, np.uint64)
        _core.count_magnitudes(values.view(np.uint8), bits // 8, prefix, shift, counts)
        found = sorted(m >> shift & 0xFFFF for m in whole if m >> (shift + 16) == prefix)
        assert np.repeat(np.arange(1 << 16), counts.astype(np.int64)).tolist() == found


@pytest.mark.parametrize("step", [1, 4, 5, 70_000])
def test_fillers_are_those_of_the_gaps(step):
    positions = np.arange(3, 300_000, step)
    bits = _core.bitmap_of(positions, 300_000)
    expected = [_core.paper_gap_counts(positions, width)[1] for width in GAP_BITS]
    assert _core.fillers_by_gap_bits(bits, 300_000).tolist() == expected


def test_what_does_not_fit_is_refused():
    few, digits = np.zeros(9, np.uint64), np.zeros(1 << 16, np.uint64)
    splits, sums = np.zeros(1 << 16, np.uint8), np.zeros(1, np.float64)
    for wrong in (
        lambda: _core.count_digits(VALUES, few),
        lambda: _core.count_magnitudes(VALUES.view(np.uint8), 4, 0, 8, digits),
        lambda: _core.count_magnitudes(VALUES.view(np.uint8), 8, 0, 64, digits),
        lambda: _core.count_magnitudes(VALUES.view(np.uint8)[:1], 1, 0, 0, digits),
        lambda: _core.add_to_bins(VALUES, digits, splits + np.uint8(17), few[:1], sums),
        lambda: _core.add_to_bins(VALUES, digits + np.uint64(1), splits, few[:1], sums),
        lambda: _core.add_to_bins(VALUES, digits, splits, few, sums),
    ):
        with pytest.raises(ValueError, match=r"there are|begin|bytes|bin"):
            wrong()
