"""The coder fast refuses malformed payloads before it uses memory for them. Each error says what and where."""

import time

import handmade
import pytest

from deepcompression.coding.coders import decode, decode_dense
from deepcompression.common.binary import Cursor, FormatError


def test_symbols_without_bytes_are_refused_before_their_memory_is_touched():
    # a dense tensor of 2^28 bytes: each symbol takes a bit at least, except in the layout of a lone symbol
    for block in (b"\1\0", b"\2" + handmade.TWO + b"\1\2", b"\3" + handmade.TWO + b"\0\1\1\2"):
        start = time.process_time()
        with pytest.raises(FormatError):
            decode_dense("fast", Cursor(b"\0\0\1" + block), "U8", (2**28,))
        assert time.process_time() - start < 0.5


MASK_OF_ALL = b"\0\1"
# of 2.0 as an ascending integer
ONE = b"\0\0\0\xc0"

FAST = {
    "no kind": (b"", "kind of content at offset 0 needs 1 bytes"),
    "unknown kind": (b"\2" + MASK_OF_ALL, "is 0 or 1; found 2"),
    "no mask": (b"\0", "a mask at byte 1 is truncated"),
    "no codebook": (b"\1" + MASK_OF_ALL, "number of centroids at offset 3 needs 1 bytes"),
    "a codebook is cut": (b"\1" + MASK_OF_ALL + b"\0\0\0", "is truncated"),
    "centroids that equal": (b"\1" + MASK_OF_ALL + b"\1" + bytes(9), "is truncated or holds a number above"),
    "a step of too many bits": (
        b"\1" + MASK_OF_ALL + b"\1" + bytes(4) + handmade.pack(handmade.gamma(25)) + bytes(9),
        "has a step of 33 bits, expected 1 to 32",
    ),
    "centroids that leave their bits": (
        b"\1" + MASK_OF_ALL + b"\1" + b"\xff" * 4 + handmade.pack(handmade.gamma(0), 19 * "0") + b"\0",
        "leaves its 32 bits",
    ),
    "codebook padding is not zero": (
        b"\1" + MASK_OF_ALL + b"\1" + bytes(4) + handmade.pack(handmade.gamma(0), 19 * "0", "1111") + b"\0",
        "padding bits that are not zero",
    ),
    "a code beyond the codebook": (b"\1" + MASK_OF_ALL + b"\0" + ONE + b"\0\1", "has the symbol 1 in an alphabet of 1"),
    "a code of many beyond the codebook": (
        b"\1" + MASK_OF_ALL + b"\0" + ONE + b"\1\0\0\7",
        "has the symbol 7 in an alphabet of 1",
    ),
    "codes are missing": (b"\1" + MASK_OF_ALL + b"\0" + ONE, "is truncated"),
    "values are missing": (b"\0" + MASK_OF_ALL + 3 * b"\0\0", "is truncated"),
    "bytes behind the codes": (b"\1" + MASK_OF_ALL + b"\0" + ONE + b"\0\0" + b"\0", "left over behind the payload"),
    "bytes behind the values": (b"\0" + MASK_OF_ALL + 4 * b"\0\0" + b"\0", "left over behind the payload"),
    "bytes behind no survivors": (b"\0\0\0" + b"\0", "left over behind the payload"),
}


@pytest.mark.parametrize("read", [decode, decode_dense])
@pytest.mark.parametrize("name", FAST)
def test_a_bad_payload_of_the_coder_fast_is_refused(name, read):
    payload, message = FAST[name]
    with pytest.raises(FormatError, match=message):
        read("fast", Cursor(payload), "F32", (3,))


def test_a_codebook_of_integers_is_refused():
    with pytest.raises(FormatError, match="codebooks are of F64, F32, F16, BF16; found I32"):
        decode("fast", Cursor(b"\1" + MASK_OF_ALL + b"\0" + ONE + b"\0\0"), "I32", (3,))
