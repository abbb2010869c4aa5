"""Bytes of OLD that occur in bytes of NEW: copies and literals for what is no tensor of a known coder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.delta.operations import Operations

# A copy at the expected place takes three bytes with the literal behind it, elsewhere some more.
_SHORTEST_EXPECTED = 4
_SHORTEST = 8

# places of OLD that are tried for the same bytes
_TRIED = 8

# about what a copy takes
_COPY_BYTES = 4


class Pieces(NamedTuple):
    """Bytes of NEW: each piece is some bytes, or a range of offsets in OLD."""

    pieces: list[bytes | range]

    @property
    def size_bytes(self) -> int:
        """About what they take."""
        return sum(2 + len(piece) if isinstance(piece, bytes) else _COPY_BYTES for piece in self.pieces)

    def add_to(self, operations: Operations) -> None:
        for piece in self.pieces:
            if isinstance(piece, bytes):
                operations.literal(piece)
            else:
                operations.copy(piece.start, len(piece))


def pieces_of(old: bytes, first: int, new: bytes) -> Pieces:
    """Pieces that make `new`, some of them in `old`, bytes of OLD from the offset `first` on."""
    places = _Places(old)
    # the first bytes of every piece of OLD are somewhere in it
    may_begin = np.isin(_words(new, _SHORTEST_EXPECTED), _words(old, _SHORTEST_EXPECTED)).tobytes()
    pieces: list[bytes | range] = []
    at = begin = behind = 0
    while (at := may_begin.find(1, at)) >= 0:
        offset = behind + at - begin
        length = _common(old, offset, new, at) if offset < len(old) else 0
        if length < _SHORTEST_EXPECTED:
            tried = places.of(new[at : at + _SHORTEST])
            length, offset = max(((_common(old, place, new, at), place) for place in tried), default=(0, 0))
        if length == 0:
            at += 1
            continue
        if begin < at:
            pieces.append(new[begin:at])
        pieces.append(range(first + offset, first + offset + length))
        behind = offset + length
        at += length
        begin = at
    if begin < len(new):
        pieces.append(new[begin:])
    return Pieces(pieces)


class _Places:
    """Where some bytes begin with certain `_SHORTEST` ones."""

    def __init__(self, data: bytes) -> None:
        words = _words(data, _SHORTEST)
        self._places = np.argsort(words, kind="stable")
        self._words = words[self._places]

    def of(self, word: bytes) -> list[int]:
        """The first few places, in ascending order."""
        if len(word) < _SHORTEST:
            return []
        value = np.frombuffer(word, self._words.dtype)[0]
        begin = np.searchsorted(self._words, value)
        found = self._words[begin : begin + _TRIED] == value
        return [int(place) for place in self._places[begin : begin + _TRIED][found]]


def _words(data: bytes, width: int) -> NDArray[np.unsignedinteger]:
    """The integers of `width` bytes that begin at each byte, where so many are left."""
    if len(data) < width:
        return np.zeros(0, f"<u{width}")
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), width)
    return np.ascontiguousarray(windows).view(f"<u{width}")[:, 0]


def _common(old: bytes, offset: int, new: bytes, at: int) -> int:
    """How many bytes are the same from there on."""
    most = min(len(old) - offset, len(new) - at)
    length, step = 0, 64
    while step:
        begin, end = offset + length, at + length
        if length + step <= most and old[begin : begin + step] == new[end : end + step]:
            length += step
        else:
            step //= 4
    return length
