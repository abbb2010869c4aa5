"""Bitmaps of survivors and their positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompression import _core

positions_lists = st.lists(st.integers(1, 40), max_size=60).map(lambda steps: np.cumsum(np.array(steps, np.int64)) - 1)


@given(positions_lists, st.integers(0, 9))
def test_positions_and_bitmaps_are_each_others_inverse(positions, more):
    size = int(positions[-1]) + 1 + more if len(positions) else more
    mask = np.zeros(size, bool)
    mask[positions] = True
    bitmap = _core.bitmap_of(positions, size)
    assert bitmap.tolist() == np.packbits(mask, bitorder="little").tolist()
    assert _core.positions_of(bitmap, size).tolist() == positions.tolist()


@pytest.mark.parametrize("positions", [[3, 3], [4, 3], [-1], [9], [0, 9]])
def test_positions_out_of_order_or_bounds_are_refused(positions):
    with pytest.raises(ValueError, match="must ascend strictly from 0 and stay below 9"):
        _core.bitmap_of(np.array(positions, np.int64), 9)


def test_bitmaps_of_another_size_are_refused():
    for function in (_core.positions_of, lambda bitmap, size: _core.encode_mask(bitmap, np.array([size], np.uint64))):
        with pytest.raises(ValueError, match="a bitmap of 17 elements has 3 bytes; found 2"):
            function(np.zeros(2, np.uint8), 17)
        with pytest.raises(ValueError, match="has a bit set behind its 15 elements"):
            function(np.full(2, 255, np.uint8), 15)
