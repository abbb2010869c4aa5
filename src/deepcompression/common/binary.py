"""The smallest parts of a file, read and written. Every length is checked before it is believed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any

from deepcompression._core import FormatError as FormatError

MAX_DIMENSIONS = 32

# of all decoded tensors of a file, unless the caller sets another limit
LIMIT_BYTES = 64 << 30

_MAX_VARINT_BYTES = 9

# checksum(data, start=0): the CRC-32 of `data`, continued from the checksum `start` of the bytes before
checksum = zlib.crc32


def varint(value: int) -> bytes:
    """Unsigned LEB128 of 0 <= value < 2^63."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str | bytes) -> bytes:
    """The number of bytes, then the bytes."""
    data = value.encode() if isinstance(value, str) else value
    return varint(len(data)) + data


def digest(*parts: bytes | memoryview) -> bytes:
    """16 bytes that show whether two sequences of parts are the same."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(f"{memoryview(part).nbytes} ".encode())
        found.update(part)
    return found.digest()


class Cursor:
    """Reads bytes from front to back. `base` is their offset in the file, for messages."""

    def __init__(self, data: bytes | bytearray | memoryview, base: int = 0) -> None:
        self.data = memoryview(data)
        self.base = base
        self.at = 0

    @property
    def offset(self) -> int:
        return self.base + self.at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def _pass(self, count: int, what: str) -> None:
        if count > self.left:
            raise FormatError(f"{what} at offset {self.offset} needs {count} bytes, {self.left} are left")
        self.at += count

    def take(self, count: int, what: str) -> memoryview:
        self._pass(count, what)
        return self.data[self.at - count : self.at]

    def rest(self) -> memoryview:
        return self.take(self.left, "the rest")

    def u8(self, what: str) -> int:
        # no slice of one byte: an index has thousands
        self._pass(1, what)
        return self.data[self.at - 1]

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def core(self, decode: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a decoder of the core, `decode(data, at, *arguments)`. Its last result is the offset behind the bytes
        that it read; returns the results before that one, without a tuple if there is one.
        """
        try:
            result = decode(self.data, self.at, *arguments)
        except FormatError as error:
            raise FormatError(f"in the payload at offset {self.base}: {error}") from None
        if not isinstance(result, tuple):
            self.at = result
            return None
        *found, self.at = result
        return found[0] if len(found) == 1 else tuple(found)

    def varint(self, what: str) -> int:
        start, value = self.offset, 0
        for i in range(_MAX_VARINT_BYTES):
            byte = self.u8(what)
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                if byte == 0 and i > 0:
                    raise FormatError(f"{what} at offset {start} is written longer than needed")
                return value
        raise FormatError(f"{what} at offset {start} is longer than {_MAX_VARINT_BYTES} bytes")

    def text(self, what: str) -> bytes:
        return bytes(self.take(self.varint(f"length of {what}"), what))

    def end(self, what: str) -> None:
        if self.left:
            raise FormatError(f"{self.left} bytes are left over behind {what} at offset {self.offset}")
