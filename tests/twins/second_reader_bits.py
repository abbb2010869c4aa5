"""The second reader's numbers, bit streams, tables and streams: slow, obvious, made from docs/format.md alone.

Quotation marks hold the words of that page.
"""

from __future__ import annotations


class RefusedError(Exception):
    """The bytes are not as the page says."""


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
        """ "Where v + 1 has m binary digits, these are m - 1 zero bits and then the m digits, most significant
        first."
        """
        zeros = 0
        while self.take() == 0:
            zeros += 1
        value = 1
        for _ in range(zeros):
            value = 2 * value + self.take()
        return value - 1


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
        demand(set(lengths.values()) == {1}, "if only one symbol occurs, its length is 1")
    else:
        demand(sum(2**-length for length in lengths.values()) == 1, "the sum of 2^-length is 1")
    return lengths


def canonical(lengths: dict[int, int]) -> dict[tuple[int, int], int]:
    """(Length, code) -> symbol."""
    symbols = {}
    code, length = 0, 0
    # "Shorter ones first, within a length by symbol, each the previous one plus one, extended by zeros when the
    # length grows, the first all zeros."
    for symbol in sorted(lengths, key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        symbols[length, code] = symbol
        code += 1
    return symbols


def read_stream(data: bytes, lengths: dict[int, int], count: int) -> list[int]:
    if len(lengths) == 1:
        demand(data == b"", "its stream is empty")
        return list(lengths) * count
    symbols = canonical(lengths)
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
