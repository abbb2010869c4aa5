"""Symbols for blocks, and a slow writer of blocks in lanes, made from docs/format.md, whose fields can be replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import oracle
import second_reader_blocks
from cases import numbers
from numpy.typing import NDArray
from oracle import varint
from second_reader_blocks import LANES, NARROW, STREAM, TURN, WINDOW_BYTES

from deepcompression import _core

Symbols = NDArray[np.uint8]
ROUND = {layout: LANES * turn for layout, turn in TURN.items()}


def halves(count: int, seed: int) -> Symbols:
    """Symbol s has probability 2^-(s + 1)."""
    lowest = numbers(count, seed) | np.uint32(1 << 31)
    return np.log2((lowest & -lowest).astype(np.float64)).astype(np.uint8)


def smallest(count: int, alphabet: int, of: int, seed: int = 1) -> Symbols:
    """The smallest of a few uniform symbols: the skewer, the more of them."""
    draws = [numbers(count, seed + i) % alphabet for i in range(of)]
    return np.minimum.reduce(draws).astype(np.uint8)


def mostly(symbol: int, others: Symbols, one_in: int) -> Symbols:
    """`symbol`, but for one place in so many."""
    return np.where(numbers(len(others), 77) % one_in == 0, others, symbol).astype(np.uint8)


def last_differs(count: int) -> Symbols:
    symbols = np.zeros(count, np.uint8)
    symbols[-1:] = 255
    return symbols


# name -> symbols of that count
DISTRIBUTIONS: dict[str, Callable[[int], Symbols]] = {
    "lone 0": lambda n: np.zeros(n, np.uint8),
    "lone 255": lambda n: np.full(n, 255, np.uint8),
    "last differs": last_differs,
    "two": lambda n: (numbers(n) % 2).astype(np.uint8),
    "0 and 255": lambda n: (numbers(n) % 2 * 255).astype(np.uint8),
    "five": lambda n: smallest(n, 5, 1),
    "halves": lambda n: halves(n, 3),
    "peak of 32": lambda n: smallest(n, 32, 3),
    "peak of 64": lambda n: smallest(n, 64, 5),
    "peak of 65": lambda n: smallest(n, 65, 5),
    "peak of 256": lambda n: smallest(n, 256, 2),
    "steep peak of 256": lambda n: smallest(n, 256, 8),
    "rare others": lambda n: mostly(9, smallest(n, 256, 1, 5), 40),
    "exceptions": lambda n: np.where(numbers(n, 6) % 3000 == 0, 200 + smallest(n, 9, 1), smallest(n, 8, 2)),
    "uniform 200": lambda n: smallest(n, 200, 1),
    "uniform 256": lambda n: smallest(n, 256, 1),
}


def symbols_of(name: str, count: int) -> Symbols:
    return DISTRIBUTIONS[name](count).astype(np.uint8)


def counts_of(symbols: Symbols) -> NDArray[np.uint64]:
    return np.bincount(symbols, minlength=256).astype(np.uint64)


def decode_slowly(block: bytes, count: int, alphabet: int = 256) -> Symbols:
    """By the second reader, which must find nothing behind the block."""
    source = second_reader_blocks.Bytes(block)
    symbols = second_reader_blocks.read_block(source, count, alphabet)
    second_reader_blocks.demand(source.at == len(block), "nothing behind it")
    return np.array(symbols, np.uint8)


@dataclass(frozen=True)
class Lanes:
    """The fields of a block in lanes, in their order; a test replaces those that shall be wrong."""

    layout: int
    table: bytes
    exceptions: bytes
    segments: int
    lengths: Sequence[int]
    data: bytes

    def bytes(self) -> bytes:
        head = bytes([self.layout]) + self.table + self.exceptions + varint(self.segments)
        return head + b"".join(map(varint, self.lengths)) + self.data

    def but(self, **fields: object) -> bytes:
        return replace(self, **fields).bytes()


def write_lanes(
    symbols: Symbols, layout: int = NARROW, lengths: Sequence[int] | None = None, segments: int = 1
) -> Lanes:
    """Symbols without a code become exceptions; with no lengths given every symbol that occurs has a code."""
    if lengths is None:
        lengths = oracle.code_lengths(counts_of(symbols).tolist())
    codes = oracle.canonical_codes(lengths)
    rare = sorted(set(symbols.tolist()) - set(codes))
    stand_in = min(codes, key=lambda symbol: (len(codes[symbol]), codes[symbol]))
    places = [place for place, symbol in enumerate(symbols.tolist()) if symbol in rare]
    exceptions = b""
    if layout == NARROW:
        exceptions = write_exceptions(rare, [(place, int(symbols[place])) for place in places])
    coded = [codes.get(symbol, codes[stand_in]) for symbol in symbols.tolist()]
    rounds = -(-len(symbols) // ROUND[layout])
    ends = accumulate((rounds // segments + (i < rounds % segments)) * ROUND[layout] for i in range(segments))
    starts = [0, *ends]
    parts = [write_segment(coded[a:b], TURN[layout]) for a, b in pairwise(starts)]
    return Lanes(layout, oracle.pack_table(lengths), exceptions, segments, [len(p) for p in parts], b"".join(parts))


def write_exceptions(rare: Sequence[int], places: Sequence[tuple[int, int]], count: int | None = None) -> bytes:
    out = varint(len(rare)) + bytes(rare)
    if not rare:
        return out
    out += varint(len(places) if count is None else count)
    previous = -1
    for place, symbol in places:
        out += varint((place - previous - 1) * len(rare) + rare.index(symbol))
        previous = place
    return out


def write_segment(codes: Sequence[str], turn: int) -> bytes:
    rounds = [codes[i : i + LANES * turn] for i in range(0, len(codes), LANES * turn)]
    streams = [""] * LANES
    used = []  # bits of each lane after each round
    for symbols in rounds:
        for lane in range(LANES):
            streams[lane] += "".join(symbols[lane * turn : (lane + 1) * turn])
        used.append([len(stream) for stream in streams])
    data = [oracle.pack_bits(stream) + bytes(2 * WINDOW_BYTES) for stream in streams]
    out = b"".join(stream[:WINDOW_BYTES] for stream in data)
    slid = [0] * LANES
    for bits in used[:-1]:
        for lane in range(LANES):
            out += data[lane][WINDOW_BYTES + slid[lane] : WINDOW_BYTES + bits[lane] // 8]
            slid[lane] = bits[lane] // 8
    return out


def write_stream(symbols: Symbols, lengths: Sequence[int]) -> bytes:
    """A block of the layout `stream`."""
    stream = oracle.encode_symbols(symbols.tolist(), lengths)
    return bytes([STREAM]) + oracle.pack_table(lengths) + varint(len(stream)) + stream


def decode(block: bytes, count: int, alphabet: int = 256, threads: int = 1) -> Symbols:
    """By the core, which must find nothing behind the block."""
    symbols, end = _core.decode_block(block, 0, count, alphabet, threads)
    if end != len(block):
        raise _core.FormatError(f"{len(block) - end} bytes behind the block at byte {end}")
    return symbols
