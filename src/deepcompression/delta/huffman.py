"""Huffman codes and bit streams of a patch, whose first bits are the highest ones of a byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core

MAX_LENGTH = 12

# in a table of numbers: add this and read on
ESCAPE = 255

# symbols of one code that are sorted at a time
_SLICE = 1 << 18


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


class _Part(NamedTuple):
    """Symbols of one code, whose keys ascend: `keys` plus `offset`."""

    keys: NDArray[np.int64]
    offset: int
    words: NDArray[np.uint16]
    lengths: NDArray[np.uint8]

    def below(self, key: int) -> int:
        """How many keys are smaller."""
        return int(np.searchsorted(self.keys, key - self.offset))


class Stream:
    """Symbols of several codes, to be sorted into the order in which they are read.

    Each has a key, and those of one call come in ascending order; symbols of equal keys stay in the order of the calls.
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    def add(
        self, keys: NDArray[np.int64], words: NDArray[np.uint16], lengths: NDArray[np.uint8], offset: int = 0
    ) -> None:
        """`offset` is added to every key."""
        if len(keys):
            self._parts.append(_Part(keys, offset, words, lengths))

    def add_numbers(self, keys: NDArray[np.int64], numbers: NDArray[np.int64], code: Code) -> None:
        """Numbers of any size, in symbols up to ESCAPE."""
        symbols, of = in_symbols(numbers)
        self.add(keys[of], code.words[symbols], code.lengths[symbols])

    def pack(self) -> bytes:
        """The bits, padded with zero bits to whole bytes."""
        packed, left = bytearray(), np.zeros(0, np.uint8)
        for words, lengths in self._slices():
            bits = np.concatenate([left, _bits(words, lengths)])
            whole = len(bits) - len(bits) % 8
            packed += np.packbits(bits[:whole]).tobytes()
            left = bits[whole:]
        return bytes(packed) + np.packbits(left).tobytes()

    def _slices(self) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.uint8]]]:
        """Some symbols after the others, in their order: sorting all at once takes many times their memory."""
        if not self._parts:
            return
        longest = max(self._parts, key=lambda part: len(part.keys))
        ends = [int(key) + longest.offset for key in longest.keys[_SLICE::_SLICE]]
        ends.append(max(int(part.keys[-1]) + part.offset for part in self._parts) + 1)
        begins = [0] * len(self._parts)
        for end in ends:
            stops = [part.below(end) for part in self._parts]
            some = [
                _Part(part.keys[begin:stop] + part.offset, 0, part.words[begin:stop], part.lengths[begin:stop])
                for part, begin, stop in zip(self._parts, begins, stops, strict=True)
            ]
            order = np.argsort(np.concatenate([part.keys for part in some]), kind="stable")
            yield (
                np.concatenate([part.words for part in some])[order],
                np.concatenate([part.lengths for part in some])[order],
            )
            begins = stops


def in_symbols(numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers as symbols: ESCAPE as often as it fits, then the rest. The second array has each symbol's number."""
    each = numbers // ESCAPE + 1
    of = np.repeat(np.arange(len(numbers)), each)
    symbols = np.full(len(of), ESCAPE)
    symbols[np.cumsum(each) - 1] = numbers % ESCAPE
    return symbols, of


def _bits(words: NDArray[np.uint16], lengths: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bits of words of so many bits, the highest bit of each first."""
    some = lengths.astype(np.int64)
    of = np.repeat(np.arange(len(some)), some)
    left = np.repeat(np.cumsum(some), some) - np.arange(len(of)) - 1
    return (words[of] >> left.astype(np.uint16)).astype(np.uint8) & np.uint8(1)
