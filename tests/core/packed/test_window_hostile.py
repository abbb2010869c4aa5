"""Spoilt packed weights are refused, or multiplied without harm. core/fuzz/packed.cpp watches the memory."""

import struct

import numpy as np
import packed_matrices as matrices
import pytest
import window_twin as twin

from deepcompression import _core
from deepcompression.packed import packing
from deepcompression.packed.packing import LAYOUTS

pytestmark = pytest.mark.usefixtures("instruction_set")

# offsets in the header, and the sections of a matrix of 20 x 130 with 16 centroids
ROWS, COLUMNS, UNITS, LENGTH = 8, 16, 36, 40
ENDS, ORDER = 64 + 64 + 64, 64 + 64 + 64 + 64


def small(centroids=16, grid_bits=0, layout="by_slot", columns=130):
    return twin.pack(np.random.default_rng(3).random((20, columns)) < 0.2, centroids, grid_bits, layout)[0]


def spoilt(packed, at, form, value):
    copy = packed.copy()
    struct.pack_into("<" + form, memoryview(copy), at, value)
    return copy


def vectors_of(columns):
    """Two vectors: one for integers, and one with an outlier for floats."""
    x = np.ones((2, columns), np.float32)
    x[1:, :1] = 1e6
    return x


def survives(packed):
    return matrices.survives(packed, vectors_of)


def test_every_truncation_is_refused():
    packed = small()
    assert survives(packed)
    for length in range(len(packed)):
        with pytest.raises(ValueError, match="packed weights"):
            packing.header(packed[:length])
    with pytest.raises(ValueError, match="cut off or too long"):
        packing.header(np.append(packed, packed[:64]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("centroids", "grid_bits"), [(16, 0), (32, 8), (20, 0), (200, 16)])
def test_no_byte_does_harm(centroids, grid_bits, layout):
    packed = small(centroids, grid_bits, layout)
    for at in range(len(packed)):
        copy = packed.copy()
        copy[at] ^= (0x01, 0x80, 0xFF)[at % 3]
        survives(copy)


@pytest.mark.parametrize("seed", range(3))
def test_nor_do_many(seed):
    rng = np.random.default_rng(seed)
    for _ in range(300):
        packed = small(int(rng.choice([3, 20, 256])), int(rng.choice([0, 8, 16])), str(rng.choice(LAYOUTS)))
        at = rng.integers(64, len(packed), rng.integers(1, 200))
        packed[at] = rng.integers(0, 256, len(at))
        survives(packed)


@pytest.mark.parametrize(
    ("at", "form", "value", "said"),
    [
        (0, "4s", b"dcp2", "no packed weights"),
        (4, "B", 0, "unknown form"),
        (4, "B", 7, "unknown form"),
        (5, "B", 6, "contradicts itself"),
        (6, "B", 4, "contradicts itself"),
        (7, "B", 4, "contradict themselves"),
        (ROWS, "Q", 1 << 41, "contradicts itself"),
        (ROWS, "Q", 33, "contradict themselves"),
        (COLUMNS, "Q", 63 * 65535 + 1, "contradict themselves"),
        (UNITS, "I", 3, "contradict themselves"),
        (LENGTH, "Q", 99, "sections do not fill them"),
        (ENDS, "I", 99, "a group outside of the stream"),
        (ENDS + 4, "I", 0, "a group outside of the stream"),
        (ORDER, "I", 20, "not the rows, each once"),
        (ORDER + 4 * 31, "I", 3, "not the rows, each once"),
    ],
)
def test_checking_says_what_is_wrong(at, form, value, said):
    with pytest.raises(ValueError, match=said):
        _core.check_packed(spoilt(small(), at, form, value))


def test_checking_wants_each_row_once():
    packed = small()
    order = packed[ORDER : ORDER + 8].view(np.uint32)
    order[1] = order[0]
    with pytest.raises(ValueError, match="not the rows, each once"):
        _core.check_packed(packed)


def test_checking_wants_all_pairs_in_a_group():
    packed = small()
    ends = packed[ENDS : ENDS + 8].view(np.uint32)
    ends[1] -= 1
    with pytest.raises(ValueError, match="do not fill the stream"):
        _core.check_packed(packed)


@pytest.mark.parametrize(
    ("layout", "group_rows", "planes", "last"),
    [("by_slot", 16, 1, 5), ("digits24", 16, 4, 5), ("one_window", 32, 1, 3)],
)
def test_checking_wants_windows_of_columns(layout, group_rows, planes, last):
    packed = small(layout=layout, columns=400)
    facts = packing.header(packed)
    assert LAYOUTS[facts.layout] == layout
    # 400 columns are 7 blocks; codebook, digits, ends, order and sums come before
    lanes = 4 * group_rows * facts.units
    starts = packed[ORDER + 64 * -(-16 * planes // 64) - 64 + lanes + lanes * planes :][: 2 * facts.length]
    starts = starts.view(np.uint16)
    before = starts[0]
    for start, good in [(before, True), (last, True), (last + 1, False)]:
        starts[0] = start
        assert survives(packed) == good
    with pytest.raises(ValueError, match="a window behind the last column"):
        _core.check_packed(packed)


def test_digits_of_24_bits_are_not_of_the_grid_int8():
    packed = small(grid_bits=8, layout="by_row")
    packed[7] = LAYOUTS.index("digits24")
    with pytest.raises(ValueError, match="contradict themselves"):
        packing.header(packed)
