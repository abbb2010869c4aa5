"""Files made by hand: the parts of a .dcz as bytes, with right checksums however wrong the rest is; mutations."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

from oracle import gamma, pack_bits, varint
from second_reader import DTYPES

ALIAS, RAW, SPARSE, HUFFMAN, FAST, SMALL, DEFLATE, DEVICE = range(8)


def text(value: bytes) -> bytes:
    return varint(len(value)) + value


def crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def pack(*bits: str) -> bytes:
    """Bits as they are read, padded with zeros."""
    return pack_bits("".join(bits))


def table(symbols: int, *tokens: int) -> bytes:
    return varint(symbols) + pack(*map(gamma, tokens))


# both symbols of an alphabet of two: length 4 - 3 = 1, then the same again
TWO = table(2, 7, 0)


def lone(symbol: int) -> bytes:
    """The table of a code for one symbol."""
    return table(symbol + 1, *([2, symbol - 1] if symbol else []), 7)


def entry(
    payload: bytes,
    coder: int = RAW,
    dtype: int | str = "F32",
    shape: Sequence[int] = (2,),
    name: bytes = b"w",
    length: int | None = None,
) -> bytes:
    """A tensor in the index; the name shares nothing with the one before."""
    number = dtype if isinstance(dtype, int) else DTYPES.index(dtype)
    dimensions = varint(len(shape)) + b"".join(map(varint, shape))
    size = varint(len(payload) if length is None else length)
    return varint(0) + text(name) + bytes([coder, number]) + dimensions + size + crc(payload)


def alias(name: bytes, target: int) -> bytes:
    return varint(0) + text(name) + bytes([ALIAS]) + varint(target)


def file(
    entries: Sequence[bytes],
    payloads: bytes = b"",
    metadata: bytes = b"\0",
    magic: bytes = b"\x89DCZ",
    version: int = 1,
    count: int | None = None,
    behind: bytes = b"",
) -> bytes:
    """A whole file; `count` is the number of tensors claimed, `behind` follows the last of them in the index."""
    index = metadata + varint(len(entries) if count is None else count) + b"".join(entries) + behind
    return seal(magic + bytes([version]) + text(index)) + payloads


def seal(head: bytes) -> bytes:
    return head + crc(head)


def one(payload: bytes, **fields: object) -> bytes:
    """A file of one tensor."""
    return file([entry(payload, **fields)], payload)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A few bytes set, flipped, inserted, removed, or copied from elsewhere."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            changed[at:at] = rng.randbytes(rng.choice([1, 1, 2, 9]))
        elif kind == 1:
            del changed[at : at + rng.choice([1, 1, 2, 9])]
        elif kind == 2 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            changed[at : at + 1] = bytes([rng.choice([0, 1, 2, 127, 128, 255, rng.randrange(256)])])
        else:
            source = rng.randrange(len(changed) + 1)
            changed[at : at + 3] = changed[source : source + 3]
    return bytes(changed)
