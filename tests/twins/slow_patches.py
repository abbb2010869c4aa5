"""A second reader of plain patches: slow, obvious, made from docs/format.md alone.

Quotation marks hold the words of that page.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from second_reader_bits import Bytes, canonical, demand
from second_reader_device import HighBits, read_gap, read_table_of_12_bits

LITERAL, COPY, DIFFERENCE, RECODE = range(4)
ORDERED, ZEROS_STAY, RUNS = 16, 32, 64
BY_CODE, RUNS_OF_SURVIVORS, WITHOUT_CODEBOOK = 1, 2, 4


def signed(value: int) -> int:
    """ "The numbers 0, -1, 1, -2, 2 ... are 0, 1, 2, 3, 4 ..." """
    return value // 2 if value % 2 == 0 else -(value + 1) // 2


def read(patch: bytes, old: bytes, kinds: list[int] | None = None) -> bytes:
    """NEW. Raises RefusedError. `kinds` gets the kind of each operation."""
    fields = Bytes(patch)
    demand(fields.take(4) == b"\x89DCP", "magic")
    demand(fields.u8() == 1, "version")
    demand((fields.varint(), fields.crc()) == (len(old), zlib.crc32(old)), "checksum of OLD")
    new_size, new_checksum = fields.varint(), fields.crc()
    fields.varint()
    demand(zlib.crc32(patch[:-4]) == int.from_bytes(patch[-4:], "little"), "checksum crc of everything before it")
    new, place = bytearray(), 0
    while fields.at < len(patch) - 4:
        begin = fields.at
        n, kind = divmod(fields.varint(), 4)
        demand(n >= 1, "n at least 1")
        if kinds is not None:
            kinds.append(kind)
        if kind == LITERAL:
            new += fields.take(n)
            place += n
            continue
        place += signed(fields.varint())
        if kind == COPY:
            demand(place >= 0 and place + n <= len(old), "n bytes of OLD from the old place on")
            new += old[place : place + n]
            place += n
        elif kind == DIFFERENCE:
            made, place = difference(fields, old, place, n)
            new += made
        else:
            made, place = recode(fields, Bytes(patch[begin - n : begin]), old, place)
            new += made
    demand((len(new), zlib.crc32(new)) == (new_size, new_checksum), "checksum of NEW")
    return bytes(new)


class Stream:
    """ "Symbols of several tables follow each other in one stream." """

    def __init__(self, fields: Bytes) -> None:
        self.fields, self.used = fields, 0

    def symbol(self, table: dict[int, int]) -> int:
        if len(table) == 1:
            return next(iter(table))
        symbols = canonical(table)
        code = length = 0
        while (length, code) not in symbols:
            if self.used % 8 == 0:
                self.byte = self.fields.u8()
            code, length = 2 * code + (self.byte >> (7 - self.used % 8) & 1), length + 1
            self.used += 1
        return symbols[length, code]

    def number(self, table: dict[int, int]) -> int:
        """ "The sum of its symbols up to the first that is not 255." """
        found = [self.symbol(table)]
        while found[-1] == 255:
            found.append(self.symbol(table))
        return sum(found)

    def end(self) -> None:
        if self.used % 8:
            demand(self.byte % (1 << (8 - self.used % 8)) == 0, "the last byte is padded with zero bits")


def difference(fields: Bytes, old: bytes, place: int, n: int) -> tuple[bytes, int]:
    options = fields.u8()
    width = options % ORDERED
    changes = fields.varint() if options & RUNS else None
    run_table = read_table_of_12_bits(fields, 256) if options & RUNS else None
    planes = [read_table_of_12_bits(fields, 256) for _ in range(width)]
    stream = Stream(fields)
    elements = [int.from_bytes(old[place + i * width : place + (i + 1) * width], "little") for i in range(n)]
    demand(place >= 0 and place + n * width <= len(old), "n elements")
    stay = stream.number(run_table) if changes else 0
    for i, element in enumerate(elements):
        if (options & ZEROS_STAY and element == 0) or changes == 0:
            continue
        if stay > 0:
            stay -= 1
            continue
        step = signed(int.from_bytes([stream.symbol(plane) for plane in planes], "big"))
        elements[i] = moved(element, step, 8 * width, bool(options & ORDERED))
        if changes is not None:
            changes -= 1
            stay = stream.number(run_table) if changes else 0
    stream.end()
    return b"".join(element.to_bytes(width, "little") for element in elements), place + n * width


def moved(element: int, step: int, bits: int, ordered: bool) -> int:
    sign, every = 1 << (bits - 1), (1 << bits) - 1
    if not ordered:
        return (element + step) & every
    integer = element ^ every if element & sign else element | sign
    integer = (integer + step) & every
    return integer ^ sign if integer & sign else integer ^ every


class Head(NamedTuple):
    """All of a payload of the coder `device` before its groups."""

    group: int
    centroids: int
    escape: int
    gaps: dict[int, int]
    codes: dict[int, int]
    lengths: list[int]

    @classmethod
    def read(cls, payload: Bytes, rows: int, codebook_bytes: int, with_codebook: bool) -> Head:
        demand(payload.u8() == 1, "groups follow")
        group = payload.varint()
        centroids = 256
        if with_codebook:
            centroids = payload.u8() + 1
            payload.take(codebook_bytes)
        escape = payload.u8()
        gaps = read_table_of_12_bits(payload, escape + 1)
        codes = read_table_of_12_bits(payload, min(centroids + with_codebook, 256))
        return cls(group, centroids, escape, gaps, codes, [payload.varint() for _ in range(0, rows, group)])


def recode(fields: Bytes, new_head: Bytes, old: bytes, place: int) -> tuple[bytes, int]:
    options = fields.u8()
    with_codebook = not options & WITHOUT_CODEBOOK
    codebooks = fields.varint(), fields.varint()
    old_rows, new_rows, columns = fields.varint(), fields.varint(), fields.varint()
    payload = Bytes(old)
    payload.at = place
    before = Head.read(payload, old_rows, codebooks[0], with_codebook)
    after = Head.read(new_head, new_rows, codebooks[1], with_codebook)
    alphabet = max(before.centroids, after.centroids)
    changes = fields.varint() if options & RUNS_OF_SURVIVORS else None
    run_table = read_table_of_12_bits(fields, 256) if options & RUNS_OF_SURVIVORS else None
    inserted = fields.varint()
    gap_table = read_table_of_12_bits(fields, 256) if inserted else None
    code_table = read_table_of_12_bits(fields, after.centroids) if inserted else None
    edits = [read_table_of_12_bits(fields, alphabet + 1) for _ in range(before.centroids if options & BY_CODE else 1)]
    stream = Stream(fields)
    run = stream.number(run_table) if changes else 0
    position = stream.number(gap_table) if inserted else 0
    survivors: dict[int, int] = {}
    old_survivors = read_groups(payload, before, old_rows, columns, with_codebook)
    for at, code in [*old_survivors, (1 << 62, 0)]:
        while inserted and position < at:
            survivors[position] = stream.symbol(code_table)
            inserted -= 1
            position += stream.number(gap_table) + 1 if inserted else 0
        if at == 1 << 62:
            break
        if changes == 0 or run > 0:
            run -= run > 0
            survivors[at] = code
            continue
        edit = stream.symbol(edits[code if options & BY_CODE else 0])
        if edit < alphabet:
            survivors[at] = (code + edit // 2 if edit % 2 == 0 else code - (edit + 1) // 2) % alphabet
        if changes is not None:
            changes -= 1
            run = stream.number(run_table) if changes else 0
    stream.end()
    return write_groups(survivors, after, new_rows, columns, with_codebook), payload.at


def read_groups(payload: Bytes, head: Head, rows: int, columns: int, with_codebook: bool) -> list[tuple[int, int]]:
    """Positions and codes."""
    filler = head.centroids if with_codebook else 0
    found = []
    for number, length in enumerate(head.lengths):
        begin, end = number * head.group * columns, min(rows, (number + 1) * head.group) * columns
        bits = HighBits(payload.take(length))
        at = begin + read_gap(bits, head.gaps, head.escape, end - begin)
        while at < end:
            if (code := bits.symbol(head.codes)) != filler:
                found.append((at, code))
            at += 1 + read_gap(bits, head.gaps, head.escape, end - begin)
    return found


def write_groups(survivors: dict[int, int], head: Head, rows: int, columns: int, with_codebook: bool) -> bytes:
    filler = head.centroids if with_codebook else 0
    words = [{symbol: word for word, symbol in canonical(table).items()} for table in (head.gaps, head.codes)]
    groups = b""
    for begin in range(0, rows * columns, head.group * columns):
        end = min(rows * columns, begin + head.group * columns)
        entries = {at: code for at, code in survivors.items() if begin <= at < end}
        # "where the gap 0 alone has a code, each pruned element is a filler"
        if list(head.gaps) == [0]:
            entries = {at: survivors.get(at, filler) for at in range(begin, end)}
        bits, last = "", begin - 1
        for at, code in [*sorted(entries.items()), (end, None)]:
            gap = at - last - 1
            for symbol in [head.escape] * (gap // head.escape) + [gap % head.escape]:
                bits += as_bits(words[0], symbol)
            bits += "" if code is None else as_bits(words[1], code)
            last = at
        groups += bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    return groups


def as_bits(words: dict[int, tuple[int, int]], symbol: int) -> str:
    demand(symbol in words, "a symbol that has a code")
    length, word = words[symbol]
    return "" if len(words) == 1 else f"{word:0{length}b}"
