import handmade
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression.common.binary import Cursor, FormatError, checksum, text, varint


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_a_varint_comes_back_and_is_written_as_the_page_says(value):
    data = varint(value)
    cursor = Cursor(data)
    assert data == handmade.varint(value)
    assert cursor.varint("number") == value
    cursor.end("the number")


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, "00"), (127, "7f"), (128, "80 01"), (300, "ac 02"), (2**63 - 1, "ff ff ff ff ff ff ff ff 7f")],
)
def test_varints_are_these_bytes(value, data):
    assert varint(value) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "number at offset 100 needs 1 bytes, 0 are left"),
        (b"\x80", "number at offset 101 needs 1 bytes"),
        (b"\x80\x00", "number at offset 100 is written longer than needed"),
        (b"\x80" * 8 + b"\x00", "longer than needed"),
        (b"\x80" * 9 + b"\x01", "number at offset 100 is longer than 9 bytes"),
    ],
)
def test_a_bad_varint_is_refused_with_its_offset(data, message):
    with pytest.raises(FormatError, match=message):
        Cursor(data, base=100).varint("number")


def test_a_text_comes_back():
    assert Cursor(text("größe")).text("name") == "größe".encode()


def test_a_text_longer_than_what_is_left_is_refused():
    with pytest.raises(FormatError, match=r"name at offset 1 needs 1000000 bytes, 2 are left"):
        Cursor(varint(1_000_000)[:3] + b"ab", base=-2).text("name")


def test_bytes_left_over_are_refused():
    cursor = Cursor(b"abc", base=7)
    cursor.u8("byte")
    with pytest.raises(FormatError, match="2 bytes are left over behind the end at offset 8"):
        cursor.end("the end")


def test_fixed_width_integers_are_little_endian():
    assert Cursor(b"\x01\x02\x03\x04").u32("number") == 0x04030201


def test_the_checksum_is_the_one_of_zlib_gzip_and_png():
    assert checksum(b"123456789") == 0xCBF43926


def test_a_bad_format_is_a_value_error():
    assert issubclass(FormatError, ValueError)
