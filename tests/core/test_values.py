"""Codebooks, values and codes of survivors against their twins in NumPy."""

import random

import numpy as np
import pytest
from cases import numbers
from handmade import gamma, mutated, pack
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader_bits import Bytes, RefusedError
from second_reader_blocks import read_codebook, read_values
from slow_blocks import decode_slowly

from deepcompression import _core
from deepcompression.tensors.dtypes import ordered_bits

WIDTHS = [16, 32, 64]
ITEM_BYTES = [1, 2, 4, 8]


# Codebooks


def ascending(width, kind, count=256):
    if kind == "dense":
        return np.arange(count, dtype=np.uint64) + np.uint64(2 ** (width - 1) - 128)
    if kind == "random":
        parts = numbers(2 * count, width).astype(np.uint64)
        return np.unique((parts[::2] << np.uint64(32) | parts[1::2]) >> np.uint64(64 - width))
    if kind == "ends":
        return np.array([0, 2**width - 1], np.uint64)
    if kind == "ends and their neighbours":
        return np.array([0, 1, 2**width - 2, 2**width - 1], np.uint64)
    if kind == "powers":
        return np.array([2**i for i in range(width)], np.uint64)
    return np.array([{"zero": 0, "last": 2**width - 1}[kind]], np.uint64)


CODEBOOKS = ["dense", "random", "ends", "ends and their neighbours", "powers", "zero", "last"]


@pytest.mark.parametrize("kind", CODEBOOKS)
@pytest.mark.parametrize("width", WIDTHS)
def test_ascending_integers_come_back_from_both_readers(width, kind):
    values = ascending(width, kind)
    packed = _core.pack_ascending(values, width)
    found, end = _core.unpack_ascending(b"?" + packed + b"!", 1, len(values), width)
    assert found.dtype == np.uint64
    assert np.array_equal(found, values)
    assert end == 1 + len(packed)
    source = Bytes(packed)
    bits = np.array(read_codebook(source, len(values), width), f"<u{width // 8}")
    assert source.at == len(packed)
    dtype = {16: "F16", 32: "F32", 64: "F64"}[width]
    assert np.array_equal(ordered_bits(bits.view(f"<f{width // 8}"), dtype), values)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.sampled_from(WIDTHS), st.data())
def test_any_ascending_integers_come_back(width, data):
    drawn = data.draw(st.sets(st.integers(0, 2**width - 1), min_size=1, max_size=20))
    values = np.array(sorted(drawn), np.uint64)
    packed = _core.pack_ascending(values, width)
    found, end = _core.unpack_ascending(packed, 0, len(values), width)
    assert np.array_equal(found, values)
    assert end == len(packed)


def test_the_bits_of_a_codebook_are_those_of_the_page():
    # 5, of 16 bits; a step of 3 has 2 digits, 18 fewer than 20; a step of 4 has one more
    digits = ["1010" + "0" * 12, gamma(36), "1", gamma(1), "00"]
    assert _core.pack_ascending(np.array([5, 8, 12], np.uint64), 16) == pack(*digits)


def test_neighbouring_integers_take_a_bit_each():
    assert len(_core.pack_ascending(ascending(32, "dense"), 32)) <= 4 + 256 / 8 + 2


@pytest.mark.parametrize("values", [[3, 3], [3, 2], [0, 5, 4]])
def test_integers_that_do_not_ascend_are_the_caller_s_mistake(values):
    with pytest.raises(ValueError, match="a codebook ascends strictly"):
        _core.pack_ascending(np.array(values, np.uint64), 32)


@pytest.mark.parametrize("values", [[2**16], [5, 2**16], [0, 2**64 - 1]])
def test_integers_wider_than_the_width_are_the_caller_s_mistake(values):
    with pytest.raises(ValueError, match="does not fit 16 bits"):
        _core.pack_ascending(np.array(values, np.uint64), 16)


@pytest.mark.parametrize("width", [0, 7, 65])
def test_an_impossible_width_is_the_caller_s_mistake(width):
    with pytest.raises(ValueError, match="a width is from 8 to 64 bits"):
        _core.pack_ascending(np.zeros(1, np.uint64), width)
    with pytest.raises(ValueError, match="a width is from 8 to 64 bits"):
        _core.unpack_ascending(b"\0" * 9, 0, 1, width)


FIRST = "0" * 16
BAD_CODEBOOKS = {
    "cut in the first": (b"\0", 1, "is truncated"),
    "cut behind the first": (b"\0\0", 2, "is truncated"),
    "cut in a step": (pack(FIRST, gamma(8)), 2, "is truncated"),
    "a step of no digits": (pack(FIRST, gamma(40)), 2, "has a step of 0 bits, expected 1 to 16"),
    "a step of fewer than no digits": (pack(FIRST, gamma(42)), 2, "has a step of -1 bits, expected 1 to 16"),
    "a step of 17 digits": (pack(FIRST, gamma(6), "0" * 16), 2, "has a step of 17 bits, expected 1 to 16"),
    "a step of 65536 digits": (pack(FIRST, gamma(65535), "0" * 99), 2, "expected 1 to 16"),
    "a token without end": (pack(FIRST, "0" * 99), 2, "is truncated or holds a number above 65536"),
    "a step over the end": (pack("1" * 16, gamma(38)), 2, "leaves its 16 bits"),
    "a large step over the end": (pack("0" * 15 + "1", gamma(8), "0" * 15), 2, "leaves its 16 bits"),
    "padding": (pack(FIRST, gamma(38), "0" * 4 + "1"), 2, "has padding bits that are not zero"),
}  # fmt: skip


@pytest.mark.parametrize("story", BAD_CODEBOOKS)
def test_a_bad_codebook_is_refused_by_both_readers(story):
    data, count, message = BAD_CODEBOOKS[story]
    with pytest.raises(_core.FormatError, match=f"codebook at byte 0 .*{message}"):
        _core.unpack_ascending(data, 0, count, 16)
    with pytest.raises(RefusedError):
        read_codebook(Bytes(data), count, 16)


@pytest.mark.parametrize("width", WIDTHS)
def test_mutated_codebooks_are_refused_or_read_as_the_second_reader_does(width):
    values = ascending(width, "random", 9)
    packed = _core.pack_ascending(values, width)
    rng = random.Random(width)
    verdicts = set()
    for _ in range(400):
        bad = mutated(rng, packed)
        try:
            found, end = _core.unpack_ascending(bad, 0, len(values), width)
            bits = np.where(found >> np.uint64(width - 1), found ^ np.uint64(1 << (width - 1)), ~found)
            core = [(int(b) & (2**width - 1)) for b in bits], end
        except _core.FormatError:
            core = None
        source = Bytes(bad)
        try:
            slow = read_codebook(source, len(values), width), source.at
        except RefusedError:
            slow = None
        assert core == slow, bad.hex()
        verdicts.add(core is None)
    assert verdicts == {True, False}


# Values and codes put in their places


def bitmaps(size):
    """name -> which of the elements survive"""
    at = np.arange(size)
    return {
        "empty": at < 0,
        "full": at >= 0,
        "one": at == size // 3,
        "first": at == 0,
        "last": at == size - 1,
        "all but the last": at < size - 1,
        "half": numbers(size, 4) % 2 == 0,
        "few": numbers(size, 5) % 97 == 0,
        "a long gap": (at < 5) | (at > size - 5),
    }


SIZES = [1, 7, 8, 9, 64, 1000, 200_003]
PLACES = {(f"{size}, {name}"): (size, name) for size in SIZES for name in bitmaps(1)}


def packed_bits(survives):
    """None at all stands for all elements."""
    return np.zeros(0, np.uint8) if survives.all() else np.packbits(survives, bitorder="little")


def planes_of(elements, item_bytes, is_float):
    """The blocks of all bytes of an element, the most significant first, behind one another."""
    every = np.zeros(0, np.uint8)
    blocks = [_core.encode_plane(elements, every, item_bytes, byte, is_float) for byte in reversed(range(item_bytes))]
    return b"".join(map(bytes, blocks))


def elements_of(count, item_bytes):
    """Bytes that Huffman codes can make smaller in every plane."""
    return (numbers(count * item_bytes, 8) % 50).astype(np.uint8)


@pytest.mark.parametrize("is_float", [False, True])
@pytest.mark.parametrize("item_bytes", ITEM_BYTES)
@pytest.mark.parametrize("place", PLACES)
def test_values_come_to_the_places_of_their_bits(place, item_bytes, is_float):
    size, name = PLACES[place]
    survives = bitmaps(size)[name]
    values = elements_of(int(survives.sum()), item_bytes)
    data = planes_of(values, item_bytes, is_float)
    expected = np.zeros((size, item_bytes), np.uint8)
    expected[survives] = values.reshape(-1, item_bytes)
    for threads in (1, 3):
        dense = np.zeros(size * item_bytes, np.uint8)
        end = _core.decode_planes(b"?" + data, 1, packed_bits(survives), item_bytes, is_float, dense, threads)
        assert end == 1 + len(data)
        assert np.array_equal(dense, expected.reshape(-1))


@pytest.mark.parametrize("is_float", [False, True])
@pytest.mark.parametrize("item_bytes", ITEM_BYTES)
def test_the_second_reader_finds_the_same_values(item_bytes, is_float):
    values = numbers(300 * item_bytes).astype(np.uint8)
    source = Bytes(planes_of(values, item_bytes, is_float))
    assert np.array_equal(read_values(source, 300, item_bytes, is_float), values.reshape(300, item_bytes))
    assert source.at == len(source.data)


def test_planes_begin_with_the_most_significant_byte_and_a_float_s_exponent():
    ones = np.full(100, 1.5, "<f4")  # 3fc00000, turned left 7f800000
    data = planes_of(ones.view(np.uint8), 4, True)
    assert data == b"\0\x7f" + b"\0\x80" + b"\0\0" + b"\0\0"
    assert planes_of(ones.view(np.uint8), 4, False) == b"\0\x3f" + b"\0\xc0" + b"\0\0" + b"\0\0"


@pytest.mark.parametrize("item_bytes", ITEM_BYTES)
@pytest.mark.parametrize("place", PLACES)
def test_codes_become_centroids_at_the_places_of_their_bits(place, item_bytes):
    size, name = PLACES[place]
    survives = bitmaps(size)[name]
    codes = (numbers(int(survives.sum()), 9) % 19).astype(np.uint8)
    codebook = numbers(19 * item_bytes, 10).astype(np.uint8)
    block = _core.encode_block(codes)
    expected = np.zeros((size, item_bytes), np.uint8)
    expected[survives] = codebook.reshape(19, item_bytes)[codes]
    for threads in (1, 3):
        dense = np.zeros(size * item_bytes, np.uint8)
        end = _core.decode_codes(b"?" + block, 1, packed_bits(survives), codebook, item_bytes, dense, threads)
        assert end == 1 + len(block)
        assert np.array_equal(dense, expected.reshape(-1))


def test_large_groups_are_shared_by_threads(instruction_set):
    size = 7_000_001
    survives = np.ones(size, bool)
    survives[::3] = False
    codes = (numbers(int(survives.sum())) % 7).astype(np.uint8)
    codebook = np.arange(7, dtype=np.uint8)
    block = _core.encode_block(codes)
    expected = np.zeros(size, np.uint8)
    expected[survives] = codes
    for threads in (1, 2, 3):
        dense = np.zeros(size, np.uint8)
        _core.decode_codes(block, 0, packed_bits(survives), codebook, 1, dense, threads)
        assert np.array_equal(dense, expected)


# Hostile input, and a caller's mistakes


def test_a_code_without_a_centroid_is_refused_in_every_layout():
    nothing = np.zeros(0, np.uint8)
    for count in (1, 9, 400, 70_000):
        codes = (numbers(count) % 8).astype(np.uint8)
        codes[-1] = 7
        block = _core.encode_block(codes)
        dense = np.zeros(count, np.uint8)
        assert _core.decode_codes(block, 0, nothing, np.zeros(8, np.uint8), 1, dense) == len(block)
        assert np.array_equal(decode_slowly(block, count, 8), codes)
        with pytest.raises(_core.FormatError, match=r"in an alphabet of 7|expected 1 to 7"):
            _core.decode_codes(block, 0, nothing, np.zeros(7, np.uint8), 1, dense)


def test_every_truncation_of_values_is_refused():
    values = elements_of(90, 4)
    data = planes_of(values, 4, True)
    bits = packed_bits(np.arange(200) < 90)
    for length in range(len(data)):
        with pytest.raises(_core.FormatError, match="byte"):
            _core.decode_planes(data[:length], 0, bits, 4, True, np.zeros(800, np.uint8))


def test_a_caller_s_mistakes_are_named():
    block = _core.encode_block(np.zeros(8, np.uint8))
    byte = np.zeros(1, np.uint8)
    for arguments, message in [
        ((np.zeros(2, np.uint8), byte, 1, np.zeros(8, np.uint8)), "the bitmap has another size"),
        ((np.array([255], np.uint8), byte, 1, np.zeros(7, np.uint8)), "bits behind the last element"),
        ((np.zeros(0, np.uint8), byte, 3, np.zeros(9, np.uint8)), "elements have 1, 2, 4 or 8 bytes"),
        ((np.zeros(0, np.uint8), np.zeros(2, np.uint8), 2, np.zeros(9, np.uint8)), "no whole number of elements"),
        ((np.zeros(0, np.uint8), np.zeros(0, np.uint8), 1, np.zeros(9, np.uint8)), "a codebook has 1 to 256 centroids"),
        ((np.zeros(0, np.uint8), np.zeros(257, np.uint8), 1, np.zeros(9, np.uint8)), "1 to 256 centroids"),
    ]:
        with pytest.raises(ValueError, match=message):
            _core.decode_codes(block, 0, *arguments)
    with pytest.raises(ValueError, match="elements have 1, 2, 4 or 8 bytes"):
        _core.encode_plane(np.zeros(9, np.uint8), np.zeros(0, np.uint8), 3, 0, False)
    with pytest.raises(ValueError, match="no whole number of elements"):
        _core.encode_plane(np.zeros(9, np.uint8), np.zeros(0, np.uint8), 2, 0, False)
