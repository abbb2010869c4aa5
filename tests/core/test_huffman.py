"""The core's Huffman codes against their twins: lengths, tables, streams, and refused data."""

import itertools

import numpy as np
import oracle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deepcompression import _core

FIBONACCI = [1, 1]
while len(FIBONACCI) < 40:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])

counts_lists = st.one_of(
    st.lists(st.integers(0, 9), max_size=40),
    st.lists(st.integers(0, 2**40), max_size=40),
    st.lists(st.sampled_from(FIBONACCI), max_size=30),
)


def lengths_of(counts):
    return _core.code_lengths(np.array(counts, np.uint64))


def code_for(symbols, alphabet):
    return _core.code_lengths(_core.symbol_counts(symbols, alphabet))


def kraft(lengths):
    return sum(2 ** (16 - int(length)) for length in lengths if length)


def decode(data, lengths, count):
    return _core.decode_symbols(data, 0, len(data), lengths, count)


# Code lengths


@given(counts_lists)
def test_lengths_are_those_of_the_twin(counts):
    assert lengths_of(counts).tolist() == oracle.code_lengths(counts)


@given(counts_lists)
def test_lengths_are_optimal_and_fill_the_code_space(counts):
    lengths = lengths_of(counts)
    assert [length > 0 for length in lengths] == [count > 0 for count in counts]
    assert lengths.max(initial=0) <= 16
    if sum(count > 0 for count in counts) > 1:
        assert kraft(lengths) == 2**16
        bits = sum(int(length) * count for length, count in zip(lengths, counts, strict=True))
        assert bits >= oracle.huffman_bits(counts)
        if lengths.max() < 16:
            assert bits == oracle.huffman_bits(counts)


@pytest.mark.parametrize("n", [17, 18, 20, 25, 40])
def test_lengths_are_optimal_where_the_limit_binds(n):
    lengths = lengths_of(FIBONACCI[:n])
    assert lengths.max() == 16
    assert kraft(lengths) == 2**16
    assert int(lengths.astype(np.int64) @ np.array(FIBONACCI[:n])) == oracle.limited_bits(FIBONACCI[:n])


def test_equal_counts_give_longer_codes_to_lower_symbols():
    assert lengths_of([1, 1, 1]).tolist() == [2, 2, 1]


@pytest.mark.parametrize("counts", [[], [0], [0, 0, 0]])
def test_no_used_symbol_has_no_code(counts):
    assert lengths_of(counts).tolist() == [0] * len(counts)


@pytest.mark.parametrize("counts", [[1], [0, 2**63, 0]])
def test_an_only_symbol_has_length_one(counts):
    assert lengths_of(counts).tolist() == [int(count > 0) for count in counts]


@pytest.mark.parametrize("count", [2**62, 2**64 - 1])
def test_huge_counts_do_not_overflow(count):
    assert lengths_of([count] * 1024).tolist() == [10] * 1024
    counts = [count, count, count - 1, 1, 1, 1, 2**62 - 1]
    assert lengths_of(counts).tolist() == oracle.code_lengths(counts)


def test_65536_symbols_have_sixteen_bits_each():
    counts = np.random.default_rng(1).integers(1, 2**50, 65537).astype(np.uint64)
    with pytest.raises(ValueError, match="65536"):
        _core.code_lengths(counts)
    counts[65000] = 0
    lengths = _core.code_lengths(counts)
    assert set(lengths[counts > 0]) == {16}
    assert lengths[65000] == 0
    with pytest.raises(ValueError, match="65537"):
        _core.code_lengths(np.zeros(65538, np.uint64))


# Tables


@given(counts_lists, st.integers(0, 5), st.binary(max_size=3), st.binary(max_size=3))
def test_table_is_that_of_the_twin_and_comes_back(counts, unused, before, after):
    lengths = lengths_of(counts + [0] * unused)
    assume(lengths.any())
    table = _core.pack_table(lengths)
    assert table == oracle.pack_table(lengths.tolist())
    back, offset = _core.unpack_table(before + table + after, len(before), len(lengths))
    assert back.dtype == np.uint8
    assert back.tolist() == lengths.tolist() == oracle.unpack_table(table + after, len(lengths))[0]
    assert offset == len(before) + len(table)


def test_table_of_the_longest_runs_comes_back():
    for used in ([0, 65536], [65535, 65536], [65536], [0]):
        lengths = np.zeros(65537, np.uint8)
        lengths[used] = 1
        table = _core.pack_table(lengths)
        assert table == oracle.pack_table(lengths.tolist())
        assert (_core.unpack_table(table, 0, 65537)[0] == lengths).all()


def agree_on_table(data, alphabet):
    try:
        expected = oracle.unpack_table(data, alphabet)
    except (ValueError, IndexError):
        with pytest.raises(_core.FormatError):
            _core.unpack_table(data, 0, alphabet)
    else:
        lengths, offset = _core.unpack_table(data, 0, alphabet)
        assert (lengths.tolist(), offset) == expected


@settings(max_examples=500)
@given(st.integers(1, 12), st.binary(max_size=8))
def test_any_bytes_are_a_table_to_both_or_to_neither(n, data):
    agree_on_table(bytes([n]) + data, 10)
    agree_on_table(data, 300)


@pytest.mark.parametrize("n", [1, 2, 5, 40, 300])
def test_every_truncation_and_flipped_bit_of_a_table_is_refused_or_well_formed(n):
    table = _core.pack_table(lengths_of(np.random.default_rng(n).geometric(0.01, n)))
    for size in range(len(table)):
        with pytest.raises(_core.FormatError):
            _core.unpack_table(table[:size], 0, n)
    for bit in range(8 * len(table)):
        flipped = bytearray(table)
        flipped[bit // 8] ^= 1 << bit % 8
        agree_on_table(bytes(flipped), n)


def table(n, *numbers):
    return oracle.varint(n) + oracle.pack_bits("".join(map(oracle.gamma, numbers)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"\x02", "truncated"),
        (table(0, 7), "0 symbols, expected 1 to 4"),
        (table(5, 5, 5, 5, 5, 5), "5 symbols, expected 1 to 4"),
        (b"\x82\x00" + table(2, 7, 0)[1:], "too long"),
        (b"\x80" * 9 + b"\x01", "nine bytes"),
        (table(2, 5, 0), "32768 of 65536"),
        (table(3, 7, 0, 0), "98304 of 65536"),
        (table(1, 5), "only symbol"),
        (table(2, 9, 0), "length 0"),
        (table(2, 26, 0), "length 17"),
        (table(3, 7, 0, 2, 0), "unused symbols"),
        (table(4, 7, 2, 2, 0), "unused symbols"),
        (table(1, 7)[:-1] + bytes([table(1, 7)[-1] | 0x80]), "padding"),
        (b"\x02" + bytes(12), "truncated or holds a number above"),
    ],
)
def test_malformed_table_is_refused_by_name(data, message):
    with pytest.raises(_core.FormatError, match=message):
        _core.unpack_table(data, 0, 4)


@pytest.mark.parametrize("lengths", [[], [0, 0], [1], [2], [1, 1, 1], [1, 2], [17, 1], [255, 1]])
def test_lengths_that_are_no_code_are_refused_by_the_writer(lengths):
    lengths = np.array(lengths, np.uint8)
    if lengths.tolist() == [1]:
        assert _core.pack_table(lengths) == table(1, 7)
        return
    with pytest.raises(ValueError, match="code") as refusal:
        _core.pack_table(lengths)
    assert not isinstance(refusal.value, _core.FormatError)


def test_format_error_is_a_value_error():
    assert issubclass(_core.FormatError, ValueError)


# Streams


@st.composite
def streams(draw):
    alphabet = draw(st.integers(1, 40))
    symbols = draw(st.lists(st.integers(0, alphabet - 1), max_size=200))
    return np.array(symbols, np.uint16), alphabet


@given(streams(), st.binary(max_size=3), st.binary(max_size=9))
def test_stream_is_that_of_the_twin_and_comes_back(stream, before, after):
    symbols, alphabet = stream
    lengths = code_for(symbols, alphabet)
    data = _core.encode_symbols(symbols, lengths)
    assert data == oracle.encode_symbols(symbols.tolist(), lengths.tolist())
    back = _core.decode_symbols(before + data + after, len(before), len(data), lengths, len(symbols))
    assert back.dtype == np.uint16
    assert back.tolist() == symbols.tolist()


@settings(max_examples=300)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.binary(max_size=12), st.integers(0, 60))
def test_any_bytes_are_a_stream_to_both_or_to_neither(counts, data, count):
    lengths = lengths_of(counts)
    try:
        expected = oracle.decode_symbols(data, lengths.tolist(), count)
    except ValueError:
        with pytest.raises(_core.FormatError):
            decode(data, lengths, count)
    else:
        assert decode(data, lengths, count).tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_truncated_stream_is_refused_and_a_flipped_bit_is_refused_or_well_formed(seed):
    symbols = np.random.default_rng(seed).geometric(0.3 / (1 + seed), 90).astype(np.uint16)
    lengths = code_for(symbols, 500)
    data = _core.encode_symbols(symbols, lengths)
    for size in range(len(data)):
        with pytest.raises(_core.FormatError):
            decode(data[:size], lengths, len(symbols))
    with pytest.raises(_core.FormatError):
        decode(data + b"\0", lengths, len(symbols))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            out = decode(bytes(flipped), lengths, len(symbols))
        except _core.FormatError:
            continue
        assert _core.encode_symbols(out, lengths) == bytes(flipped)


@pytest.mark.parametrize("alphabet", [2, 3, 256, 5000, 65536])
def test_long_streams_of_all_code_lengths_come_back(alphabet):
    rng = np.random.default_rng(alphabet)
    rare = np.minimum(rng.geometric(0.5, 50_000), alphabet) - 1  # codes up to the limit
    for symbols in (rng.integers(0, alphabet, 50_000), rare, np.arange(alphabet)):
        symbols = rng.permutation(symbols).astype(np.uint16)
        lengths = code_for(symbols, alphabet)
        data = _core.encode_symbols(symbols, lengths)
        assert (decode(data, lengths, len(symbols)) == symbols).all()
        bits = lengths.astype(np.int64) @ _core.symbol_counts(symbols, alphabet).astype(np.int64)
        assert len(data) == -(-int(bits) // 8)


def test_an_only_symbol_takes_no_bytes():
    symbols = np.full(1000, 3, np.uint16)
    lengths = code_for(symbols, 8)
    assert _core.encode_symbols(symbols, lengths) == b""
    assert (decode(b"", lengths, 1000) == symbols).all()
    with pytest.raises(_core.FormatError, match="expected none"):
        decode(b"\0", lengths, 1000)


def test_no_symbols_take_no_bytes():
    none = np.zeros(0, np.uint16)
    for lengths in ([], [0, 0], [0, 1], [1, 1]):
        lengths = np.array(lengths, np.uint8)
        assert _core.encode_symbols(none, lengths) == b""
        assert decode(b"", lengths, 0).tolist() == []
        with pytest.raises(_core.FormatError):
            decode(b"\0", lengths, 0)
    with pytest.raises(_core.FormatError, match="its code has none"):
        decode(b"", np.zeros(3, np.uint8), 1)


def test_impossible_count_is_refused_before_its_memory_is_touched():
    lengths = np.array([1, 1], np.uint8)
    with pytest.raises(_core.FormatError, match="too few"):
        decode(bytes(100), lengths, 2**28)
    with pytest.raises(MemoryError):
        decode(bytes(100), lengths, 2**62)


def test_stream_outside_the_data_is_refused():
    lengths = np.array([1, 1], np.uint8)
    for offset, length in itertools.product([0, 3, 4, 2**64 - 1], [2, 5, 2**64 - 1]):
        if offset + length > 4:
            with pytest.raises(_core.FormatError, match=f"at byte {offset} needs {length} bytes"):
                _core.decode_symbols(b"abcd", offset, length, lengths, 16)


def test_symbol_without_code_is_refused():
    with pytest.raises(ValueError, match="symbol 1 has no code"):
        _core.encode_symbols(np.array([0, 1], np.uint16), np.array([1, 0, 1], np.uint8))
    with pytest.raises(ValueError, match="symbol 3 is outside an alphabet of 3"):
        _core.encode_symbols(np.array([0, 3], np.uint16), np.array([1, 0, 1], np.uint8))
    with pytest.raises(ValueError, match="no code"):
        _core.encode_symbols(np.array([0, 1], np.uint16), np.array([1, 0], np.uint8))


def test_lengths_that_are_no_code_are_refused_for_streams():
    for lengths in ([2], [1, 2], [1, 1, 1], [0, 17]):
        lengths = np.array(lengths, np.uint8)
        with pytest.raises(ValueError, match="not the lengths of a Huffman code"):
            _core.encode_symbols(np.zeros(1, np.uint16), lengths)
        with pytest.raises(ValueError, match="not the lengths of a Huffman code"):
            decode(b"\0", lengths, 1)


@given(streams())
def test_symbol_counts_are_those_of_numpy(stream):
    symbols, alphabet = stream
    assert _core.symbol_counts(symbols, alphabet).tolist() == np.bincount(symbols, minlength=alphabet).tolist()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_data_may_be_anything_of_bytes(kind):
    lengths = np.array([1, 2, 2], np.uint8)
    assert _core.unpack_table(kind(_core.pack_table(lengths)), 0, 3)[0].tolist() == [1, 2, 2]


@pytest.mark.parametrize(
    "counts", [[1, 2], np.array([1, 2]), np.ones((2, 2), np.uint64), np.ones(8, np.uint64)[::2], np.array([1.0]), None]
)
def test_wrong_dtype_or_shape_is_a_type_error(counts):
    with pytest.raises(TypeError):
        _core.code_lengths(counts)
