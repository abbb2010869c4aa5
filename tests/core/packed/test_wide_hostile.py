"""Spoilt packed weights of the form wide are refused, or multiplied without harm."""

import numpy as np
import packed_matrices as matrices
import pytest
from wide_twin import pack

from deepcompression import _core
from deepcompression.packed import packing
from tests.core.packed.test_window import random_mask

pytestmark = pytest.mark.usefixtures("instruction_set")


def vectors_of(columns):
    x = np.ones((2, columns), np.float32)
    x[1:, :1] = 1e6
    return x


def survives(packed):
    return matrices.survives(packed, vectors_of)


def small(centroids=16, grid_bits=0, two_windows=False):
    return pack(random_mask((20, 400), 0.2, 3), centroids, grid_bits, two_windows)[0]


def test_every_truncation_is_refused():
    packed = small(two_windows=True)
    assert survives(packed)
    for length in range(0, len(packed), 7):
        with pytest.raises(ValueError, match="packed weights"):
            packing.header(packed[:length].copy())


@pytest.mark.parametrize(
    ("centroids", "grid_bits", "two_windows"), [(16, 0, True), (32, 8, False), (20, 0, True), (200, 16, True)]
)
def test_no_byte_does_harm(centroids, grid_bits, two_windows):
    packed = small(centroids, grid_bits, two_windows)
    for at in range(len(packed)):
        copy = packed.copy()
        copy[at] ^= (0x01, 0x80, 0xFF)[at % 3]
        survives(copy)


@pytest.mark.parametrize("seed", range(3))
def test_nor_do_many(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        packed = small(int(rng.choice([3, 20, 256])), int(rng.choice([0, 8, 16])), bool(rng.integers(2)))
        at = rng.integers(64, len(packed), rng.integers(1, 400))
        packed[at] = rng.integers(0, 256, len(at))
        survives(packed)


@pytest.mark.parametrize(("two_windows", "last"), [(False, 3), (True, 5)])
def test_checking_wants_windows_of_columns(two_windows, last):
    packed = small(two_windows=two_windows)
    facts = packing.header(packed)
    planes = 4 if two_windows else 1
    # behind the codebook, digits, ends and order and sums of 2 groups; 400 columns are 7 blocks
    starts = packed[64 + 64 + 64 * -(-16 * planes // 64) + 64 + 128 + 128 * planes :][: 2 * facts.length].view(
        np.uint16
    )
    before = starts[0]
    for start, good in [(before, True), (last, True), (last + 1, False)]:
        starts[0] = start
        assert survives(packed) == good
    starts[0] = last + 1
    with pytest.raises(ValueError, match="a window behind the last column"):
        _core.check_packed(packed)


@pytest.mark.parametrize(("grid_bits", "slots"), [(0, 1), (0, 4), (8, 3), (16, 1)])
def test_planes_that_there_are_not_are_refused(grid_bits, slots):
    packed = small(grid_bits=grid_bits)
    packed[7] = slots
    with pytest.raises(ValueError, match="contradict themselves"):
        packing.header(packed)
