"""Damaged blocks: every instruction set refuses what the second reader refuses, and says what is wrong and where."""

import random

import numpy as np
import oracle
import pytest
from cases import numbers
from handmade import mutated
from oracle import varint
from second_reader_bits import RefusedError
from second_reader_blocks import NARROW, PLAIN, SAME, STREAM, WIDE
from slow_blocks import decode, decode_slowly, symbols_of, write_exceptions, write_lanes, write_stream

from deepcompression import _core

FormatError = _core.FormatError
SETS = _core.instruction_sets()

STREAM_CODE = [2, 2, 2, 3, 3]
NARROW_CODE = [2, 1, 3, 4, 7, 7, 7, 7, 7, 7, 7, 7]
WIDE_CODE = [1, 2, 3, 4, 5, 6, *[14] * 64, *[9] * 4, 8]


def uniform(count, code):
    return (numbers(count) % len(code)).astype(np.uint8)


def with_exceptions(count, rare):
    symbols = uniform(count, [1, 1])
    symbols[50 :: count // 4] = rare
    return symbols


# name -> count, alphabet, block
SMALL = {
    "same": (9, 8, bytes([SAME, 7])),
    "plain": (9, 8, bytes([PLAIN, *range(8), 7])),
    "stream": (40, 5, write_stream(uniform(40, STREAM_CODE), STREAM_CODE)),
    "narrow": (700, 12, write_lanes(uniform(700, NARROW_CODE), NARROW, NARROW_CODE).bytes()),
    "narrow, one symbol": (1, 2, write_lanes(np.array([1], np.uint8), NARROW, [1, 1]).bytes()),
    "narrow, exceptions": (600, 99, write_lanes(with_exceptions(600, [90, 98, 90, 2]), NARROW, [1, 1]).bytes()),
    "narrow, two segments": (1100, 12, write_lanes(uniform(1100, NARROW_CODE), NARROW, NARROW_CODE, 2).bytes()),
    "wide": (300, 75, write_lanes(uniform(300, WIDE_CODE), WIDE, WIDE_CODE).bytes()),
    "wide, three segments": (700, 80, write_lanes(uniform(700, WIDE_CODE), WIDE, WIDE_CODE, 3).bytes()),
}


def slow_verdict(block, count, alphabet):
    """The symbols, None if the block is refused."""
    try:
        return decode_slowly(block, count, alphabet).tolist()
    except RefusedError:
        return None


def verdict(block, count, alphabet):
    """The same from every instruction set and number of threads."""
    found = []
    for name in SETS:
        _core.force_instruction_set(name)
        for threads in (1, 2):
            try:
                found.append(decode(block, count, alphabet, threads).tolist())
            except FormatError:
                found.append(None)
    _core.force_instruction_set("")
    assert found == len(found) * found[:1], block.hex()
    return found[0]


@pytest.mark.parametrize("name", SMALL)
def test_the_small_blocks_are_good(name):
    count, alphabet, block = SMALL[name]
    assert verdict(block, count, alphabet) == slow_verdict(block, count, alphabet) is not None


@pytest.mark.parametrize("name", SMALL)
def test_every_truncation_is_refused(name, instruction_set):
    count, alphabet, block = SMALL[name]
    for length in range(len(block)):
        with pytest.raises(FormatError, match=r"byte \d+"):
            decode(block[:length], count, alphabet)


@pytest.mark.parametrize("name", SMALL)
def test_a_flipped_bit_is_refused_or_gives_what_the_second_reader_finds(name):
    count, alphabet, block = SMALL[name]
    head = range(min(8 * 40, 8 * len(block)))
    for bit in [*head, *range(8 * 40, 8 * len(block), 29)]:
        bad = bytearray(block)
        bad[bit // 8] ^= 1 << bit % 8
        assert verdict(bytes(bad), count, alphabet) == slow_verdict(bytes(bad), count, alphabet), bit


@pytest.mark.parametrize("name", SMALL)
def test_a_mutated_block_is_refused_or_gives_what_the_second_reader_finds(name):
    count, alphabet, block = SMALL[name]
    rng = random.Random(name)
    for _ in range(200):
        bad = mutated(rng, block)
        assert verdict(bad, count, alphabet) == slow_verdict(bad, count, alphabet), bad.hex()


@pytest.mark.parametrize("layout", [SAME, PLAIN, STREAM, NARROW, WIDE, 5])
def test_random_bytes_are_refused_or_give_what_the_second_reader_finds(layout):
    rng = random.Random(layout)
    for length in [0, 1, 2, 3, 5, 9, 30, 200, 520, 700] * 12:
        bad = bytes([layout]) + rng.randbytes(length)
        count, alphabet = rng.choice([1, 2, 9, 300]), rng.choice([1, 2, 16, 256])
        assert verdict(bad, count, alphabet) == slow_verdict(bad, count, alphabet), bad.hex()


@pytest.mark.parametrize("name", ["exceptions", "steep peak of 256", "peak of 32"])
def test_all_instruction_sets_agree_about_damage_in_large_blocks(name):
    symbols = symbols_of(name, 131_072)
    block = _core.encode_block(symbols)
    rng = random.Random(name)
    verdicts = []
    for _ in range(60):
        bad = bytearray(block)
        bad[rng.randrange(len(block))] ^= 1 << rng.randrange(8)
        verdicts.append(verdict(bytes(bad), len(symbols), 256))
    assert None in verdicts
    assert symbols.tolist() not in verdicts


# Each field of each layout, made by hand

LANES = write_lanes(uniform(1100, NARROW_CODE), NARROW, NARROW_CODE, 2)
WIDE_LANES = write_lanes(uniform(700, WIDE_CODE), WIDE, WIDE_CODE, 2)
SINGLE = write_lanes(uniform(1, [1, 1]), NARROW, [1, 1])
RARE = write_lanes(with_exceptions(600, [90, 98, 90, 2]), NARROW, [1, 1])
STREAM_TABLE = oracle.pack_table(STREAM_CODE)
STREAMED = oracle.encode_symbols(uniform(40, STREAM_CODE).tolist(), STREAM_CODE)
UNARY = [*range(1, 12), 12, 12]
HUGE = 2**63 - 1


def lanes(code, layout=NARROW):
    return write_lanes(np.zeros(1100, np.uint8), layout, [1, 1]).but(table=oracle.pack_table(code))


def stream(table=STREAM_TABLE, length=None, data=STREAMED):
    return bytes([STREAM]) + table + varint(len(data) if length is None else length) + data


def rare(symbols, places, count=None):
    return RARE.but(exceptions=write_exceptions(symbols, places, count))


def moved(lanes, by):
    """As many bytes less in the first segment as more in the second."""
    return lanes.but(lengths=[lanes.lengths[0] - by, lanes.lengths[1] + by])


def with_last_bit(lanes, byte):
    data = bytearray(lanes.data)
    data[byte] |= 0x80
    return lanes.but(data=bytes(data))


def widened(lanes, extra):
    return lanes.but(lengths=[lanes.lengths[0], lanes.lengths[1] + len(extra)], data=lanes.data + extra)


NOT_THEIRS = "whose bytes are not those of their symbols"
# story -> count, alphabet, block, words of the message
BAD = {
    "no layout": (9, 256, b"", "block at byte 0 is truncated"),
    "layout 5": (9, 256, b"\5" + bytes(9), "block at byte 0 has the layout 5, expected 0 to 4"),
    "layout 255": (9, 256, b"\xff" + bytes(9), "has the layout 255"),
    "same symbol missing": (9, 256, bytes([SAME]), "is truncated"),
    "same symbol outside": (9, 8, bytes([SAME, 8]), "has the symbol 8 in an alphabet of 8"),
    "plain cut": (9, 256, bytes([PLAIN]) + bytes(8), "is truncated"),
    "plain symbol outside": (3, 8, bytes([PLAIN, 1, 255, 2]), "has the symbol 255 in an alphabet of 8"),
    "stream of 65537 symbols": (65537, 5, stream(), "has more than 65536 symbols in one stream"),
    "stream of a lone symbol": (40, 1, stream(oracle.pack_table([1]), 0, b""), "too few bytes for 40 symbols"),
    "stream of a lone symbol with bytes": (40, 1, stream(oracle.pack_table([1]), 5, bytes(5)), "expected none"),
    "stream of a table outside": (40, 4, stream(), "5 symbols, expected 1 to 4"),
    "stream of a longer length": (40, 5, stream(length=len(STREAMED) + 1), "is truncated"),
    "stream of a huge length": (40, 5, stream(length=HUGE), "is truncated"),
    "stream of no length": (40, 5, stream(length=0), "too few bytes for 40 symbols"),
    "stream cut": (40, 5, stream(data=STREAMED[:-1]), "too few for 40 symbols|is truncated|symbols take"),
    "stream with a byte more": (40, 5, stream(data=STREAMED + b"\0"), "symbols take"),
    "stream with padding": (41, 5, stream(data=bytes(10) + b"\x80"), "padding bits that are not zero"),
    "narrow codes of 8 bits": (1100, 12, lanes([1, 2, 3, 4, 5, 6, 7, 8, 8]), "codes of more than 7 bits"),
    "wide codes of 15 bits": (1100, 256, lanes([*range(1, 9), *[15] * 128], WIDE), "codes of more than 14 bits"),
    "wide codes not grouped": (1100, 99, lanes(UNARY, WIDE), "its 1 codes of 9 bits do not share their first 8"),
    "lanes of a lone symbol": (1100, 12, lanes([1]), "it has less than two symbols"),
    "lanes of an incomplete code": (1100, 12, lanes([2, 2, 2]), "fill"),
    "lanes of a table outside": (1100, 11, LANES.bytes(), "12 symbols, expected 1 to 11"),
    "257 rare symbols": (600, 256, RARE.but(exceptions=varint(257) + bytes(257)), "too many symbols without a code"),
    "rare symbols without end": (600, 256, RARE.but(exceptions=varint(HUGE)), "too many symbols without a code"),
    "rare symbol with a code": (600, 99, rare([1, 90], []), "lists symbol 1 among those without a code"),
    "rare symbol outside": (600, 98, rare([90, 98], []), "lists symbol 98 among those without a code"),
    "rare symbols that descend": (600, 99, rare([98, 90], []), "lists symbol 90 among those without"),
    "rare symbol twice": (600, 99, rare([90, 90], []), "lists symbol 90 among those without a code"),
    "more exceptions than bytes": (600, 99, rare([90], [], HUGE), "has too many exceptions"),
    "more exceptions than symbols": (600, 99, rare([90], [(i, 90) for i in range(601)]), "has too many exceptions"),
    "exception behind the end": (600, 99, rare([90], [(600, 90)]), "has an exception behind its last symbol"),
    "second exception behind the end": (600, 99, rare([90, 98], [(9, 90), (600, 98)]), "behind its last symbol"),
    "exception behind all numbers": (600, 99, rare([90], [(HUGE - 1, 90)]), "behind its last symbol"),
    "exception behind the last symbol": (600, 99, rare([90], [(599, 90), (600, 90)]), "behind its last symbol"),
    "no segments": (1100, 12, LANES.but(segments=0), "has 0 segments for 3 rounds"),
    "more segments than rounds": (1100, 12, LANES.but(segments=4, lengths=[*LANES.lengths, 0, 0]), "4 segments for 3"),
    "segments without end": (1100, 12, LANES.but(segments=HUGE), f"has {HUGE} segments for 3 rounds"),
    "a segment of too many symbols": (2**20 + 1, 12, lanes([1, 1]), "has 1 segments for 2049 rounds"),
    "lengths missing": (1100, 12, LANES.but(lengths=[], data=b""), "has 2 segments|length of a segment"),
    "length longer": (1100, 12, LANES.but(lengths=[LANES.lengths[0], LANES.lengths[1] + 1]), "is truncated"),
    "length without end": (1100, 12, LANES.but(lengths=[HUGE, HUGE]), "is truncated"),
    "lengths that come back round": (1100, 12, LANES.but(lengths=[2**62, 2**62]), "is truncated"),
    "first segment shorter": (1100, 12, moved(LANES, 1), NOT_THEIRS),
    "first segment longer": (1100, 12, moved(LANES, -1), NOT_THEIRS),
    "first wide segment shorter": (700, 75, moved(WIDE_LANES, 1), NOT_THEIRS),
    "first wide segment longer": (700, 75, moved(WIDE_LANES, -1), NOT_THEIRS),
    "segment shorter than its windows": (1100, 12, moved(LANES, LANES.lengths[0] - 511), NOT_THEIRS),
    "segment of no bytes": (1100, 12, moved(LANES, LANES.lengths[0]), NOT_THEIRS),
    "all bytes in the first segment": (1100, 12, moved(LANES, -LANES.lengths[1]), NOT_THEIRS),
    "a byte behind the segment's symbols": (1100, 12, widened(LANES, b"\0"), NOT_THEIRS),
    "a byte behind the wide segment's symbols": (700, 75, widened(WIDE_LANES, b"\0"), NOT_THEIRS),
    "a bit in the first window's padding": (1, 2, with_last_bit(SINGLE, 7), NOT_THEIRS),
    "a bit in the last window's padding": (1, 2, with_last_bit(SINGLE, 511), NOT_THEIRS),
    "a bit in the last lane's padding": (1100, 12, with_last_bit(LANES, -1), NOT_THEIRS),
    "a bit in a wide lane's padding": (700, 75, with_last_bit(WIDE_LANES, -1), NOT_THEIRS),
    "too few bytes for the symbols": (10**6, 2, lanes([1, 1]), "too few bytes for 1000000 symbols"),
}


@pytest.mark.parametrize("story", BAD)
def test_a_bad_block_is_refused_with_its_message(story, instruction_set):
    count, alphabet, block, message = BAD[story]
    with pytest.raises(FormatError, match=message) as caught:
        decode(block, count, alphabet)
    assert "byte " in str(caught.value)


@pytest.mark.parametrize("story", BAD)
def test_the_second_reader_refuses_the_bad_blocks_too(story):
    count, alphabet, block, _ = BAD[story]
    assert slow_verdict(block, count, alphabet) is None


def test_the_hand_made_blocks_are_good_before_they_are_made_bad():
    for count, alphabet, block in [
        (1100, 12, LANES.bytes()),
        (700, 75, WIDE_LANES.bytes()),
        (600, 99, RARE.bytes()),
        (600, 99, rare([90, 98], [(599, 98)])),
        (40, 5, stream()),
        (1100, 12, moved(LANES, 0)),
        (1, 2, SINGLE.bytes()),
    ]:
        assert verdict(block, count, alphabet) is not None


@pytest.mark.parametrize("bit", range(0, 8 * 512, 5))
def test_no_bit_of_a_window_is_beyond_the_check(bit):
    # lane 0 has one code bit, all others none
    block = bytearray(write_lanes(np.zeros(1, np.uint8), NARROW, [1, 1]).bytes())
    block[len(block) - 512 + bit // 8] ^= 1 << bit % 8
    assert verdict(bytes(block), 1, 2) == ([1] if bit == 0 else None)


def test_a_damaged_segment_is_named():
    symbols = uniform(6 * 512, [1, 1])
    whole = write_lanes(symbols, NARROW, [1, 1], 6)
    data = bytearray(whole.data)
    data[-1] |= 0x80
    with pytest.raises(FormatError, match="has segments 3 to 5 whose bytes are not those of their symbols"):
        decode(whole.but(data=bytes(data)), len(symbols), 2)


@pytest.mark.parametrize("alphabet", [0, 257, 2**40])
def test_an_impossible_alphabet_is_the_caller_s_mistake(alphabet):
    with pytest.raises(ValueError, match="a block's alphabet has 1 to 256 symbols"):
        _core.decode_block(b"\0\0", 0, 1, alphabet)


@pytest.mark.parametrize("offset", [3, 4, 2**40, 2**64 - 1])
def test_a_block_behind_the_data_is_refused(offset):
    with pytest.raises(FormatError, match=f"block at byte {offset} is truncated"):
        _core.decode_block(b"\0\0\0", offset, 1)


def test_symbols_of_another_type_are_a_type_error():
    for symbols in (np.zeros(3, np.uint16), np.zeros((2, 2), np.uint8), np.zeros(8, np.uint8)[::2], [1, 2]):
        with pytest.raises(TypeError):
            _core.encode_block(symbols)
