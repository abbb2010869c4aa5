"""A second reader of .dcz: slow, obvious, made from docs/format.md alone, sharing nothing with the package.

Quotation marks hold the words of that page.
"""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np

ITEM_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "C64": 8},
}
DTYPES = list(ITEM_BYTES)
ALIAS, RAW, SPARSE, HUFFMAN = range(4)


class RefusedError(Exception):
    """The bytes are not as the page says."""


class Decoded(NamedTuple):
    """A tensor: its dtype by name, its shape, and its elements as little-endian bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def demand(condition: bool, quote: str) -> None:
    if not condition:
        raise RefusedError(quote)


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        demand(count <= len(self.data) - self.at, "lengths")
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def crc(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def varint(self) -> int:
        groups = [self.u8()]
        while groups[-1] >= 128:
            groups.append(self.u8())
            demand(len(groups) <= 9, "at most nine bytes")
        demand(groups[-1] > 0 or len(groups) == 1, "a last byte of zero is allowed only for the value 0")
        return sum((group % 128) << (7 * i) for i, group in enumerate(groups))

    def bits(self) -> Bits:
        return Bits(self)


class Bits:
    """ "Bit streams are filled from the least significant bit of each byte." """

    def __init__(self, source: Bytes) -> None:
        self.source, self.left = source, []

    def take(self) -> int:
        if not self.left:
            byte = self.source.u8()
            self.left = [byte >> i & 1 for i in range(8)]
        return self.left.pop(0)

    def end(self) -> None:
        demand(not any(self.left), "the last byte is padded with zero bits")

    def gamma(self) -> int:
        """ "With v + 1 having m binary digits, m - 1 zero bits, then the m digits, most significant first." """
        zeros = 0
        while self.take() == 0:
            zeros += 1
        value = 1
        for _ in range(zeros):
            value = 2 * value + self.take()
        return value - 1


def read(data: bytes, limit_bytes: int = 64 << 30) -> tuple[dict[str, str], dict[str, Decoded]]:
    """Metadata and tensors of a whole file. Raises RefusedError."""
    file = Bytes(data)
    demand(file.take(4) == b"\x89DCZ", "magic")
    demand(file.u8() == 1, "version")
    length = file.varint()
    demand(length <= 10**8, "at most 10^8")
    index = Bytes(file.take(length))
    head = data[: file.at]
    demand(file.crc() == zlib.crc32(head), "checksum of everything before it")

    metadata: dict[str, str] = {}
    keys = []
    for _ in range(count_of(index)):
        keys.append(index.take(index.varint()))
        demand(keys == sorted(set(keys)), "keys in strictly ascending order of their bytes")
        metadata[utf8(keys[-1])] = utf8(index.take(index.varint()))

    entries: list[tuple[str, list]] = []
    name = b""
    for _ in range(count_of(index)):
        shared = index.varint()
        demand(shared <= len(name), "bytes that this name has in common with the start of the previous one")
        name = name[:shared] + index.take(index.varint())
        demand(utf8(name) not in [other for other, _ in entries], "names are unique")
        entries.append((utf8(name), read_entry(index, entries)))
    demand(sum(len(name.encode()) for name, _ in entries) <= 10**8, "all of them together take at most 10^8 bytes")
    demand(index.at == length, "bytes left over in the index")
    own = [fields for _, fields in entries if fields[0] != ALIAS]
    demand(file.at + sum(fields[3] for fields in own) == len(data), "the file ends with the last payload")
    sizes = [ITEM_BYTES[DTYPES[dtype]] * math.prod(shape) for _, dtype, shape, _, _ in own]
    demand(sum(sizes) <= limit_bytes, "the tensors' decoded bytes, added up, are within the limit")

    tensors: list[Decoded] = []
    for _, fields in entries:
        if fields[0] == ALIAS:
            tensors.append(tensors[fields[1]])
            continue
        coder, dtype, shape, length, checksum = fields
        payload = file.take(length)
        demand(zlib.crc32(payload) == checksum, "checksum of the payload")
        elements = read_payload(Bytes(payload), coder, DTYPES[dtype], math.prod(shape))
        tensors.append(Decoded(DTYPES[dtype], shape, elements))
    return metadata, dict(zip([name for name, _ in entries], tensors, strict=True))


def count_of(index: Bytes) -> int:
    count = index.varint()
    demand(count <= 2**20, "at most 2^20 tensors and 2^20 metadata entries")
    return count


def utf8(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise RefusedError("valid UTF-8") from None


def read_entry(index: Bytes, earlier: list[tuple[str, list]]) -> list:
    coder = index.u8()
    demand(coder <= HUFFMAN, "an unknown coder")
    if coder == ALIAS:
        target = index.varint()
        demand(target < len(earlier), "an earlier tensor")
        demand(earlier[target][1][0] != ALIAS, "which is not an alias")
        return [ALIAS, target]
    dtype = index.u8()
    demand(dtype < len(DTYPES), "an unknown dtype")
    dimensions = index.varint()
    demand(dimensions <= 32, "at most 32")
    shape = tuple(index.varint() for _ in range(dimensions))
    claimed = math.prod(max(axis, 1) for axis in shape) * ITEM_BYTES[DTYPES[dtype]]
    demand(claimed < 2**63, "a shape whose bytes, axes of length 0 counted as 1, do not fit 2^63")
    return [coder, dtype, shape, index.varint(), index.crc()]


def read_payload(payload: Bytes, coder: int, dtype: str, size: int) -> bytes:
    item_bytes = ITEM_BYTES[dtype]
    if coder == RAW:
        demand(len(payload.data) == size * item_bytes, "the length is exactly theirs")
        return payload.data
    demand(coder == SPARSE or dtype in ("F64", "F32", "F16", "BF16"), "`huffman` F64, F32, F16 and BF16")
    elements = np.zeros((size, item_bytes), np.uint8)
    count = payload.varint()
    demand(count <= size, "at most the number of elements")
    if count == 0:
        demand(payload.at == len(payload.data), "if 0, the payload ends here")
        return elements.tobytes()
    gap_bits = payload.u8()
    demand(2 <= gap_bits <= 16, "b, from 2 to 16")
    gap_table = read_table(payload, 2**gap_bits)
    length = payload.varint()
    gaps = read_stream(payload.take(length), gap_table, count)
    position = -1
    positions = [position := position + gap + 1 for gap in gaps]
    demand(position < size, "no position may reach the number of elements")
    if coder == SPARSE:
        values = payload.take(len(payload.data) - payload.at)
        demand(len(values) == count * item_bytes, "the elements at the entries, one after the other, to the end")
        elements[positions] = np.frombuffer(values, np.uint8).reshape(count, item_bytes)
        return elements.tobytes()
    centroids = payload.u8() + 1
    codebook = np.frombuffer(payload.take(centroids * item_bytes), np.uint8).reshape(centroids, item_bytes)
    code_table = read_table(payload, centroids + 1)
    codes = read_stream(payload.take(len(payload.data) - payload.at), code_table, count)
    for position, code in zip(positions, codes, strict=True):
        if code < centroids:
            elements[position] = codebook[code]
    return elements.tobytes()


def read_table(payload: Bytes, alphabet: int) -> dict[int, int]:
    """Symbol -> length of its code, for the symbols that occur."""
    symbols = payload.varint()
    demand(1 <= symbols <= alphabet, "1 to the alphabet's size")
    bits = payload.bits()
    lengths: dict[int, int] = {}
    symbol, previous = 0, 4
    while symbol < symbols:
        v = bits.gamma()
        if v == 2:
            symbol += 1 + bits.gamma()
            demand(symbol < symbols, "the last symbol occurs")
            continue
        previous += {0: 0, 1: 1}.get(v, v // 2 if v % 2 == 0 else -(v // 2))
        demand(1 <= previous <= 16, "1 to 16 bits")
        lengths[symbol] = previous
        symbol += 1
    bits.end()
    if len(lengths) == 1:
        demand(set(lengths.values()) == {1}, "if only one symbol occurs its length is 1")
    else:
        demand(sum(2**-length for length in lengths.values()) == 1, "the sum of 2^-length is 1")
    return lengths


def read_stream(data: bytes, lengths: dict[int, int], count: int) -> list[int]:
    if len(lengths) == 1:
        demand(data == b"", "its stream is empty")
        return list(lengths) * count
    symbols = {}
    code, length = 0, 0
    # "Shorter ones first, within a length by symbol, each the previous one plus one, extended by zeros when the
    # length grows, the first all zeros."
    for symbol in sorted(lengths, key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        symbols[length, code] = symbol
        code += 1
    source = Bytes(data)
    bits = source.bits()
    found = []
    for _ in range(count):
        code, length = bits.take(), 1
        while (length, code) not in symbols:
            code, length = 2 * code + bits.take(), length + 1
        found.append(symbols[length, code])
    demand(source.at == len(data), "the stream has just as many bytes as its bits need")
    bits.end()
    return found
