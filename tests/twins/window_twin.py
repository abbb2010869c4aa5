"""The form window read from its bytes as core/packed/window/window.hpp describes, and multiplied: slow and obvious."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.packed import packing
from deepcompression.packed.packing import LAYOUTS, nearest_digits

Floats = NDArray[np.float32]

SLOTS, NOTHING = 4, 63
SCALE8, SCALE16 = 2.0**-9, 2.0**-17
MOST24 = 127 * 0x10101


class Window(NamedTuple):
    """A matrix as read from its packed bytes. `codes` is -1 where nothing survives, `digits` are by plane, `filled` is
    the share of the slots with a survivor.
    """

    codes: NDArray[np.int64]
    codebook: Floats
    digits: NDArray[np.int64]
    facts: packing.Header
    filled: float

    def weights(self, centroids: NDArray[Any]) -> NDArray[Any]:
        """The centroid of each survivor, zeros between them."""
        return np.where(self.codes >= 0, np.append(centroids, 0)[self.codes], 0)

    def integers(self) -> NDArray[np.int64]:
        """The digits of 16 or 24 bits."""
        return np.asarray(sum(256**power * plane for power, plane in enumerate(self.digits[1:])))

    @property
    def layout(self) -> str:
        return LAYOUTS[self.facts.layout]


def sections(packed: NDArray[np.uint8], sizes: list[int]) -> list[bytes]:
    """Sections of so many bytes. Each begins at a multiple of 64, and nothing lies behind the last."""
    found, at = [], 64
    for size in sizes:
        found.append(packed[at : at + size].tobytes())
        at += -(-size // 64) * 64
    assert at == len(packed)
    return found


def planes_of(facts: packing.Header) -> int:
    layout = LAYOUTS[facts.layout]
    return 4 if layout == "digits24" else 3 if facts.grid_bits == 16 and layout != "one_window" else 1


def read(packed: NDArray[np.uint8]) -> Window:
    facts = packing.header(packed)
    layout, planes = LAYOUTS[facts.layout], planes_of(facts)
    bits, units, pairs = facts.code_bits, facts.units, facts.length
    windows = 1 if layout == "one_window" else 2
    pair_bytes = 256 if bits == 8 else 192
    lanes = units * 32 // windows
    sizes = [4 << bits, planes << bits, 4 * units, 4 * lanes, 4 * lanes * planes, 2 * windows * pairs]
    sizes += [16 * pairs * (bits == 5 and windows == 1), pair_bytes * pairs]
    parts = sections(packed, sizes)
    ends, order = np.frombuffer(parts[2], np.uint32), np.frombuffer(parts[3], np.uint32).reshape(units, 32 // windows)
    starts = np.frombuffer(parts[5], np.uint16).reshape(pairs, windows)
    fifths = np.unpackbits(np.frombuffer(parts[6], np.uint8), bitorder="little").reshape(-1, 2, 64)
    stream = np.frombuffer(parts[7], np.uint8).reshape(-1, pair_bytes)

    codes, filled = np.full((facts.rows, facts.columns), -1, np.int64), 0
    for group, pair, step, row, slot in slots_of(ends):
        by_row = 4 * row + slot
        byte = 16 * (row // 4) + 4 * slot + row % 4 if layout == "by_slot" else by_row
        place = int(stream[pair, 64 * step + byte]) & (127 if windows == 2 else 255)
        if place == NOTHING:
            continue
        assert place % 64 < NOTHING
        assert place // 64 < 4 // windows
        column = (int(starts[pair, step % windows]) + place // 64) * 63 + place % 64
        if bits == 8:
            code = int(stream[pair, 128 + 64 * step + by_row])
        else:
            code = int(stream[pair, 128 + by_row]) >> 4 * step & 15
        if bits == 5:
            fifth = fifths[pair, step, by_row] if windows == 1 else stream[pair, 64 * step + by_row] >> 7
            code |= int(fifth) << 4
        lane = row if windows == 2 else 16 * step + row
        assert codes[order[group, lane], column] == -1
        codes[order[group, lane], column] = code
        filled += 1
    assert filled == facts.survivors
    digits = np.frombuffer(parts[1], np.int8).reshape(planes, -1).astype(np.int64)
    window = Window(codes, np.frombuffer(parts[0], np.float32), digits, facts, filled / max(1, 128 * pairs))
    for plane, sums in zip(digits, np.frombuffer(parts[4], np.int32).reshape(planes, -1), strict=True):
        rows = np.append(window.weights(plane).sum(1), 0)
        np.testing.assert_array_equal(sums, rows[np.minimum(order.reshape(-1), facts.rows)])
    return window


def slots_of(ends: NDArray[np.uint32]) -> Iterator[tuple[int, int, int, int, int]]:
    """Group, pair, step, row of the step and slot."""
    for group, end in enumerate(ends):
        first = int(ends[group - 1]) if group else 0
        for slot in itertools.product(range(first, int(end)), range(2), range(16), range(SLOTS)):
            yield group, *slot


def fixed_point(x: Floats, step: np.float32) -> NDArray[np.int64]:
    return np.rint(x * (np.float32(1) / step)).astype(np.int64)


def step24(largest: np.float32, most: int) -> np.float32:
    """The power of two that goes 2^22 to `most` times into the largest magnitude."""
    step = np.float32(2.0 ** (np.frexp(largest)[1] - 23))
    return step * 2 if largest > step * np.float32(most) else step


def low_digit(number: NDArray[np.int64]) -> NDArray[np.int64]:
    return (number + 128) % 256 - 128


def low_digits(number: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    half, all_of_it = 0x808080 % 256**count, 256**count
    return (number + half) % all_of_it - half


def fits_short(window: Window, x: Floats) -> bool:
    """Whether the products of the power 256 are left out, too: neither side's largest number stands out."""
    facts, squares = window.facts, np.mean(np.square(x, dtype=np.float64))
    largest = np.abs(x).max().astype(np.float64) * MOST24 * facts.scale16
    return bool(largest <= 20 * np.abs(window.codebook[: facts.centroids]).min() * np.sqrt(squares))


def product(window: Window, x: Floats, bias: Floats | None, int8: bool) -> Floats:
    """The product with one vector, exactly: integers of 8 bits, or of 24 by the digits of the grid. In the layout
    digits24 the product of both lowest digits is left out, and those of the next power if they are small enough.
    """
    largest, facts = np.abs(x).max(), window.facts
    many = not int8 and facts.grid_bits != 8
    both24 = many and window.layout == "digits24"
    most = MOST24 if both24 else 2**23 - 1
    step = np.float32(largest / np.float32(127)) if int8 else step24(largest, most)
    fixed = fixed_point(x, step)
    assert np.abs(fixed).max() <= (127 if int8 else most)
    totals = window.weights(window.integers() if many else window.digits[0]) @ fixed
    if both24:
        digits = window.digits[1:]
        for power in range(2 if fits_short(window, x) else 1):
            for number in range(power + 1):
                low = low_digit((fixed - low_digits(fixed, number)) >> (8 * number))
                totals -= (window.weights(digits[power - number]) @ low) << (8 * power)
    unit = np.float64(step) * np.float64(facts.scale16 if many else facts.scale8)
    found = (totals.astype(np.float64) * unit).astype(np.float32)
    return found if bias is None else found + bias


def pack(
    survives: NDArray[np.bool_],
    centroids: int,
    grid_bits: int,
    layout: str,
    *,
    codebook: NDArray[Any] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.uint8], Floats]:
    """Packed weights with random codes and a codebook on the grid, by default random, and the same matrix dense."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, centroids, int(survives.sum())).astype(np.uint8)
    int8 = rng.integers(-127, 128, centroids).astype(np.int16)
    int16 = rng.integers(-32639, 32640, centroids).astype(np.int16)
    if codebook is None:
        codebook = {0: rng.standard_normal(centroids), 8: int8 * SCALE8, 16: int16 * SCALE16}[grid_bits]
    centroid = np.asarray(codebook, np.float32)
    scale8 = SCALE8
    if grid_bits != 8:
        scale8, int8 = nearest_digits(centroid, 127)
    bits = np.packbits(survives.reshape(-1), bitorder="little")
    digits = _core.Digits(grid_bits, scale8, int8, SCALE16, int16 if grid_bits == 16 else None)
    packed = _core.pack("window", _core.Matrix(*survives.shape, bits, codes, centroid), digits, layout)
    dense = np.zeros(survives.shape, np.float32)
    dense[survives] = centroid[codes]
    return packed, dense
