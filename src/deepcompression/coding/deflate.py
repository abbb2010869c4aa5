"""The coder `deflate`: byte planes compressed by zlib, for tensors that are no weights."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from deepcompression.coding.coder import Account, Part
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array, Shape
from deepcompression.tensors.slices import spans
from deepcompression.tensors.tensor import DenseTensor, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

# a raw DEFLATE stream, without a header and without a checksum: the index has one
_WINDOW_BITS = -15
_LEVEL = 9
# Huffman codes alone are smaller if nothing repeats.
_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)
_READ_BYTES = 1 << 16


def _turned(elements: Array, dtype: str, left: bool) -> Array:
    """The elements as unsigned integers, those of weights turned by one bit (docs/format.md, "Values")."""
    unsigned = elements.view(f"u{elements.itemsize}")
    if dtype not in WEIGHT_DTYPES:
        return unsigned
    here, there = (1, 8 * elements.itemsize - 1) if left else (8 * elements.itemsize - 1, 1)
    return (unsigned << here) | (unsigned >> there)


def _planes(tensor: DenseTensor, spans: Iterable[slice]) -> Iterator[bytes]:
    flat = tensor.elements.reshape(-1)
    spans = list(spans)
    for byte in reversed(range(flat.itemsize)):
        for span in spans:
            yield _turned(flat[span], tensor.dtype, True).view(np.uint8)[byte :: flat.itemsize].tobytes()


def _deflated(planes: Iterable[bytes], strategy: int) -> Iterator[bytes]:
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, zlib.DEF_MEM_LEVEL, strategy)
    for plane in planes:
        yield stream.compress(plane)
    yield stream.flush()


def encode_deflate(tensor: Tensor, gap_bits: int | None) -> Iterator[Part]:
    """The payload of docs/format.md, "deflate", in parts, by the better strategy for the first slice of each plane."""
    dense = tensor.dense()
    every = list(spans(dense.elements.size))

    def sample_bytes(strategy: int) -> int:
        return sum(map(len, _deflated(_planes(dense, every[:1]), strategy)))

    yield from _deflated(_planes(dense, every), min(_STRATEGIES, key=sample_bytes))


def decode_deflate(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[DenseTensor, Account]:
    """The dense tensor. No byte is inflated beyond its own."""
    length = cursor.left
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    stream = _Stream(cursor)
    for byte in reversed(range(elements.itemsize)):
        for span in spans(len(elements)):
            elements[span].view(np.uint8)[byte :: elements.itemsize] = stream.read(span.stop - span.start)
    stream.end()
    if dtype in WEIGHT_DTYPES:
        for span in spans(len(elements)):
            elements[span] = _turned(elements[span], dtype, False).view(elements.dtype)
    return DenseTensor(dtype, elements.reshape(shape)), Account({"values": length}, len(elements), len(elements))


class _Stream:
    """The bytes of a DEFLATE stream, inflated only as they are read."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._stream = zlib.decompressobj(_WINDOW_BITS)
        self._waiting = b""

    def _refuse(self, what: str) -> NoReturn:
        raise FormatError(f"in the payload at offset {self._cursor.base}: a deflated stream {what}")

    def _some(self, most: int) -> bytes:
        """At least one byte and at most `most`; none at the end of the stream, or of the payload."""
        while not self._stream.eof:
            deflated = self._waiting or bytes(self._cursor.take(min(_READ_BYTES, self._cursor.left), "deflated bytes"))
            try:
                found = self._stream.decompress(deflated, most)
            except zlib.error as error:
                self._refuse(f"is damaged: {error}")
            self._waiting = self._stream.unconsumed_tail
            if found or not deflated:
                return found
        return b""

    def read(self, count: int) -> NDArray[np.uint8]:
        parts, left = [], count
        while left > 0:
            found = self._some(left)
            if not found:
                self._refuse(f"ends {left} bytes too early")
            parts.append(found)
            left -= len(found)
        return np.frombuffer(b"".join(parts), np.uint8)

    def end(self) -> None:
        """Checks that the stream and the payload end here."""
        if self._some(1):
            self._refuse("holds more than the tensor")
        if not self._stream.eof:
            self._refuse("has no end")
        if extra := len(self._stream.unused_data) + self._cursor.left:
            raise FormatError(f"{extra} bytes are left over behind the payload at offset {self._cursor.base}")
