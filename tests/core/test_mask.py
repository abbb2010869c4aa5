"""Masks: every one comes back, in few bytes, and other bytes are refused."""

import math

import numpy as np
import pytest
from cases import numbers
from hypothesis import example, given
from hypothesis import strategies as st
from masks import axes, encode, in_classes, independent, kernels, packed
from second_reader_bits import Bytes, RefusedError
from second_reader_mask import read_mask

from deepcompression import FormatError, _core


def decode(data, shape, offset=0, threads=1):
    return _core.decode_mask(data, offset, axes(shape), threads)


def slowly(data, shape):
    """By the second reader."""
    source = Bytes(data)
    return np.array(read_mask(source, shape), bool), source.at


MASKS = {
    "no elements": np.zeros((0,), bool),
    "no elements in two axes": np.zeros((3, 0), bool),
    "a scalar": np.ones((), bool),
    "none": np.zeros((7, 5), bool),
    "all": np.ones((7, 5), bool),
    "one": np.eye(1, 300, 299, dtype=bool),
    "all but one": ~np.eye(1, 300, 150, dtype=bool),
    "every second": np.arange(999) % 2 == 0,
    "tiny": independent((3, 4), 0.3),
    "sparse": independent((60, 70), 0.05),
    "long gaps": independent((9000,), 0.002),
    "half": independent((50, 60), 0.5),
    "dense": independent((40, 3, 3, 3), 0.97),
    "convolution": independent((10, 20, 3, 3), 0.35),
    "classes": in_classes((120, 150)),
    "classes of channels": in_classes((40, 30, 3, 3)),
    "kernels": kernels((30, 40, 3, 3)),
    "columns": np.repeat(independent((1, 90), 0.3), 64, 0),
    "classes of the last axes": np.broadcast_to(independent((1, 1, 5, 5), 0.5), (20, 20, 5, 5))
    & independent((20, 20, 5, 5), 0.8),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_come_back_from_both_readers(name):
    mask = MASKS[name]
    data = encode(mask)
    for threads in (1, 3):
        bitmap, survivors, end = decode(b"..." + data + b"...", mask.shape, 3, threads)
        assert (survivors, end) == (mask.sum(), 3 + len(data))
        assert bitmap.tolist() == packed(mask).tolist()
    twin, end = slowly(data, mask.shape)
    assert end == len(data)
    assert (twin == mask.reshape(-1)).all()


@given(
    st.lists(st.integers(1, 9), max_size=4).map(tuple),
    st.floats(0, 1),
    st.integers(0, 2**32),
    st.booleans(),
)
@example((2, 3), 0.5, 1, True)
def test_any_mask_comes_back_from_both_readers(shape, density, seed, classes):
    mask = in_classes(shape, seed) if classes and len(shape) > 1 else independent(shape, density, seed)
    data = encode(mask)
    bitmap, survivors, end = decode(data, shape)
    assert (survivors, end) == (mask.sum(), len(data))
    assert bitmap.tolist() == packed(mask).tolist()
    assert (slowly(data, shape)[0] == mask.reshape(-1)).all()


def test_masks_of_several_blocks_and_pieces_come_back():
    for mask in (independent((3000, 2500), 0.6), independent((3000, 3300), 0.5) & ~in_classes((3000, 3300))):
        data = encode(mask)
        for threads in (1, 2):
            assert (decode(data, mask.shape, 0, threads)[0] == packed(mask)).all()


def only(symbol, alphabet):
    """The table of a code whose only symbol this is."""
    lengths = np.zeros(alphabet, np.uint8)
    lengths[symbol] = 1
    return _core.pack_table(lengths).hex()


# By hand: readers read all that docs/format.md allows, not only the choices of the writer. A block of equal symbols
# is 00 and the symbol, a block of plain symbols 01 and the symbols.
HANDMADE = {
    "no survivor": ((2, 3), "00 00", "000000"),
    "all survive": ((2, 3), "00 01", "111111"),
    "gaps": ((2, 3), "00 02 05 02 01 00 03", "100010"),
    "an escape before the last element": ((4,), "00 02 03 02 01 03 00", "0001"),
    "gaps between the pruned": ((2, 3), "00 03 05 02 01 00 03", "011101"),
    "no gap at all": ((2, 3), "00 02 05 00", "000000"),
    "patterns": ((2, 3), "00 04 04 01 09 02", "100101"),
    "wide patterns": ((2, 9), "00 04 09" + only(5, 512) + "00", "101000000101000000"),
    "by columns": ((2, 3), "01 01 02 05 02 00 00", "100100"),
    "row classes": ((2, 3), "02 01 00 01 02 01 01 00 02 01 00 01 01 00", "000111"),
    "column classes": ((2, 3), "04 01 01 02 02 01 00 01 00 02 01 01 00 00 01", "101101"),
    "classes of both": (
        (2, 3),
        "06 01 00 01 02 01 00 01 01 02 02 01 00 01 00 03 01 00 01 01 02 00 01 02 05 01 00 00",
        "010111",
    ),
    "lines in the order of their class": (
        (3, 2),
        "02 01 00 01 02 01 01 00 01 02 01 00 00 02 05 01 00 00 00",
        "001000",
    ),
    "columns in the order of their class": (
        (2, 3),
        "05 01 01 02 02 01 01 00 01 02 01 00 00 02 05 01 00 01 00",
        "000010",
    ),
    "classes of the first of two row axes": ((2, 2, 2), "02 02 00 01 02 01 00 01 02 01 00 01 00 01", "00001111"),
    "classes of the first of two column axes": ((2, 2, 2), "04 01 01 02 02 01 00 01 02 01 00 01 00 01", "00110011"),
    "classes of the middle axis": (
        (2, 2, 2),
        "02 02 01 02 02 01 00 01 02 01 00 01 00 01",
        "00110011",
    ),
}


@pytest.mark.parametrize("name", HANDMADE)
def test_both_readers_understand_masks_written_by_hand(name):
    shape, data, expected = HANDMADE[name]
    data = bytes.fromhex(data)
    bitmap, survivors, end = decode(data, shape)
    assert (survivors, end) == (expected.count("1"), len(data))
    assert bitmap.tolist() == packed([bit == "1" for bit in expected]).tolist()
    twin, end = slowly(data, shape)
    assert end == len(data)
    assert "".join("01"[int(bit)] for bit in twin) == expected


BAD = {
    "nothing": ((2, 3), "", "mask at byte 0 is truncated"),
    "unknown layout": ((2, 3), "08 00", "unknown layout 8"),
    "a layout without elements": ((2, 0), "01 01 00", "without elements"),
    "no row is split off": ((2, 3), "01 00 00", "split at axis 0 of 2"),
    "no column is split off": ((2, 3), "01 02 00", "split at axis 2 of 2"),
    "one axis": ((6,), "01 01 00", "split at axis 1 of 1"),
    "classes of rows behind the split": ((2, 3, 2), "02 01 00 02 02", "axes 0 to 2 within 0 to 1"),
    "classes of columns before the split": ((2, 3, 2), "04 02 01 03 02", "axes 1 to 3 within 2 to 3"),
    "classes of no axis": ((2, 3), "02 01 00 00 02", "axes 0 to 0 within 0 to 1"),
    "one class": ((2, 3), "02 01 00 01 01 00 00", "number of classes before byte 5 is 1, expected 2 to 64"),
    "too many classes": ((2, 3), "02 01 00 01 41 00 00", "number of classes before byte 5 is 65, expected 2 to 64"),
    "a class too high": ((2, 3), "02 01 00 01 02 01 02 00", "has the symbol 2 in an alphabet of 2"),
    "one group": ((2, 3), "02 01 00 01 02 01 01 00 01", "number of groups before byte 9 is 1, expected 2 to 64"),
    "too many groups": ((2, 3), "02 01 00 01 02 01 01 00 41", "number of groups before byte 9 is 65"),
    "a group too high": ((2, 3), "02 01 00 01 02 01 01 00 02 01 00 02 01 00", "has the symbol 2 in an alphabet of 2"),
    "classes of too many rows": ((2**20 + 1, 1), "02 01 00 01 02", "more than 2^20 rows"),
    "classes of too many columns": ((1, 2**20 + 1), "02 01 00 01 02", "more than 2^20 rows or columns"),
    "unknown kind": ((2, 3), "00 05", "unknown kind 5"),
    "no kind": ((2, 3), "00", "truncated"),
    "escape 0": ((2, 3), "00 02 00 01 00 00", "escape before byte 3 is 0"),
    "more gaps than elements": ((2, 3), "00 02 05 07 00 00", "7 gaps are claimed for 6 elements"),
    "very many gaps": ((2, 3), "00 02 05 ff ff ff ff ff ff ff ff 7f 00 00", "gaps are claimed for 6 elements"),
    "a gap behind the end": ((2, 3), "00 02 07 01 00 06", "lead to element 7 of a sequence of 6"),
    "an escape behind the end": ((2, 3), "00 02 05 03 01 00 05 00", "lead to element 7 of a sequence of 6"),
    "a gap above the escape": ((2, 3), "00 02 02 01 00 03", "has the symbol 3 in an alphabet of 3"),
    "an escape at the end": ((2, 3), "00 02 02 02 01 00 02", "the last gap is an escape"),
    "patterns of 1 bit": ((2, 3), "00 04 01 00 00", "have 1 bits, expected 2 to 12"),
    "patterns of 13 bits": ((2, 3), "00 04 0d 00 00", "have 13 bits, expected 2 to 12"),
    "a pattern of more bits": ((2, 3), "00 04 03 01 08 00", "has the symbol 8 in an alphabet of 8"),
    "a pattern longer than its sequence": ((2, 3), "00 04 04 01 09 06", "behind the end of its sequence"),
    "wide patterns that claim more bytes": ((2, 9), "00 04 09" + only(5, 512) + "01", "claim 1 bytes, 0 are left"),
    "a wide pattern behind the end": ((7,), "00 04 09" + only(128, 512) + "00", "behind the end of its sequence"),
}


@pytest.mark.parametrize("name", BAD)
def test_both_readers_refuse(name):
    shape, data, message = BAD[name]
    data = bytes.fromhex(data)
    with pytest.raises(FormatError) as error:
        decode(data, shape)
    assert message in str(error.value)
    if math.prod(shape) < 100:
        with pytest.raises(RefusedError):
            slowly(data, shape)


SMALL = [name for name in MASKS if 0 < MASKS[name].size < 5000]


@pytest.mark.parametrize("name", SMALL)
def test_every_truncation_is_refused(name):
    mask = MASKS[name]
    data = encode(mask)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode(data[:length], mask.shape)


@pytest.mark.parametrize("name", SMALL)
def test_changed_bytes_are_refused_by_both_readers_or_by_none(name):
    mask = MASKS[name]
    data = encode(mask)
    places = range(len(data)) if len(data) < 40 else numbers(20) % len(data)
    for place in places:
        for value in (0, 1, 2, 4, 5, 6, 127, 128, 255, data[place] ^ 1, data[place] ^ 128):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            outcomes_agree(changed, mask.shape)


@given(
    st.sampled_from([(6,), (2, 3), (2, 3, 2), (3, 2, 2, 2), (40, 30)]),
    st.integers(0, 8),
    st.binary(max_size=40),
)
def test_random_bytes_are_refused_by_both_readers_or_by_none(shape, layout, rest):
    outcomes_agree(bytes([layout]) + rest, shape)


def outcomes_agree(data, shape):
    try:
        fast = decode(data, shape)
    except FormatError:
        fast = None
    try:
        slow = slowly(data, shape)
    except RefusedError:
        slow = None
    assert (fast is None) == (slow is None)
    if fast is not None:
        assert fast[0].tolist() == packed(slow[0]).tolist()
        assert fast[1:] == (slow[0].sum(), slow[1])
        assert not np.unpackbits(fast[0], bitorder="little")[math.prod(shape) :].any()


def test_a_claim_of_many_symbols_takes_little_memory():
    # 2^24 escapes of one step each, in a few bytes: the bitmap is 2 MiB, symbols at once would be 16
    resource = pytest.importorskip("resource")
    size = 1 << 24
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = bytes.fromhex("00 02 01 80 80 80 08 00 00")
    assert decode(data, (size,))[1] == size
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 10 << 10
