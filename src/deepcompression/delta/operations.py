"""The operations of a patch, in bytes; copies and literals that follow each other are joined."""

from __future__ import annotations

from typing import NamedTuple

from deepcompression.common.binary import checksum, varint

MAGIC = b"\x89DCP"

VERSION = 1

CHECKSUM_BYTES = 4

# sizes are of 32 bits, so that small readers can count them
MAX_BYTES = (1 << 32) - 1

LITERAL, COPY, DIFFERENCE, RECODE = range(4)

_KIND_BITS = 2


def signed(value: int) -> bytes:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
    return varint(2 * value if value >= 0 else -2 * value - 1)


class Change(NamedTuple):
    """An operation on one tensor.

    head     bytes of NEW before it
    kind     DIFFERENCE or RECODE
    count    elements, or bytes of the head
    offset   of the bytes of OLD that it uses, whose end is `end`
    rest     of the operation
    entries  of tables in the memory of a reader
    """

    head: bytes
    kind: int
    count: int
    offset: int
    end: int
    rest: bytes
    entries: int

    @property
    def size_bytes(self) -> int:
        """About what it takes."""
        return len(self.head) + len(self.rest) + 8


class Operations:
    """Collects operations that make NEW from front to back."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._literal = bytearray()
        self._copy = range(0)
        self._old = 0
        self.entries = 0

    def literal(self, data: bytes | memoryview) -> None:
        if len(data):
            self._end_copy()
            self._literal += data

    def copy(self, offset: int, length: int) -> None:
        if length and self._copy and offset == self._copy.stop:
            self._copy = range(self._copy.start, offset + length)
        elif length:
            self._end()
            self._copy = range(offset, offset + length)

    def change(self, change: Change) -> None:
        self.literal(change.head)
        self._end()
        self._begin(change.kind, change.count, change.offset)
        self._bytes += change.rest
        self._old = change.end
        self.entries = max(self.entries, change.entries)

    @property
    def behind(self) -> int:
        """The offset in OLD where a copy takes the fewest bytes."""
        return (self._copy.stop if self._copy else self._old) + len(self._literal)

    def _begin(self, kind: int, count: int, offset: int) -> None:
        self._bytes += varint(count << _KIND_BITS | kind) + signed(offset - self._old)

    def _end_copy(self) -> None:
        if self._copy:
            self._begin(COPY, len(self._copy), self._copy.start)
            self._old = self._copy.stop
            self._copy = range(0)

    def _end(self) -> None:
        self._end_copy()
        if self._literal:
            self._bytes += varint(len(self._literal) << _KIND_BITS | LITERAL) + self._literal
            self._old += len(self._literal)
            self._literal = bytearray()

    def patch(self, old: bytes | memoryview, new: bytes | memoryview) -> bytes:
        """The whole patch."""
        self._end()
        fields = MAGIC + bytes([VERSION])
        for data in (old, new):
            fields += varint(len(data)) + checksum(data).to_bytes(CHECKSUM_BYTES, "little")
        patch = fields + varint(2 * self.entries) + bytes(self._bytes)
        return patch + checksum(patch).to_bytes(CHECKSUM_BYTES, "little")
