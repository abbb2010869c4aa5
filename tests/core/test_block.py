"""Blocks of symbols: every layout comes back from every instruction set, the same bytes everywhere, and small."""

import zlib
from functools import cache

import numpy as np
import oracle
import pytest
from cases import numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader_blocks import NARROW, PLAIN, SAME, STREAM, WIDE
from slow_blocks import (
    DISTRIBUTIONS,
    ROUND,
    counts_of,
    decode,
    decode_slowly,
    symbols_of,
    write_lanes,
    write_stream,
)

from deepcompression import _core

SETS = _core.instruction_sets()
AROUND_ROUNDS = [n + d for n in (256, 512) for d in (-1, 0, 1)]
AROUND_LAYOUTS = [65535, 65536, 65537]
AROUND_SEGMENTS = [n + d for n in (2**18, 2**19) for d in (-1, 0, 1)]
COUNTS = [0, 1, 2, 3, 7, 127, 1009, *AROUND_ROUNDS, *AROUND_LAYOUTS, 104_729, *AROUND_SEGMENTS]
CASES = {f"{count} of {name}": (name, count) for name in DISTRIBUTIONS for count in COUNTS}
# the second reader is slow
SLOWLY = {case: (name, count) for case, (name, count) in CASES.items() if count <= 1009 or count == 65537}


@cache
def symbols_and_block(case):
    name, count = CASES[case]
    symbols = symbols_of(name, count)
    return symbols, _core.encode_block(symbols)


@pytest.mark.parametrize("case", CASES)
def test_every_block_comes_back_by_every_instruction_set_and_any_number_of_threads(case):
    symbols, block = symbols_and_block(case)
    for name in SETS:
        _core.force_instruction_set(name)
        try:
            assert _core.encode_block(symbols) == block
            for threads in (1, 2, 3):
                assert np.array_equal(decode(block, len(symbols), threads=threads), symbols)
        finally:
            _core.force_instruction_set("")


@pytest.mark.parametrize("case", SLOWLY)
def test_the_second_reader_finds_the_same_symbols(case):
    symbols, block = symbols_and_block(case)
    assert np.array_equal(decode_slowly(block, len(symbols)), symbols)


def test_every_layout_is_among_the_cases():
    found = {(block[0], len(symbols) < 65536) for symbols, block in map(symbols_and_block, CASES) if block}
    assert found == {(SAME, True), (PLAIN, True), (STREAM, True), (SAME, False), (PLAIN, False), (NARROW, False)} | {
        (WIDE, False)
    }


def test_exceptions_are_among_the_cases():
    _, block = symbols_and_block("262144 of exceptions")
    assert block[0] == NARROW
    _, offset = _core.unpack_table(block, 1, 256)
    assert block[offset : offset + 10] == bytes([9, *range(200, 209)])


def test_no_block_is_larger_than_its_symbols_and_the_layout():
    for case in CASES:
        symbols, block = symbols_and_block(case)
        assert len(block) <= 1 + len(symbols)


def test_a_block_of_no_symbols_takes_no_bytes():
    assert _core.encode_block(np.zeros(0, np.uint8)) == b""
    assert decode(b"", 0).tolist() == []


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 64])
def test_many_segments_are_shared_by_threads(threads, instruction_set):
    symbols = symbols_of("peak of 32", 6 * 2**20 + 1)
    block = _core.encode_block(symbols)
    assert np.array_equal(decode(block, len(symbols), threads=threads), symbols)


@pytest.mark.parametrize("case", ["7 of two", "1009 of five", "65536 of two", "65536 of peak of 256"])
def test_a_block_may_stand_anywhere_in_its_data(case, instruction_set):
    symbols, block = symbols_and_block(case)
    for before, behind in [(1, 0), (0, 1), (63, 9), (3, 4000)]:
        found, end = _core.decode_block(b"?" * before + block + b"!" * behind, before, len(symbols))
        assert np.array_equal(found, symbols)
        assert end == before + len(block)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    count=st.integers(0, 3000),
    alphabet=st.integers(1, 256),
    of=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_any_block_comes_back(count, alphabet, of, seed):
    symbols = np.minimum.reduce([numbers(count, seed + i) % alphabet for i in range(of)]).astype(np.uint8)
    block = _core.encode_block(symbols)
    assert np.array_equal(decode(block, count, alphabet), symbols)
    assert np.array_equal(decode_slowly(block, count, alphabet), symbols)


# Choices that this writer does not make, but the page allows

NARROW_CODE = [2, 1, 3, 4, 7, 7, 7, 7, 7, 7, 7, 7]
WIDE_CODE = [1, 2, 3, 4, 5, 6, *[14] * 64, *[9] * 4, 8]


@pytest.mark.parametrize("count", [1, 2, 8, 9, 511, 512, 513, 1024, 3001, 5 * 512])
@pytest.mark.parametrize(("layout", "code"), [(NARROW, NARROW_CODE), (WIDE, WIDE_CODE)])
def test_lanes_of_any_size_and_number_of_segments_are_read(layout, code, count, instruction_set):
    symbols = (numbers(count) % len(code)).astype(np.uint8)
    rounds = -(-count // ROUND[layout])
    for segments in {1, min(2, rounds), rounds}:
        block = write_lanes(symbols, layout, code, segments).bytes()
        for threads in (1, 3):
            assert np.array_equal(decode(block, count, threads=threads), symbols)
        assert np.array_equal(decode_slowly(block, count), symbols)


@pytest.mark.parametrize("one_in", [1, 2, 50, 700])
def test_any_share_of_the_symbols_may_be_exceptions(one_in, instruction_set):
    usual, rare = (numbers(3000) % 2).astype(np.uint8), (100 + numbers(3000, 2) % 5).astype(np.uint8)
    symbols = np.where(numbers(3000, 3) % one_in == 0, rare, usual)
    block = write_lanes(symbols, NARROW, [1, 1], 2).bytes()
    for threads in (1, 2):
        assert np.array_equal(decode(block, 3000, threads=threads), symbols)
    assert np.array_equal(decode_slowly(block, 3000), symbols)


@pytest.mark.parametrize("segments", [3, 4, 5, 7])
def test_exceptions_stand_in_the_right_segment_whatever_thread_reads_it(segments):
    # segments are read in groups of three
    symbols = np.zeros(segments * 512, np.uint8)
    symbols[[*range(0, len(symbols), 512), *range(511, len(symbols), 512)]] = 9
    block = write_lanes(symbols, NARROW, [1, 1], segments).bytes()
    for threads in (1, 2, 3):
        assert np.array_equal(decode(block, len(symbols), threads=threads), symbols)


def test_the_longest_codes_of_each_layout_fill_the_windows_of_all_lanes(instruction_set):
    # a turn of them and the bits left over from before take a whole window but one bit
    for layout, code in [(NARROW, [1, 2, 3, 4, 5, 6, 7, 7]), (WIDE, [1, 2, 3, 4, 5, 6, 7, 8, *[14] * 64])]:
        symbols = np.full(5000, len(code) - 1, np.uint8)
        symbols[:512] = numbers(512) % 8
        block = write_lanes(symbols, layout, code).bytes()
        assert np.array_equal(decode(block, 5000), symbols)


def test_a_stream_of_65536_symbols_is_read():
    symbols = symbols_of("five", 65536)
    block = write_stream(symbols, oracle.code_lengths(counts_of(symbols).tolist()))
    assert np.array_equal(decode(block, 65536), symbols)
    assert np.array_equal(decode_slowly(block, 65536), symbols)


# Size


def huffman_bytes(symbols):
    return oracle.huffman_bits(counts_of(symbols).tolist()) / 8


def laplace(count, symbols, scale):
    """About the middle, as the codes of shared weights are."""
    uniform = (numbers(count).astype(np.float64) + 0.5) / 2**32 - 0.5
    drawn = symbols / 2 - scale * np.sign(uniform) * np.log1p(-2 * np.abs(uniform))
    return np.clip(drawn, 0, symbols - 1).astype(np.uint8)


def geometric(count, p):
    uniform = (numbers(count).astype(np.float64) + 0.5) / 2**32
    return np.minimum(np.log(uniform) / np.log1p(-p), 255).astype(np.uint8)


# name -> symbols, percent above Huffman's code of any length, windows of three segments and table included
SIZES = {
    "laplace of 32, 3 bits": (laplace(500_000, 32, 1.5), 0.9),
    "laplace of 32, 4 bits": (laplace(500_000, 32, 3), 0.6),
    "laplace of 32, 5 bits": (laplace(500_000, 32, 6), 0.3),
    "geometric 0.09": (geometric(500_000, 0.09), 0.6),
    "geometric 0.2": (geometric(500_000, 0.2), 0.8),
    # two bits a symbol: windows take half of this, exceptions the other
    "geometric 0.5": (geometric(500_000, 0.5), 2.0),
    "laplace of 256, 6 bits": (laplace(500_000, 256, 12), 0.5),
    "laplace of 256, 7 bits": (laplace(500_000, 256, 20), 0.4),
    "laplace of 256, 7.5 bits": (laplace(500_000, 256, 60), 0.3),
}


@pytest.mark.parametrize("name", SIZES)
def test_lanes_cost_little_more_than_huffman_s_code(name):
    symbols, percent = SIZES[name]
    block = _core.encode_block(symbols)
    assert block[0] in (NARROW, WIDE)
    assert len(block) <= (1 + percent / 100) * huffman_bytes(symbols)


@pytest.mark.parametrize("count", [2**21, 6 * 2**20])
def test_windows_cost_nothing_where_segments_are_long(count):
    symbols = laplace(count, 32, 6)
    assert len(_core.encode_block(symbols)) <= 1.003 * huffman_bytes(symbols)


# The bytes, pinned

PINNED = {
    "127 of uniform 256": (PLAIN, 0x49A7E2D6),
    "1009 of peak of 32": (STREAM, 0x201EC188),
    "65537 of halves": (NARROW, 0xB4CF990C),
    "262144 of exceptions": (NARROW, 0xB3952A75),
    "65537 of peak of 256": (WIDE, 0x54AE8C4F),
    "524289 of steep peak of 256": (WIDE, 0x2E6B74A7),
}


@pytest.mark.parametrize("case", PINNED)
def test_the_bytes_of_a_block_never_change(case):
    _, block = symbols_and_block(case)
    assert (block[0], zlib.crc32(block)) == PINNED[case]
