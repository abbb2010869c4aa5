"""The second reader's codebooks, values and blocks: slow, obvious, made from docs/format.md alone.

Quotation marks hold the words of that page.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from second_reader_bits import Bytes, canonical, demand, read_stream, read_table

SAME, PLAIN, STREAM, NARROW, WIDE = range(5)
LANES, WINDOW_BYTES = 64, 8
TURN = {NARROW: 8, WIDE: 4}
LONGEST = {NARROW: 7, WIDE: 14}


def read_codebook(source: Bytes, centroids: int, width: int) -> list[int]:
    """The bits of the centroids, as integers."""
    bits = source.bits()
    ordered = [sum(bits.take() << i for i in range(width))]
    digits = 20
    for _ in range(centroids - 1):
        v = bits.gamma()
        digits += (v + 1) // 2 if v % 2 else -(v // 2)
        demand(1 <= digits <= width, "m is at most w")
        ordered.append(ordered[-1] + sum(bits.take() << i for i in range(digits - 1)) + (1 << (digits - 1)))
        demand(ordered[-1] < 2**width, "no integer exceeds w bits")
    bits.end()
    return [unordered(integer, width) for integer in ordered]


def unordered(integer: int, width: int) -> int:
    """The bits of an element: "If the element's sign bit is clear, the integer is its bits with the sign bit set. If it
    is set, all bits are inverted."
    """
    sign, inverted = 1 << (width - 1), (1 << width) - 1
    return integer - sign if integer >= sign else inverted - integer


def read_values(source: Bytes, count: int, item_bytes: int, is_weight: bool) -> np.ndarray:
    """uint8 (count, item_bytes): the elements, little-endian."""
    # "The most significant bytes of all elements, then the next ones, the least significant last"
    planes = [read_block(source, count, 256) for _ in range(item_bytes)]
    elements = np.array(planes[::-1], np.uint8).reshape(item_bytes, count).T
    if not is_weight:
        return elements
    integers = [int.from_bytes(element.tobytes(), "little") for element in elements]
    highest = 8 * item_bytes - 1
    turned_back = [integer >> 1 | (integer & 1) << highest for integer in integers]
    joined = b"".join(integer.to_bytes(item_bytes, "little") for integer in turned_back)
    return np.frombuffer(joined, np.uint8).reshape(count, item_bytes)


def read_block(source: Bytes, count: int, alphabet: int) -> list[int]:
    if count == 0:
        return []
    layout = source.u8()
    demand(layout <= WIDE, "a reader refuses everything that this page does not describe")
    if layout == SAME:
        symbols = [source.u8()] * count
    elif layout == PLAIN:
        symbols = list(source.take(count))
    elif layout == STREAM:
        demand(count <= 65_536, "n at most 65,536")
        lengths = read_table(source, alphabet)
        demand(len(lengths) >= 2, "in a block's stream, as in lanes, at least two symbols have a code")
        symbols = read_stream(source.take(source.varint()), lengths, count)
    else:
        symbols = read_lanes(source, count, alphabet, layout)
    demand(max(symbols) < alphabet, "below a given alphabet size")
    return symbols


def read_lanes(source: Bytes, count: int, alphabet: int, layout: int) -> list[int]:
    lengths = read_table(source, alphabet)
    demand(len(lengths) >= 2, "in a block's stream, as in lanes, at least two symbols have a code")
    demand(max(lengths.values()) <= LONGEST[layout], f"a code has at most {LONGEST[layout]} bits")
    for length in range(9, 15):
        of_this_length = list(lengths.values()).count(length)
        demand(of_this_length % 2 ** (length - 8) == 0, "the number of codes of that length is a multiple of 2^(l - 8)")
    exceptions = read_exceptions(source, count, alphabet, lengths) if layout == NARROW else {}

    round_symbols = LANES * TURN[layout]
    rounds = -(-count // round_symbols)
    segments = source.varint()
    demand(1 <= segments <= rounds, "s, 1 to the number of rounds")
    sizes = [source.varint() for _ in range(segments)]
    # "Segment i has floor(r / s) rounds, and one more if i < r mod s"
    ends = list(accumulate(rounds // segments + (i < rounds % segments) for i in range(segments)))
    ends = [min(end * round_symbols, count) for end in ends]
    symbols: list[int] = []
    for size, end in zip(sizes, ends, strict=True):
        demand(end - len(symbols) <= 2**20, "no segment has more than 2^20 symbols")
        symbols += read_segment(source.take(size), end - len(symbols), canonical(lengths), TURN[layout])
    for place, symbol in exceptions.items():
        symbols[place] = symbol
    return symbols


def read_exceptions(source: Bytes, count: int, alphabet: int, lengths: dict[int, int]) -> dict[int, int]:
    """Place -> symbol."""
    rare = [source.u8() for _ in range(source.varint())]
    demand(rare == sorted(set(rare)), "one byte each, strictly ascending")
    demand(not set(rare) & set(lengths), "symbols that have no code")
    demand(not rare or rare[-1] < alphabet, "below a given alphabet size")
    found: dict[int, int] = {}
    place = -1
    for _ in range(source.varint() if rare else 0):
        between, index = divmod(source.varint(), len(rare))
        place += between + 1
        demand(place < count, "number of places that hold such a symbol")
        found[place] = rare[index]
    return found


def read_segment(data: bytes, count: int, symbols: dict[tuple[int, int], int], turn: int) -> list[int]:
    source = Bytes(data)
    # "First come the first 8 bytes of lane 0, of lane 1, to lane 63": as bits, first bit first
    windows = [bits_of(source.take(WINDOW_BYTES)) for _ in range(LANES)]
    used = [0] * LANES
    found: list[int] = []
    while True:
        for lane in range(LANES):
            for _ in range(min(turn, count - len(found))):
                code, length = 0, 0
                while (length, code) not in symbols:
                    code, length = 2 * code + windows[lane][used[lane]], length + 1
                    used[lane] += 1
                found.append(symbols[length, code])
        if len(found) == count:
            break
        for lane in range(LANES):
            slide, used[lane] = divmod(used[lane], 8)
            windows[lane] = windows[lane][8 * slide :] + bits_of(source.take(slide))
    demand(source.at == len(data), "the segment's bytes are used up")
    left = [window[bits:] for window, bits in zip(windows, used, strict=True)]
    demand(not any(map(any, left)), "the rest of the windows is zero")
    return found


def bits_of(data: bytes) -> list[int]:
    return [byte >> i & 1 for byte in data for i in range(8)]
