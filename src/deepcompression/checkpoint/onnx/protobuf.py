"""Protobuf messages of ONNX rewritten without being parsed: their tensors replaced, all else byte for byte as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deepcompression.common.binary import FormatError, varint
from deepcompression.common.files import ByteFile

# message -> number of a field -> the message in it: the ways to where tensors with much data stand
WAYS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto"},
    "FunctionProto": {7: "NodeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto"},
}

# as in protobuf's own parsers
_MAX_DEPTH = 100

_VARINT, _FIXED64, LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_WINDOW_BYTES = 1 << 16
_MAX_VARINT_BYTES = 10


class Hole(NamedTuple):
    """Stands for the bytes of a tensor in a message that is written."""

    name: str
    length: int


Piece = bytes | Hole


class Field(NamedTuple):
    """Where a field stands: its tag begins at `begin`, its value at `value`, the next field at `end`."""

    number: int
    wire: int
    begin: int
    value: int
    end: int


class Source:
    """A file or bytes, walked through by its numbers, of which small windows are read."""

    def __init__(self, data: ByteFile | bytes) -> None:
        self._data = data
        self.size = len(data) if isinstance(data, bytes) else data.size
        self._window = b""
        self._start = 0

    def bytes(self, begin: int, end: int) -> bytes:
        if isinstance(self._data, bytes):
            return self._data[begin:end]
        return self._data.read(begin, end - begin).tobytes()

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at an offset, and where it ends."""
        if not self._start <= at <= self._start + len(self._window) - _MAX_VARINT_BYTES:
            self._start, self._window = at, self.bytes(at, min(at + _WINDOW_BYTES, self.size))
        value = 0
        first = at - self._start
        for count, byte in enumerate(self._window[first : first + min(_MAX_VARINT_BYTES, end - at)]):
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                return value, at + count + 1
        raise FormatError(f"the number at offset {at} does not end before its message does")


def fields(source: Source, begin: int, end: int) -> Iterator[Field]:
    """The fields of a message. Raises FormatError for what is no message."""
    at = begin
    while at < end:
        tag, value = source.varint(at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            after = source.varint(value, end)[1]
        elif wire == LENGTH_DELIMITED:
            length, value = source.varint(value, end)
            after = value + length
        elif wire in (_FIXED64, _FIXED32):
            after = value + (8 if wire == _FIXED64 else 4)
        else:
            raise FormatError(f"the field at offset {at} is of the unknown kind {wire}")
        if number == 0:
            raise FormatError(f"the field at offset {at} has the number 0")
        if after > end:
            raise FormatError(f"the field at offset {at} ends at {after}, its message at {end}: the file is cut off")
        yield Field(number, wire, at, value, after)
        at = after


def rewrite(
    source: Source,
    replace: Callable[[int, int], list[Piece] | None],
    least: int = 0,
    message: str = "ModelProto",
    span: tuple[int, int] | None = None,
    depth: int = 0,
) -> list[Piece]:
    """A message with each of its tensors, of `least` or more bytes, replaced by what `replace` makes of the tensor
    between two offsets; None leaves it as it is.
    """
    begin, end = span or (0, source.size)
    if depth > _MAX_DEPTH:
        raise FormatError(f"the message at offset {begin} is within {depth} others, more than {_MAX_DEPTH}")
    pieces: list[Piece] = []
    kept = begin
    for field in fields(source, begin, end):
        inner = WAYS[message].get(field.number)
        if inner is None or field.wire != LENGTH_DELIMITED or field.end - field.value < least:
            continue
        within = field.value, field.end
        new = replace(*within) if inner == "TensorProto" else rewrite(source, replace, least, inner, within, depth + 1)
        if new is not None:
            tag = varint(field.number << 3 | LENGTH_DELIMITED)
            pieces += [source.bytes(kept, field.begin), tag + varint(length_of(new)), *new]
            kept = field.end
    return [*pieces, source.bytes(kept, end)]


def length_of(pieces: list[Piece]) -> int:
    return sum(piece.length if isinstance(piece, Hole) else len(piece) for piece in pieces)
