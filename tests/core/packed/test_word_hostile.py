"""Spoilt bytes of the form `word` are refused, or do no harm. core/fuzz/packed.cpp watches the memory."""

import struct

import numpy as np
import pytest
from packed_matrices import matrix, refuses, survives, vectors
from word_twin import sections

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.packed.word import word_shape

ROWS, COLUMNS, SURVIVORS, UNITS, LENGTH = 8, 16, 24, 36, 40


def packed_with(centroids=16, rows=20, columns=700, density=0.3):
    return packing.pack(matrix(rows, columns, density, centroids), form="word")


def harmless(packed):
    """Whether the check takes the bytes. If their header is sound, products and rows must end."""
    good = survives(packed, lambda columns: np.ones((2, columns), np.float32))
    if not refuses(packing.header, packed):
        facts = packing.header(packed)
        if facts.rows * facts.columns < 1 << 20:
            refuses(multiply.rows, packed, 0, facts.rows)
            refuses(multiply.gather, packed, np.arange(facts.rows)[::-2])
    return good


def test_every_truncation_is_refused():
    packed = packed_with()
    assert harmless(packed)
    for length in range(0, len(packed), 7):
        with pytest.raises(ValueError, match="packed weights"):
            packing.header(packed[:length])
    with pytest.raises(ValueError, match="cut off or too long"):
        packing.header(np.append(packed, packed[:64]))


@pytest.mark.parametrize("centroids", [16, 20, 200])
def test_no_byte_does_harm(centroids):
    packed = packed_with(centroids, 5, 300)
    for at in range(len(packed)):
        copy = packed.copy()
        copy[at] ^= (0x01, 0x80, 0xFF)[at % 3]
        harmless(copy)


def test_noise_behind_the_header_is_harmless():
    packed, rng = packed_with(), np.random.default_rng(1)
    for _ in range(30):
        spoilt = packed.copy()
        spoilt[64:] = rng.integers(0, 256, len(packed) - 64, dtype=np.uint8)
        assert not harmless(spoilt)


@pytest.mark.parametrize(
    ("at", "kind", "value", "said"),
    [
        (7, "B", 0x10, "contradict themselves"),  # no bits of a skip
        (7, "B", 0x0D, "contradict themselves"),
        (7, "B", 0x64, "contradict themselves"),  # 64 parts
        (7, "B", 0x03, "contradict themselves"),  # fewer parts, more rows a block
        (ROWS, "Q", 1 << 31, "contradict themselves"),
        (COLUMNS, "Q", 0x7FFF0001, "contradict themselves"),
        (SURVIVORS, "Q", 1 << 31, "contradict themselves"),
        (SURVIVORS, "Q", 7, "another number of survivors"),
        (UNITS, "I", 99, "contradict themselves"),
        (LENGTH, "Q", 99, "sections do not fill them"),
    ],
)
def test_checking_says_what_is_wrong_with_the_header(at, kind, value, said):
    packed = packed_with()
    struct.pack_into("<" + kind, packed.data, at, value)
    with pytest.raises(ValueError, match=said):
        _core.check_packed(packed)
    harmless(packed)


@pytest.mark.parametrize(
    ("section", "number", "value", "said"),
    [
        ("order", 0, 20, "stored rows are not the rows, each once"),
        ("order", 1, 0, "stored rows are not the rows, each once"),
        ("order", -1, 3, "stored rows are not the rows, each once"),
        ("starts", 0, 1, "do not fill the words"),
        ("starts", 1, 9999, "ends before it begins"),
        ("starts", -1, 2, "ends before it begins"),
        ("part_columns", 0, 701, "a part behind the last column"),
        ("part_columns", 0, 690, "a survivor behind the last column"),
        ("part_columns", 1, 0, "parts of a row that overlap"),
        ("words", 0, 0x0000000F | 0x10, "a filler that has a code"),
        ("words", -1, 0, "survivors in a row that the matrix lacks"),
    ],
)
def test_checking_says_what_is_wrong_with_a_section(section, number, value, said):
    # 19 rows: the last block lacks one
    packed = packing.pack(matrix(19, 700, 0.3, 15), form="word")
    found = sections(packed)
    assert (found.skip_bits, found.parts) == (4, 4)
    part = getattr(found, section)
    place = {"part_columns": "columns"}.get(section, section)
    at = getattr(word_shape(packing.header(packed)), place) + number % part.size * part.itemsize
    packed[at : at + part.itemsize] = np.frombuffer(np.array(value, part.dtype).tobytes(), np.uint8)
    with pytest.raises(ValueError, match=said):
        _core.check_packed(packed)
    assert multiply.matmul(packed, vectors(2, 700)).shape == (2, 19)
    assert multiply.rows(packed, 0, 19).shape == (19, 700)


def test_checking_wants_codes_of_centroids_and_nothing_behind_the_pairs():
    packed = packing.pack(matrix(8, 200, 0.1, 15), form="word")
    shape = word_shape(packing.header(packed))
    assert (shape.skip_bits, shape.word_pairs) == (6, 3)
    words = packed[shape.words : shape.words + 4].view(np.uint32)
    words[0] |= 1 << 31
    with pytest.raises(ValueError, match="bits behind the pairs of a word"):
        _core.check_packed(packed)
    words[0] = words[0] & 0x3FFFFFFF | 15 << 6
    with pytest.raises(ValueError, match="a code outside of the codebook"):
        _core.check_packed(packed)
