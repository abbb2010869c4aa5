"""Positions <-> gaps against their twin, and positions that do not fit."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompression import _core

gap_widths = st.integers(2, 16)
steps = st.one_of(st.integers(1, 40), st.sampled_from([2**b + d for b in range(2, 17) for d in (-1, 0, 1)]))
positions_lists = st.lists(steps, max_size=60).map(lambda steps: np.cumsum(np.array(steps, np.int64)) - 1)


@given(positions_lists, gap_widths)
def test_gaps_are_those_of_the_twin_and_come_back(positions, gap_bits):
    gaps, filler = _core.to_paper_gaps(positions, gap_bits)
    assert (gaps.dtype, filler.dtype) == (np.uint16, np.bool_)
    assert (gaps.tolist(), filler.tolist()) == oracle.to_paper_gaps(positions.tolist(), gap_bits)
    size = int(positions[-1]) + 1 if len(positions) else 0
    back = _core.from_paper_gaps(gaps, filler, size)
    assert back.dtype == np.int64
    assert back.tolist() == positions.tolist() == oracle.from_paper_gaps(gaps.tolist(), filler.tolist())


@given(positions_lists, gap_widths)
def test_counts_are_those_of_the_gaps(positions, gap_bits):
    gaps, filler = _core.to_paper_gaps(positions, gap_bits)
    counts, fillers = _core.paper_gap_counts(positions, gap_bits)
    assert counts.tolist() == np.bincount(gaps, minlength=2**gap_bits).tolist()
    assert fillers == filler.sum()


def test_figure_2_of_the_paper():
    # Weights at 1, 4 and 15 with 3-bit differences: 1, 3, a filler zero at 8, 3. The first step starts at -1 here.
    gaps, filler = _core.to_paper_gaps(np.array([1, 4, 15], np.int64), 3)
    assert (gaps + 1).tolist() == [2, 3, 8, 3]
    assert filler.tolist() == [False, False, True, False]


@pytest.mark.parametrize("gap_bits", range(2, 17))
def test_a_step_of_the_bound_needs_no_filler_and_one_more_does(gap_bits):
    bound = 2**gap_bits
    assert _core.to_paper_gaps(np.array([bound - 1], np.int64), gap_bits)[0].tolist() == [bound - 1]
    assert _core.to_paper_gaps(np.array([bound], np.int64), gap_bits)[0].tolist() == [bound - 1, 0]
    assert _core.to_paper_gaps(np.array([0, 2 * bound], np.int64), gap_bits)[0].tolist() == [0, bound - 1, bound - 1]
    assert _core.to_paper_gaps(np.array([0, 2 * bound + 1], np.int64), gap_bits)[1].tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_first_and_last_position_and_none():
    for positions in ([], [0], [9], [0, 9]):
        positions = np.array(positions, np.int64)
        gaps, filler = _core.to_paper_gaps(positions, 2)
        assert _core.from_paper_gaps(gaps, filler, 10).tolist() == positions.tolist()


def test_far_positions_are_counted_without_being_built():
    far = np.array([2**63 - 1], np.int64)
    counts, fillers = _core.paper_gap_counts(far, 2)
    assert (counts.tolist(), fillers) == ([0, 0, 0, 2**61], 2**61 - 1)
    with pytest.raises(MemoryError):
        _core.to_paper_gaps(far, 2)


def test_an_entry_beyond_the_elements_is_refused_even_a_filler():
    gaps, filler = np.array([0, 7, 7], np.uint16), np.array([False, True, False])
    assert _core.from_paper_gaps(gaps, filler, 17).tolist() == [0, 16]
    with pytest.raises(_core.FormatError, match="position 16, but there are only 16"):
        _core.from_paper_gaps(gaps, filler, 16)
    assert _core.from_paper_gaps(gaps, ~filler, 17).tolist() == [8]
    with pytest.raises(_core.FormatError, match="position 16, but there are only 9"):
        _core.from_paper_gaps(gaps, ~filler, 9)
    with pytest.raises(_core.FormatError):
        _core.from_paper_gaps(gaps[:1], filler[:1], 0)


@given(st.lists(st.tuples(st.integers(0, 65535), st.booleans()), max_size=50), st.integers(0, 2**21))
def test_any_entries_give_positions_within_or_are_refused(entries, size):
    gaps, filler = [gap for gap, _ in entries], [fills for _, fills in entries]
    arrays = np.array(gaps, np.uint16), np.array(filler, bool)
    if sum(gaps) + len(gaps) > size:
        with pytest.raises(_core.FormatError):
            _core.from_paper_gaps(*arrays, size)
    else:
        assert _core.from_paper_gaps(*arrays, size).tolist() == oracle.from_paper_gaps(gaps, filler)


def test_booleans_of_any_byte_are_truth_values():
    filler = np.array([0, 2, 255, 0, 1], np.uint8).view(bool)
    assert _core.from_paper_gaps(np.zeros(5, np.uint16), filler, 5).tolist() == [0, 3]


@pytest.mark.parametrize("positions", [[-1], [0, 0], [5, 4], [3, -2], [-(2**63)]])
def test_positions_that_do_not_ascend_are_refused(positions):
    positions = np.array(positions, np.int64)
    for function in (_core.paper_gap_counts, _core.to_paper_gaps):
        with pytest.raises(ValueError, match="ascend"):
            function(positions, 4)


@pytest.mark.parametrize("gap_bits", [0, 1, 17, 64, 2**32 - 1])
def test_gap_width_outside_2_to_16_is_refused(gap_bits):
    for function in (_core.paper_gap_counts, _core.to_paper_gaps):
        with pytest.raises(ValueError, match="2 to 16"):
            function(np.array([1], np.int64), gap_bits)


def test_wrong_dtype_or_length_is_refused():
    with pytest.raises(TypeError):
        _core.to_paper_gaps(np.array([1], np.int32), 4)
    with pytest.raises(TypeError):
        _core.from_paper_gaps(np.zeros(2, np.uint16), np.zeros(2, np.uint8), 9)
    with pytest.raises(ValueError, match="differ in length"):
        _core.from_paper_gaps(np.zeros(2, np.uint16), np.zeros(3, bool), 9)
