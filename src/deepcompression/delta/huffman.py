"""Huffman codes and bit streams of a patch, whose first bits are the highest ones of a byte."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core

MAX_LENGTH = 12

# in a table of numbers: add this and read on
ESCAPE = 255

_SLICE = 1 << 20


class Code(NamedTuple):
    """A canonical code: its table as a patch holds it, and each symbol's length and bits."""

    table: bytes
    lengths: NDArray[np.uint8]
    words: NDArray[np.uint16]

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> Code:
        """The best code for symbols that occur so often; that of the symbol 0 if none does."""
        known = counts.astype(np.uint64)
        if not known.any():
            known[0] = 1
        lengths = _core.code_lengths(known, MAX_LENGTH)
        order = np.lexsort((np.arange(len(lengths)), lengths))
        order = order[lengths[order] > 0]
        steps = 1 << (MAX_LENGTH - lengths[order].astype(np.int64))
        words = np.zeros(len(lengths), np.uint16)
        words[order] = (np.cumsum(steps) - steps) >> (MAX_LENGTH - lengths[order])
        # "it takes no bits"
        return cls(_core.pack_table(lengths), lengths if len(order) > 1 else np.zeros_like(lengths), words)


def entries(counts: NDArray[np.int64]) -> int:
    """The entries of a code's table in the memory of a reader."""
    return max(1, int(np.count_nonzero(counts)))


class Stream:
    """Symbols of several codes, to be sorted into the order in which they are read.

    Each has a key; symbols of equal keys stay in the order in which they came.
    """

    def __init__(self) -> None:
        self._keys: list[NDArray[np.int64]] = []
        self._words: list[NDArray[np.uint16]] = []
        self._lengths: list[NDArray[np.uint8]] = []

    def add(self, keys: NDArray[np.int64], words: NDArray[np.uint16], lengths: NDArray[np.uint8]) -> None:
        self._keys.append(keys)
        self._words.append(words)
        self._lengths.append(lengths)

    def add_numbers(self, keys: NDArray[np.int64], numbers: NDArray[np.int64], code: Code) -> None:
        """Numbers of any size, in symbols up to ESCAPE."""
        symbols, of = in_symbols(numbers)
        self.add(keys[of], code.words[symbols], code.lengths[symbols])

    def pack(self) -> bytes:
        order = np.argsort(np.concatenate(self._keys), kind="stable")
        return pack_bits(np.concatenate(self._words)[order], np.concatenate(self._lengths)[order])


def in_symbols(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers as symbols: ESCAPE as often as it fits, then the rest. The second array has each symbol's number."""
    each = numbers // ESCAPE + 1
    of = np.repeat(np.arange(len(numbers)), each)
    symbols = np.full(len(of), ESCAPE)
    symbols[np.cumsum(each) - 1] = numbers % ESCAPE
    return symbols, of


def pack_bits(words: NDArray[np.uint16], lengths: NDArray[np.uint8]) -> bytes:
    """Words of so many bits, the highest bit first, padded with zero bits."""
    parts = []
    for start in range(0, len(words), _SLICE):
        some = lengths[start : start + _SLICE].astype(np.int64)
        of = np.repeat(np.arange(len(some)), some)
        left = np.repeat(np.cumsum(some), some) - np.arange(len(of)) - 1
        parts.append((words[start : start + _SLICE][of] >> left.astype(np.uint16)).astype(np.uint8) & 1)
    return np.packbits(np.concatenate(parts)).tobytes() if parts else b""
