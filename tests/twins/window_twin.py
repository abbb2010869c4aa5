"""The form window read from its bytes as core/packed/window/window.hpp describes, and multiplied: slow and obvious."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.packed.packing import nearest_digits

Floats = NDArray[np.float32]

GROUP, SLOTS, NOTHING = 16, 4, 63
SCALE8, SCALE16 = 2.0**-9, 2.0**-17


class Window(NamedTuple):
    """A matrix as its packed bytes have it: `codes` is -1 where nothing survives."""

    codes: NDArray[np.int64]
    codebook: Floats
    int8: NDArray[np.int64]
    int16: NDArray[np.int64]
    grid_bits: int
    scale8: float
    scale16: float

    def weights(self, centroids: NDArray[Any]) -> NDArray[Any]:
        """One of these for each survivor, zeros between them."""
        return np.where(self.codes >= 0, np.append(centroids, 0)[self.codes], 0)


def sections(packed: NDArray[np.uint8], sizes: list[int]) -> list[bytes]:
    """Sections of so many bytes, each beginning at a multiple of 64; nothing lies behind them."""
    found, at = [], 64
    for size in sizes:
        found.append(packed[at : at + size].tobytes())
        at += -(-size // 64) * 64
    assert at == len(packed)
    return found


def read(packed: NDArray[np.uint8]) -> Window:
    facts = _core.packed_header(packed)
    bits, units, pairs = facts["code_bits"], facts["units"], facts["length"]
    planes = 3 if facts["grid_bits"] == 16 else 1
    stream_bytes = 256 if bits == 8 else 192
    sizes = [4 << bits, planes << bits, 4 * units, 64 * units, 64 * units * planes, 4 * pairs, stream_bytes * pairs]
    parts = sections(packed, sizes)
    codebook = np.frombuffer(parts[0], np.float32)
    digits = np.frombuffer(parts[1], np.int8).reshape(planes, -1).astype(np.int64)
    ends, order = np.frombuffer(parts[2], np.uint32), np.frombuffer(parts[3], np.uint32).reshape(-1, GROUP)
    sums = np.frombuffer(parts[4], np.int32).reshape(planes, -1, GROUP)
    starts, stream = np.frombuffer(parts[5], np.uint16), np.frombuffer(parts[6], np.uint8).reshape(-1, stream_bytes)

    codes = np.full((facts["rows"], facts["columns"]), -1, np.int64)
    for group in range(units):
        for pair in range(ends[group - 1] if group else 0, ends[group]):
            for step in range(2):
                for lane in range(GROUP):
                    for slot in range(SLOTS):
                        place, code = slot_of(stream[pair], step, lane, slot, bits, facts["slots"] == 1)
                        column = (int(starts[2 * pair + step]) + place // 64) * 63 + place % 64
                        if place % 64 == NOTHING:
                            continue
                        assert codes[order[group, lane], column] == -1
                        codes[order[group, lane], column] = code
    int16 = 256 * digits[2] + digits[1] if planes == 3 else np.zeros(1 << bits, np.int64)
    window = Window(codes, codebook, digits[0], int16, facts["grid_bits"], facts["scale8"], facts["scale16"])
    check_sums(window, digits, sums, order)
    return window


def slot_of(pair: NDArray[np.uint8], step: int, lane: int, slot: int, bits: int, by_slot: bool) -> tuple[int, int]:
    """The place and the code of a slot of a pair's stream."""
    by_row = 4 * lane + slot
    place = int(pair[64 * step + (16 * (lane // 4) + 4 * slot + lane % 4 if by_slot else by_row)]) & 127
    if bits == 8:
        return place, int(pair[128 + 64 * step + by_row])
    code = int(pair[128 + by_row]) >> 4 * step & 15
    if bits == 5:
        code |= (int(pair[64 * step + by_row]) >> 7) << 4
    return place, code


def check_sums(window: Window, digits: NDArray[Any], sums: NDArray[Any], order: NDArray[Any]) -> None:
    for plane in range(len(digits)):
        rows = window.weights(digits[plane]).sum(1)
        for group in range(len(order)):
            for lane, row in enumerate(order[group]):
                assert sums[plane, group, lane] == (0 if row == 0xFFFFFFFF else rows[row])


def fixed_point(x: Floats, step: np.float32) -> NDArray[np.int64]:
    return np.rint(x * (np.float32(1) / step)).astype(np.int64)


def step24(largest: np.float32) -> np.float32:
    """The power of two of which the largest magnitude has between 2^22 and 2^23 - 1."""
    step = np.float32(2.0 ** (np.frexp(largest)[1] - 23))
    return step * 2 if largest > step * (2**23 - 1) else step


def product(window: Window, x: Floats, bias: Floats | None, int8: bool) -> Floats:
    """Integers, exactly: of 8 bits, or of 24 by the digits of the grid. One vector."""
    largest = np.abs(x).max()
    step = np.float32(largest / np.float32(127)) if int8 else step24(largest)
    wide = not int8 and window.grid_bits == 16
    totals = window.weights(window.int16 if wide else window.int8) @ fixed_point(x, step)
    unit = np.float64(step) * np.float64(window.scale16 if wide else window.scale8)
    found = (totals.astype(np.float64) * unit).astype(np.float32)
    return found if bias is None else found + bias


def pack(
    survives: NDArray[np.bool_], centroids: int, grid_bits: int, by_slot: bool, seed: int = 0
) -> tuple[NDArray[np.uint8], Floats]:
    """Packed weights with random codes and a random codebook on the grid, and the same matrix dense."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, centroids, int(survives.sum())).astype(np.uint8)
    int8 = rng.integers(-127, 128, centroids).astype(np.int16)
    int16 = rng.integers(-32639, 32640, centroids).astype(np.int16)
    codebook = {0: rng.standard_normal(centroids), 8: int8 * SCALE8, 16: int16 * SCALE16}[grid_bits].astype(np.float32)
    scale8 = SCALE8
    if grid_bits != 8:
        scale8, int8 = nearest_digits(codebook, 127)
    bits = np.packbits(survives.reshape(-1), bitorder="little")
    layout = "by_slot" if by_slot else "by_row"
    digits = _core.Digits(grid_bits, scale8, int8, SCALE16, int16 if grid_bits == 16 else None)
    packed = _core.pack("window", _core.Matrix(*survives.shape, bits, codes, codebook), digits, layout)
    dense = np.zeros(survives.shape, np.float32)
    dense[survives] = codebook[codes]
    return packed, dense
