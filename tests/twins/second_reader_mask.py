"""A second reader of masks: slow, obvious, made from docs/format.md ("Mask") alone.

Quotation marks hold the words of that page.
"""

from __future__ import annotations

import itertools
import math

from second_reader_bits import Bytes, demand, read_stream, read_table
from second_reader_blocks import read_block


def read_mask(source: Bytes, shape: tuple[int, ...]) -> list[bool]:
    """Whether each element survives, in C order."""
    layout = source.u8()
    demand(layout <= 7, "sum of 1 (by columns), 2 (rows have classes), 4 (columns have classes)")
    if layout == 0:
        return read_sequence(source, math.prod(shape))
    demand(math.prod(shape) > 0, "0 for a tensor without elements")
    split = source.u8()
    demand(1 <= split < len(shape), "s, from 1 to ndim - 1")
    sides = [range(split), range(split, len(shape))]
    of, counts = [], []
    for side, has_classes in zip(sides, (layout & 2, layout & 4), strict=True):
        extents = [shape[axis] for axis in side]
        demand(layout < 2 or math.prod(extents) <= 2**20, "at most 2^20 rows and 2^20 columns")
        if has_classes:
            classes, count = read_classes(source, shape, side)
        else:
            classes, count = [0] * math.prod(extents), 1
        of.append(classes)
        counts.append(count)
    groups, group = 1, [0]
    if layout & 6:
        groups = source.u8()
        demand(2 <= groups <= 64, "G, from 2 to 64")
        group = read_block(source, counts[0] * counts[1], groups)

    rows, columns = range(len(of[0])), range(len(of[1]))
    if layout & 1:
        lines = sorted(columns, key=lambda column: of[1][column])
        elements = [(row, column) for column in lines for row in rows]
    else:
        lines = sorted(rows, key=lambda row: of[0][row])
        elements = [(row, column) for row in lines for column in columns]
    members: list[list[tuple[int, int]]] = [[] for _ in range(groups)]
    for row, column in elements:
        members[group[of[0][row] * counts[1] + of[1][column]]].append((row, column))
    mask = [False] * math.prod(shape)
    for places in members:
        for (row, column), bit in zip(places, read_sequence(source, len(places)), strict=True):
            mask[row * len(columns) + column] = bit
    return mask


def read_classes(source: Bytes, shape: tuple[int, ...], side: range) -> tuple[list[int], int]:
    """The class of each row or column, and the number of classes."""
    first, end, count = source.u8(), source.u8(), source.u8()
    demand(side.start <= first < end <= side.stop, "which lie within the side")
    demand(2 <= count <= 64, "from 2 to 64")
    stored = read_block(source, math.prod(shape[first:end]), count)
    number = {place: i for i, place in enumerate(itertools.product(*(range(axis) for axis in shape[first:end])))}
    places = itertools.product(*(range(shape[axis]) for axis in side))
    return [stored[number[place[first - side.start : end - side.start]]] for place in places], count


def read_sequence(source: Bytes, size: int) -> list[bool]:
    kind = source.u8()
    demand(kind <= 4, "kind")
    if kind < 2:
        return [kind == 1] * size
    if kind == 4:
        return read_patterns(source, size)
    escape = source.u8()
    demand(escape >= 1, "E, from 1 to 255")
    count = source.varint()
    demand(count <= size, "at most n")
    bits: list[bool] = []
    symbol = 0
    for symbol in read_block(source, count, escape + 1):
        bits += [False] * symbol + [True] * (symbol < escape)
        demand(len(bits) <= size, "no symbol steps behind the end")
    demand(symbol != escape, "the last symbol, which is not E")
    bits += [False] * (size - len(bits))
    return bits if kind == 2 else [not bit for bit in bits]


def read_patterns(source: Bytes, size: int) -> list[bool]:
    width = source.u8()
    demand(2 <= width <= 12, "m, from 2 to 12")
    count = -(-size // width)
    symbols: list[int] = []
    if width <= 8:
        symbols = read_block(source, count, 2**width)
    while len(symbols) < count:
        piece = min(2**20, count - len(symbols))
        table = read_table(source, 2**width)
        symbols += read_stream(source.take(source.varint()), table, piece)
    bits = [symbol >> i & 1 == 1 for symbol in symbols for i in range(width)]
    demand(not any(bits[size:]), "bits behind the end are zero")
    return bits[:size]
