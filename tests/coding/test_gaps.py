"""Positions of survivors <-> their part of a payload."""

import numpy as np
import pytest

from deepcompression.coding.coder import GAP_BITS
from deepcompression.coding.gaps import Code, plan_positions, read_gaps, write_positions
from deepcompression.common.binary import Cursor, FormatError


def positions_of(*steps):
    return np.cumsum(steps) - 1


def total_bytes(positions, bits, filler_bytes):
    """Bytes of the whole payload, which is written for it."""
    plan = plan_positions(positions, bits, lambda fillers: fillers * filler_bytes)
    written, filler = write_positions(positions, plan)
    return len(written) + int(filler.sum()) * filler_bytes


@pytest.mark.parametrize("filler_bytes", [0, 1, 4])
@pytest.mark.parametrize("density", [0.5, 0.1, 0.01, 0.001])
def test_the_narrowest_width_of_the_smallest_payload_is_taken(density, filler_bytes):
    positions = np.flatnonzero(np.random.default_rng(0).random(20_000) < density)
    sizes = {bits: total_bytes(positions, bits, filler_bytes) for bits in GAP_BITS}
    plan = plan_positions(positions, None, lambda fillers: fillers * filler_bytes)
    assert plan.gap_bits == min(sizes, key=lambda bits: (sizes[bits], bits))


@pytest.mark.parametrize("bits", GAP_BITS)
def test_steps_around_the_width_are_read_back(bits):
    positions = positions_of(1, 1 << bits, (1 << bits) + 1, 1, 3 << bits, 2)
    written, filler = write_positions(positions, plan_positions(positions, bits, lambda fillers: fillers))
    assert filler.tolist() == [False, False, True, False, False, True, True, False, False]
    cursor = Cursor(written)
    gaps = read_gaps(cursor, int(positions[-1]) + 1, 0)
    assert cursor.left == 0
    assert gaps.bits == bits
    assert (np.cumsum(gaps.values.astype(np.int64) + 1) - 1)[~filler].tolist() == positions.tolist()
    assert sum(gaps.parts.values()) == len(written)


def test_a_lone_symbol_takes_no_bits():
    assert Code.of(np.array([0, 9, 0], np.uint64)).stream_bytes == 0
    assert Code.of(np.array([1, 9, 0], np.uint64)).stream_bytes == 2


def test_every_truncation_is_refused():
    positions = np.flatnonzero(np.random.default_rng(1).random(400) < 0.2)
    written, _ = write_positions(positions, plan_positions(positions, 3, lambda fillers: 0))
    for length in range(len(written)):
        with pytest.raises(FormatError):
            read_gaps(Cursor(written[:length]), 400, 0)


def test_more_entries_than_elements_are_refused():
    positions = np.arange(10)
    written, _ = write_positions(positions, plan_positions(positions, None, lambda fillers: 0))
    with pytest.raises(FormatError, match="10 entries are claimed for a tensor of 9 elements"):
        read_gaps(Cursor(written), 9, 0)
