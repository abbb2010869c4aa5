"""Positions of survivors <-> gaps, Huffman-coded: the part that payloads begin with (docs/format.md, "Payloads")."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.common.binary import Cursor, FormatError, varint

GAP_BITS = range(2, 17)


class Code(NamedTuple):
    """A Huffman code for the counts of some symbols, with the bytes that it will take."""

    lengths: NDArray[np.uint8]
    table: bytes
    stream_bytes: int

    @classmethod
    def of(cls, counts: NDArray[np.uint64]) -> Code:
        lengths = _core.code_lengths(counts)
        # a lone symbol takes no bits
        bits = int(counts @ lengths.astype(np.uint64)) if np.count_nonzero(counts) > 1 else 0
        return cls(lengths, _core.pack_table(lengths), (bits + 7) // 8)


class Plan(NamedTuple):
    """The positions of survivors, ready to be written with one gap width."""

    gap_bits: int
    fillers: int
    code: Code

    @property
    def stored_bytes(self) -> int:
        return len(self.code.table) + len(varint(self.code.stream_bytes)) + self.code.stream_bytes


def plan_positions(positions: NDArray[np.int64], gap_bits: int | None, rest_bytes: Callable[[int], int]) -> Plan:
    """The gap width that gives the smallest payload (the narrowest on ties), or the one demanded.

    `rest_bytes` gives what the remainder of the payload takes for a number of fillers.
    """
    best: Plan | None = None
    best_bytes = 0
    for width in GAP_BITS if gap_bits is None else (gap_bits,):
        counts, fillers = _core.paper_gap_counts(positions, width)
        candidate = Plan(width, fillers, Code.of(counts))
        entries = len(positions) + fillers
        total = len(varint(entries)) + candidate.stored_bytes + rest_bytes(fillers)
        if best is None or total < best_bytes:
            best, best_bytes = candidate, total
        if fillers == 0:
            break  # a wider field changes nothing more
    assert best is not None
    return best


def fixed_layout(bits: NDArray[np.uint8], size: int, survivors: int, entry_bits: int) -> tuple[int, int]:
    """The gap width that takes the fewest bits before Huffman coding, where each entry takes `entry_bits` besides its
    gap, and the number of entries with it (the paper's P+Q), for the bitmap of a tensor of so many elements.
    """
    fillers = _core.fillers_by_gap_bits(bits, size)
    entries = {width: survivors + int(count) for width, count in zip(GAP_BITS, fillers, strict=True)}
    width = min(GAP_BITS, key=lambda width: entries[width] * (entry_bits + width))
    return width, entries[width]


def write_positions(positions: NDArray[np.int64], plan: Plan) -> tuple[bytes, NDArray[np.bool_]]:
    """The positions part of a payload, and which entries are fillers."""
    gaps, filler = _core.to_paper_gaps(positions, plan.gap_bits)
    stream = _core.encode_symbols(gaps, plan.code.lengths)
    parts = (varint(len(gaps)), bytes([plan.gap_bits]), plan.code.table, varint(len(stream)), stream)
    return b"".join(parts), filler


class Gaps(NamedTuple):
    """The positions part as it was read; what follows it says which entries are fillers."""

    values: NDArray[np.uint16]
    bits: int
    parts: dict[str, int]


def read_gaps(cursor: Cursor, size: int, entry_bytes: int) -> Gaps:
    """`entry_bytes` is the least that each entry takes behind the gaps: known before memory is asked for them."""
    entries = cursor.varint("number of entries")
    if entries > size:
        raise FormatError(f"{entries} entries are claimed for a tensor of {size} elements")
    if entries == 0:
        cursor.end("a tensor without entries")
        return Gaps(np.zeros(0, np.uint16), 0, {"fields": cursor.at})
    bits = cursor.u8("gap bits")
    if bits not in GAP_BITS:
        raise FormatError(f"gap bits at offset {cursor.offset - 1} are from 2 to 16; found {bits}")
    start = cursor.at
    lengths = read_table(cursor, 1 << bits)
    table_bytes = cursor.at - start
    length = cursor.varint("length of the gap stream")
    if entries * entry_bytes > cursor.left - length:
        raise FormatError(f"{entries} entries do not fit the {cursor.left} bytes behind offset {cursor.offset}")
    values = read_stream(cursor, length, lengths, entries)
    fields = cursor.at - table_bytes - length
    return Gaps(values, bits, {"fields": fields, "gap table": table_bytes, "gaps": length})


def read_table(cursor: Cursor, alphabet: int) -> NDArray[np.uint8]:
    lengths: NDArray[np.uint8] = cursor.core(_core.unpack_table, alphabet)
    return lengths


def read_stream(cursor: Cursor, length: int, lengths: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    start = cursor.at
    cursor.take(length, "a coded stream")
    if count > 8 * length and np.count_nonzero(lengths) > 1:
        raise FormatError(f"the stream at offset {cursor.base + start} has {length} bytes, too few for {count} symbols")
    try:
        return _core.decode_symbols(cursor.data, start, length, lengths, count)
    except FormatError as error:
        raise FormatError(f"in the payload at offset {cursor.base}: {error}") from None
