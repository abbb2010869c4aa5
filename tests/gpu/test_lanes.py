"""Blocks in lanes that the GPU's kernel decodes: the same symbols as the core's, or a refusal as the core's."""

import random
from pathlib import Path

import numpy as np
import pytest
import second_reader
import second_reader_blocks
import torch
from handmade import mutated
from second_reader_blocks import NARROW, WIDE
from slow_blocks import decode, symbols_of, write_lanes

from deepcompression import _core
from deepcompression.gpu import lanes

GOOD = Path(__file__).parents[1] / "golden" / "good"
WIDE_CODE = [1, 2, 3, 4, 5, 6, *[14] * 64, *[9] * 4, 8]


def on_gpu(block, count, alphabet=256):
    """As a reader of a file does: other bytes lie around the block."""
    data = b"\xff" * 3 + block + b"\xff" * 9
    return lanes.decode(data, 3, count, alphabet, torch.device("cpu")).numpy()


# one symbol, whole rounds, the last round cut, several segments, exceptions, codes of 14 bits
BLOCKS = {
    "one symbol": (np.array([1], np.uint8), NARROW, [1, 1], 1),
    "whole rounds": (symbols_of("halves", 1024) % 5, NARROW, None, 1),
    "a round of one symbol": (symbols_of("halves", 1025) % 5, NARROW, None, 2),
    "exceptions": (symbols_of("exceptions", 1500), NARROW, [1, 2, 3, 4, 4], 3),
    "wide": (symbols_of("uniform 200", 700), WIDE, None, 3),
    "long codes": (symbols_of("uniform 200", 300) % 75, WIDE, WIDE_CODE, 1),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_symbols_are_the_core_s(name):
    symbols, layout, lengths, segments = BLOCKS[name]
    block = write_lanes(symbols, layout, lengths, segments).bytes()
    assert np.array_equal(decode(block, len(symbols)), symbols)
    assert np.array_equal(on_gpu(block, len(symbols)), symbols)


@pytest.mark.parametrize("name", ["lone 0", "five"])
def test_blocks_in_other_layouts_are_the_core_s(name):
    symbols = symbols_of(name, 500)
    assert np.array_equal(on_gpu(_core.encode_block(symbols), 500), symbols)


def lane_blocks(path, monkeypatch):
    """The blocks in lanes of a file, found by the second reader: bytes, symbols and alphabet."""
    found = []
    read = second_reader_blocks.read_lanes

    def remember(source, count, alphabet, layout):
        start = source.at - 1
        symbols = read(source, count, alphabet, layout)
        found.append((bytes(source.data[start : source.at]), symbols, alphabet))
        return symbols

    monkeypatch.setattr(second_reader_blocks, "read_lanes", remember)
    second_reader.read(path.read_bytes())
    return found


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(GOOD.glob("fast-*lanes.dcz")), ids=lambda path: path.stem)
def test_the_blocks_of_golden_files_are_the_same(path, monkeypatch):
    blocks = lane_blocks(path, monkeypatch)
    assert blocks
    for block, symbols, alphabet in blocks:
        assert on_gpu(block, len(symbols), alphabet).tolist() == symbols


@pytest.mark.parametrize("name", ["a round of one symbol", "long codes"])
def test_a_damaged_block_is_refused_where_the_core_refuses_it(name):
    symbols, layout, lengths, segments = BLOCKS[name]
    block = write_lanes(symbols, layout, lengths, segments).bytes()
    refused = 0
    for bad in [mutated(random.Random(seed), block) for seed in range(25)]:
        try:
            expected = _core.decode_block(np.frombuffer(bad, np.uint8), 0, len(symbols), 256, 1)[0]
        except _core.FormatError:
            refused += 1
            with pytest.raises(_core.FormatError):
                on_gpu(bad, len(symbols))
        else:
            assert np.array_equal(on_gpu(bad, len(symbols)), expected)
    assert refused > 5


def test_the_first_damaged_segment_is_named():
    symbols, layout, lengths, segments = BLOCKS["wide"]
    good = write_lanes(symbols, layout, lengths, segments)
    data = bytearray(good.data)
    data[-1] ^= 1
    with pytest.raises(_core.FormatError, match="1 segments, the first with the number 2"):
        on_gpu(good.but(data=bytes(data)), len(symbols))
