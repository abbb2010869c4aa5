"""The second reader's coder `device`: slow, obvious, made from docs/format.md alone.

Quotation marks hold the words of that page.
"""

from __future__ import annotations

import math

import numpy as np
from second_reader_bits import Bytes, RefusedError, canonical, demand, read_table
from second_reader_blocks import read_codebook


class HighBits:
    """ "Bits of groups are filled from the most significant bit of each byte on." """

    def __init__(self, data: bytes) -> None:
        self.left = [byte >> i & 1 for byte in data for i in reversed(range(8))]

    def symbol(self, lengths: dict[int, int]) -> int:
        if len(lengths) == 1:
            return next(iter(lengths))
        symbols = canonical(lengths)
        code = length = 0
        while (length, code) not in symbols:
            if not self.left:
                raise RefusedError("a group has exactly the bytes that its bits need")
            code, length = 2 * code + self.left.pop(0), length + 1
        return symbols[length, code]


def read_table_of_12_bits(payload: Bytes, alphabet: int) -> dict[int, int]:
    lengths = read_table(payload, alphabet)
    demand(max(lengths.values()) <= 12, "in both tables a code has at most 12 bits")
    return lengths


def read_device(payload: Bytes, shape: tuple[int, ...], item_bytes: int, is_weight: bool) -> np.ndarray:
    """uint8 (size, bytes of an element)"""
    size, rows = math.prod(shape), shape[0] if len(shape) > 1 else 1
    demand(size * item_bytes < 2**31, "a tensor of elements that take fewer than 2^31 bytes")
    elements = np.zeros((size, item_bytes), np.uint8)
    kind = payload.u8()
    demand(kind in (0, 1), "0: no element survives, the payload ends here; 1: groups follow")
    if kind == 0:
        return elements
    demand(is_weight or item_bytes == 1, "`device` holds these and the dtypes of one byte")
    demand(size > 0, "a tensor of no elements has kind 0")
    group = payload.varint()
    demand(1 <= group <= rows, "1 to the rows of the tensor")
    if is_weight:
        codebook = read_codebook(payload, payload.u8() + 1, 8 * item_bytes)
        values = [centroid.to_bytes(item_bytes, "little") for centroid in codebook] + [bytes(item_bytes)]
        values = values[:256]
    else:
        values = [bytes([value]) for value in range(256)]
    escape = payload.u8()
    demand(escape >= 1, "E, from 1 to 255")
    gaps = read_table_of_12_bits(payload, escape + 1)
    demand(list(gaps) != [escape], "E does not occur alone")
    codes = read_table_of_12_bits(payload, len(values))
    lengths = [payload.varint() for _ in range(0, rows, group)]
    for number, length in enumerate(lengths):
        begin = number * group * (size // rows)
        end = min(size, begin + group * (size // rows))
        bits = HighBits(payload.take(length))
        at = begin + read_gap(bits, gaps, escape, end - begin)
        while at < end:
            elements[at] = list(values[bits.symbol(codes)])
            at += 1 + read_gap(bits, gaps, escape, end - begin)
        demand(at == end, "the last gap ends just behind the group's last element")
        demand(len(bits.left) < 8, "a group has exactly the bytes that its bits need")
        demand(not any(bits.left), "the last byte is padded with zero bits")
    return elements


def read_gap(bits: HighBits, lengths: dict[int, int], escape: int, most: int) -> int:
    gap = symbol = bits.symbol(lengths)
    while symbol == escape:
        demand(gap <= most, "the last gap ends just behind the group's last element")
        symbol = bits.symbol(lengths)
        gap += symbol
    return gap
