"""The form wide read from its bytes as core/packed/wide/wide.hpp describes it, and multiplied: slow and obvious."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import window_twin
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.packed import packing
from deepcompression.packed.packing import nearest_digits

DIGITS24, TWO_WINDOWS = 1, 2
MOST24 = 127 * 0x10101


class Wide(NamedTuple):
    """A matrix as its packed bytes have it: `codes` is -1 where nothing survives, `digits` are by plane."""

    codes: NDArray[np.int64]
    codebook: NDArray[np.float32]
    digits: NDArray[np.int64]
    facts: packing.Header
    filled: float

    def weights(self, centroids: NDArray[Any]) -> NDArray[Any]:
        """One of these for each survivor, zeros between them."""
        return np.where(self.codes >= 0, np.append(centroids, 0)[self.codes], 0)


def read(packed):
    facts = packing.header(packed)
    assert facts.form == "wide"
    bits, units, pairs = facts.code_bits, facts.units, facts.length
    windows, planes = 2 if facts.slots & TWO_WINDOWS else 1, 4 if facts.slots & DIGITS24 else 1
    stream_bytes = 256 if bits == 8 else 192
    lanes = units * 32 // windows
    sizes = [4 << bits, planes << bits, 4 * units, 4 * lanes, 4 * lanes * planes, 2 * windows * pairs]
    sizes += [16 * pairs * (bits == 5), stream_bytes * pairs]
    codebook, digits, ends, order, sums, starts, fifths, stream = window_twin.sections(packed, sizes)
    ends, order = np.frombuffer(ends, np.uint32), np.frombuffer(order, np.uint32).reshape(units, 32 // windows)
    starts = np.frombuffer(starts, np.uint16).reshape(pairs, windows)
    fifths = np.unpackbits(np.frombuffer(fifths, np.uint8), bitorder="little").reshape(-1, 2, 64)
    stream = np.frombuffer(stream, np.uint8).reshape(-1, stream_bytes)
    codes, filled = np.full((facts.rows, facts.columns), -1, np.int64), 0
    for group, (pair, step, row, slot) in slots_of(ends):
        byte, lane = 4 * row + slot, row if windows == 2 else 16 * step + row
        place = int(stream[pair, 64 * step + byte])
        if place == window_twin.NOTHING:
            continue
        assert place % 64 < 63
        assert place // 64 < 4 // windows
        column = (int(starts[pair, step % windows]) + place // 64) * 63 + place % 64
        if bits == 8:
            code = stream[pair, 128 + 64 * step + byte]
        else:
            code = int(stream[pair, 128 + byte]) >> 4 * step & 15
            code |= int(fifths[pair, step, byte]) << 4 if bits == 5 else 0
        assert codes[order[group, lane], column] == -1
        codes[order[group, lane], column] = code
        filled += 1
    assert filled == facts.survivors
    by_plane = np.frombuffer(digits, np.int8).reshape(planes, -1).astype(np.int64)
    wide = Wide(codes, np.frombuffer(codebook, np.float32), by_plane, facts, filled / max(1, 128 * pairs))
    for plane, of_lanes in zip(by_plane, np.frombuffer(sums, np.int32).reshape(planes, -1), strict=True):
        rows = np.append(wide.weights(plane).sum(1), 0)
        np.testing.assert_array_equal(of_lanes, rows[np.minimum(order.reshape(-1), facts.rows)])
    return wide


def slots_of(ends):
    for group, end in enumerate(ends):
        first = ends[group - 1] if group else 0
        for slot in itertools.product(range(first, end), range(2), range(16), range(4)):
            yield group, slot


def low_digit(number):
    return (number + 128) % 256 - 128


def step24(largest):
    """The power of two of which the largest magnitude has between 2^22 and MOST24."""
    step = np.float32(2.0 ** (np.frexp(largest)[1] - 23))
    return step * 2 if largest > step * np.float32(MOST24) else step


def product(wide, x, bias, int8):
    """Integers, exactly, but for the products of both lowest digits of 24 bits. One vector."""
    largest = np.abs(x).max()
    facts, of24 = wide.facts, not int8 and wide.facts.grid_bits != 8
    step = np.float32(largest / np.float32(127)) if int8 else step24(largest)
    fixed = window_twin.fixed_point(x, step)
    assert np.abs(fixed).max() <= (127 if int8 else MOST24)
    digits = wide.digits[1:] if of24 else wide.digits[:1]
    integers = sum(256**power * plane for power, plane in enumerate(digits))
    totals = wide.weights(integers) @ fixed
    if of24:
        totals -= wide.weights(digits[0]) @ low_digit(fixed)
    unit = np.float64(step) * np.float64(facts.scale16 if of24 else facts.scale8)
    found = (totals.astype(np.float64) * unit).astype(np.float32)
    return found if bias is None else found + bias


def pack(survives, centroids, grid_bits, two_windows, codebook=None, seed=0):
    """Packed weights with random codes and a codebook on the grid, and the same matrix dense."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, centroids, int(survives.sum())).astype(np.uint8)
    int8 = rng.integers(-127, 128, centroids).astype(np.int16)
    int16 = rng.integers(-32639, 32640, centroids).astype(np.int16)
    scale8, scale16 = window_twin.SCALE8, window_twin.SCALE16
    if codebook is None:
        codebook = {0: rng.standard_normal(centroids), 8: int8 * scale8, 16: int16 * scale16}[grid_bits]
    codebook = np.asarray(codebook, np.float32)
    if grid_bits != 8:
        scale8, int8 = nearest_digits(codebook, 127)
    bits = np.packbits(survives.reshape(-1), bitorder="little")
    digits = _core.Digits(grid_bits, scale8, int8, scale16, int16 if grid_bits == 16 else None)
    weights = _core.Matrix(*survives.shape, bits, codes, codebook)
    packed = _core.pack("wide", weights, digits, "two_windows" if two_windows else "one_window")
    dense = np.zeros(survives.shape, np.float32)
    dense[survives] = codebook[codes]
    return packed, dense
