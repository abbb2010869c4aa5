"""Positions of survivors <-> Huffman-coded gaps, the first part of a payload (docs/format.md, "Payloads")."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import GAP_BITS
from deepcompression.common.binary import Cursor, FormatError, varint

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Code(NamedTuple):
    """A Huffman code for the counts of some symbols, and the bytes of its stream."""

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
    """A gap width, with the fillers that it needs and the Huffman code of its gaps."""

    gap_bits: int
    fillers: int
    code: Code

    @property
    def stored_bytes(self) -> int:
        return len(self.code.table) + len(varint(self.code.stream_bytes)) + self.code.stream_bytes


def plan_positions(positions: NDArray[np.int64], gap_bits: int | None, rest_bytes: Callable[[int], int]) -> Plan:
    """The plan of the smallest payload (the narrowest on ties), or that of the width demanded.

    `rest_bytes` maps a number of fillers to the bytes of the rest of the payload.
    """
    plans = []
    for width in GAP_BITS if gap_bits is None else (gap_bits,):
        counts, fillers = _core.paper_gap_counts(positions, width)
        plans.append(Plan(width, fillers, Code.of(counts)))
        if fillers == 0:
            break  # a wider field changes nothing more

    def payload_bytes(plan: Plan) -> int:
        return len(varint(len(positions) + plan.fillers)) + plan.stored_bytes + rest_bytes(plan.fillers)

    return min(plans, key=payload_bytes)


def fixed_layout(bits: NDArray[np.uint8], size: int, survivors: int, entry_bits: int) -> tuple[int, int]:
    """The gap width of the fewest bits before Huffman coding (the paper's P+Q), and the number of entries with it.

    `bits` is the bitmap of a tensor of `size` elements. Each entry takes `entry_bits` besides its gap.
    """
    fillers = _core.fillers_by_gap_bits(bits, size)
    entries = {width: survivors + int(count) for width, count in zip(GAP_BITS, fillers, strict=True)}
    width = min(GAP_BITS, key=lambda width: entries[width] * (entry_bits + width))
    return width, entries[width]


def write_positions(positions: NDArray[np.int64], plan: Plan) -> tuple[bytes, NDArray[np.bool_]]:
    """The gaps as a payload begins with them, and whether each entry is a filler."""
    gaps, filler = _core.to_paper_gaps(positions, plan.gap_bits)
    stream = _core.encode_symbols(gaps, plan.code.lengths)
    parts = (varint(len(gaps)), bytes([plan.gap_bits]), plan.code.table, varint(len(stream)), stream)
    return b"".join(parts), filler


class Gaps(NamedTuple):
    """The gaps as they were read. The rest of the payload says which entries are fillers."""

    values: NDArray[np.uint16]
    bits: int
    parts: dict[str, int]


def read_gaps(cursor: Cursor, size: int, entry_bytes: int) -> Gaps:
    """Each entry takes at least `entry_bytes` behind the gaps: this is checked before memory is allocated for them."""
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
    lengths = cursor.core(_core.unpack_table, 1 << bits)
    table_bytes = cursor.at - start
    length = cursor.varint("length of the gap stream")
    if entries * entry_bytes > cursor.left - length:
        raise FormatError(f"{entries} entries do not fit the {cursor.left} bytes behind offset {cursor.offset}")
    values = read_stream(cursor, length, lengths, entries)
    fields = cursor.at - table_bytes - length
    return Gaps(values, bits, {"fields": fields, "gap table": table_bytes, "gaps": length})


def read_stream(cursor: Cursor, length: int, lengths: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    start = cursor.at
    cursor.take(length, "a coded stream")
    if count > 8 * length and np.count_nonzero(lengths) > 1:
        raise FormatError(f"the stream at offset {cursor.base + start} has {length} bytes, too few for {count} symbols")
    try:
        return _core.decode_symbols(cursor.data, start, length, lengths, count)
    except FormatError as error:
        raise FormatError(f"in the payload at offset {cursor.base}: {error}") from None
