"""Bytes of OLD that occur in bytes of NEW: copies and literals for what is no tensor of a known coder."""

from __future__ import annotations

from deepcompression.delta.operations import Operations

# A copy at the expected place takes three bytes with the literal behind it, elsewhere some more.
_SHORTEST_EXPECTED = 4
_SHORTEST = 8

# places of OLD that are tried for the same bytes
_TRIED = 8


def add_matches(operations: Operations, old: bytes, first: int, new: bytes) -> None:
    """Operations that make `new`, with copies of `old`, bytes of OLD from the offset `first` on."""
    places: dict[bytes, list[int]] = {}
    for at in range(len(old) - _SHORTEST + 1):
        found = places.setdefault(old[at : at + _SHORTEST], [])
        if len(found) < _TRIED:
            found.append(at)
    at = begin = 0
    while at < len(new):
        expected = operations.behind - first + at - begin
        length = _common(old, expected, new, at) if 0 <= expected < len(old) else 0
        offset = expected
        if length < _SHORTEST_EXPECTED:
            tried = places.get(new[at : at + _SHORTEST], ())
            length, offset = max(((_common(old, place, new, at), place) for place in tried), default=(0, 0))
        if length:
            operations.literal(new[begin:at])
            operations.copy(first + offset, length)
            at += length
            begin = at
        else:
            at += 1
    operations.literal(new[begin:])


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
