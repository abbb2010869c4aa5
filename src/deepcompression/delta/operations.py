"""The operations of a patch, in bytes; copies and literals that follow each other are joined."""

from __future__ import annotations

from typing import NamedTuple

from deepcompression.common.binary import Cursor, FormatError, checksum, varint
from deepcompression.file.index import MAGIC as DCZ_MAGIC

MAGIC = b"\x89DCP"

RECODING_MAGIC = b"\x89DCR"

# a patch may be the new file itself
PATCH_MAGICS = (MAGIC, RECODING_MAGIC, DCZ_MAGIC)

VERSION = 1

CHECKSUM_BYTES = 4

# sizes are of 32 bits, so that small readers can count them
MAX_BYTES = (1 << 32) - 1

# of the tables of an operation, whose entries take two bytes: a reader counts them in 16 bits
MAX_WORK_BYTES = 2 * ((1 << 16) - 1)

LITERAL, COPY, DIFFERENCE, RECODE = range(4)

_KIND_BITS = 2


def signed(value: int) -> bytes:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
    return varint(2 * value if value >= 0 else -2 * value - 1)


class Fields(NamedTuple):
    """The fields of a patch before its operations."""

    old_size: int
    old_checksum: int
    new_size: int
    new_checksum: int
    work_bytes: int

    @classmethod
    def read(cls, patch: bytes | memoryview) -> Fields:
        """Checks the patch's checksum. Raises FormatError."""
        fields = begin(patch)
        end = len(patch) - CHECKSUM_BYTES
        check(int.from_bytes(patch[end:], "little"), checksum(patch[:end]))
        return cls(
            fields.varint("size of the old file"),
            fields.u32("checksum of the old file"),
            fields.varint("size of the new file"),
            fields.u32("checksum of the new file"),
            fields.varint("size of the work buffer"),
        )


def begin(patch: bytes | memoryview) -> Cursor:
    """The fields of a patch behind its magic and version. Raises FormatError for another version."""
    cursor = Cursor(patch)
    cursor.take(len(MAGIC), "magic")
    if (version := cursor.u8("version")) != VERSION:
        raise FormatError(f"version {version} of patches is not known, only {VERSION}: a newer deepcompression may")
    return cursor


def check(found: int, expected: int) -> None:
    """Compares a patch's checksum with that of its bytes. Raises FormatError."""
    if found != expected:
        raise FormatError(f"its checksum is {found:08x}, expected {expected:08x}: the patch is cut off or damaged")


class Change(NamedTuple):
    """An operation on one tensor.

    head     bytes of NEW before what it makes
    kind     DIFFERENCE or RECODE
    number   of elements, or of bytes of the head
    used     bytes of OLD, from `offset` on
    rest     of the operation, behind its offset
    entries  of tables in the memory of a reader
    """

    head: bytes
    kind: int
    number: int
    used: int
    rest: bytes
    entries: int
    offset: int = 0

    @property
    def work_bytes(self) -> int:
        return 2 * self.entries

    def at(self, offset: int) -> Change:
        """The same for bytes of OLD at another offset."""
        return self._replace(offset=offset)

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
        self._begin(change.kind, change.number, change.offset)
        self._bytes += change.rest
        self._old = change.offset + change.used
        self.entries = max(self.entries, change.entries)

    @property
    def behind(self) -> int:
        """The offset in OLD where a copy takes the fewest bytes."""
        return (self._copy.stop if self._copy else self._old) + len(self._literal)

    def _begin(self, kind: int, number: int, offset: int) -> None:
        self._bytes += varint(number << _KIND_BITS | kind) + signed(offset - self._old)

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

    def patch(self, old: bytes | bytearray, new: bytes | bytearray) -> bytes:
        """The whole patch."""
        self._end()
        fields = MAGIC + bytes([VERSION])
        for data in (old, new):
            fields += varint(len(data)) + checksum(data).to_bytes(CHECKSUM_BYTES, "little")
        patch = fields + varint(2 * self.entries) + bytes(self._bytes)
        return patch + checksum(patch).to_bytes(CHECKSUM_BYTES, "little")
