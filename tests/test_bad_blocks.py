"""Blocks and payloads of the coder fast that are malformed: refused by every instruction set, in few words."""

import time
from dataclasses import dataclass, replace

import handmade
import numpy as np
import pytest
from cases import numbers

from deepcompression import _core
from deepcompression.encode import decode, decode_dense
from deepcompression.wire import Cursor, FormatError


@dataclass
class Lanes:
    """A block in lanes, taken apart."""

    layout: int
    table: bytes
    rare: bytes
    exceptions: bytes
    segments: list[bytes]
    count: bytes = b""
    lengths: bytes = b""

    @classmethod
    def of(cls, block):
        at = 1
        _, at = _core.unpack_table(block, at, 256)
        cursor = Cursor(block[at:])
        rare = exceptions = b""
        if block[0] == 3:
            rare = cursor.text("rare")
            if rare:
                start = cursor.at
                for _ in range(cursor.varint("exceptions")):
                    cursor.varint("exception")
                exceptions = bytes(cursor.data[start : cursor.at])
        lengths = [cursor.varint("length") for _ in range(cursor.varint("segments"))]
        segments = [bytes(cursor.take(length, "segment")) for length in lengths]
        return cls(block[0], block[1:at], rare, exceptions, segments)

    def bytes(self):
        listed = handmade.text(self.rare) + self.exceptions if self.layout == 3 else b""
        lengths = self.lengths or b"".join(handmade.varint(len(segment)) for segment in self.segments)
        count = self.count or handmade.varint(len(self.segments))
        return bytes([self.layout]) + self.table + listed + count + lengths + b"".join(self.segments)


COUNT = 70_000


NARROW = (numbers(COUNT) % 5).astype(np.uint8)
NARROW[[7, 9, 5000]] = [130, 200, 200]
WIDE = (numbers(COUNT) % 250 * (numbers(COUNT, 2) % 250) // 250).astype(np.uint8)


def narrow():
    found = Lanes.of(_core.encode_block(NARROW))
    assert (found.layout, found.rare) == (3, bytes([130, 200]))
    return found


def wide():
    found = Lanes.of(_core.encode_block(WIDE))
    assert found.layout == 4
    return found


def test_blocks_taken_apart_and_put_together_are_the_same():
    for made, symbols in ((narrow(), NARROW), (wide(), WIDE)):
        assert made.bytes() == _core.encode_block(symbols)


def changed(lanes, **fields):
    return replace(lanes, **fields).bytes()


# lengths 1, 2, ... 15, 15: the long codes are not in groups that share their first bits
LONG = handmade.table(16, 7, *[1] * 14, 0)
# lengths 1, 2, ... 8, and 128 codes of 15 bits that share their first 8
BUCKET = handmade.table(136, 7, *[1] * 7, 14, *[0] * 127)
HALF = handmade.table(3, 0, 0, 0)

BLOCKS = {
    "nothing": (b"", "is truncated"),
    "unknown layout": (b"\5\0", "has the layout 5, expected 0 to 4"),
    "the one symbol is missing": (b"\0", "is truncated"),
    "the one symbol is outside the alphabet": (b"\0\xfa", "has the symbol 250 in an alphabet of 250"),
    "a plain symbol is outside the alphabet": (b"\1" + bytes(COUNT - 1) + b"\xff", "has the symbol 255"),
    "plain symbols are cut": (b"\1" + bytes(COUNT - 1), "is truncated"),
    "a stream of too many symbols": (b"\2" + handmade.TWO + b"\0", "has more than 65536 symbols in one stream"),
    "lanes of half a code": (changed(narrow(), table=HALF), "of 65536 parts of the code space"),
    "lanes of one symbol": (changed(narrow(), table=handmade.lone(1)), "less than two symbols"),
    "narrow lanes of long codes": (changed(narrow(), table=LONG), "codes of more than 7 bits"),
    "wide lanes of codes too long": (changed(wide(), table=BUCKET), "codes of more than"),
    "wide lanes of codes that share no beginning": (
        changed(wide(), table=handmade.table(11, 7, *[1] * 9, 0)),
        "do not share their first",
    ),
    "a code outside the alphabet": (changed(narrow(), table=handmade.table(251, 7, 2, 248, 0)), "expected 1 to 250"),
    "a rare symbol has a code": (changed(narrow(), rare=b"\0\x82"), "lists symbol 0 among those without a code"),
    "rare symbols do not ascend": (changed(narrow(), rare=b"\xc8\x82"), "lists symbol 130 among"),
    "a rare symbol is outside the alphabet": (changed(narrow(), rare=b"\x82\xfa"), "lists symbol 250 among"),
    "rare symbols without bytes": (b"\3" + narrow().table + b"\x80\2", "lists too many symbols without a code"),
    "exceptions without bytes": (
        b"\3" + narrow().table + handmade.text(narrow().rare) + handmade.varint(2**40),
        "has too many exceptions",
    ),
    "an exception behind the last symbol": (
        changed(narrow(), exceptions=handmade.varint(1) + handmade.varint(2 * COUNT)),
        "has an exception behind its last symbol",
    ),
    "no segments": (changed(narrow(), count=b"\0"), "has 0 segments for 137 rounds"),
    "more segments than rounds": (changed(narrow(), count=b"\x8a\1"), "has 138 segments for 137 rounds"),
    "very many segments": (changed(narrow(), count=handmade.varint(2**62)), "has 4611686018427387904 segments"),
    "a segment without end": (changed(narrow(), lengths=handmade.varint(2**63 - 1)), "is truncated"),
    "segments of no bytes": (changed(narrow(), lengths=b"\0", segments=[b""]), "has too few bytes for 70000 symbols"),
    "the segment's last byte is missing": (
        changed(narrow(), segments=[narrow().segments[0][:-1]]),
        "whose bytes are not those of their symbols",
    ),
    "a byte too many in a segment": (changed(narrow(), segments=[narrow().segments[0] + b"\0"]), "not those of"),
    "a byte too many in a wide segment": (changed(wide(), segments=[wide().segments[0] + b"\0"]), "not those of"),
    "padding of a window is not zero": (
        changed(narrow(), segments=[narrow().segments[0][:-1] + b"\xff"]),
        "whose bytes are not those of their symbols",
    ),
}


@pytest.mark.parametrize("set_", _core.instruction_sets())
@pytest.mark.parametrize("name", BLOCKS)
def test_a_bad_block_is_refused_by_every_instruction_set(name, set_):
    data, message = BLOCKS[name]
    _core.force_instruction_set(set_)
    try:
        for threads in (1, 2):
            with pytest.raises(FormatError, match=message):
                _core.decode_block(np.frombuffer(data, np.uint8), 0, COUNT, 250, threads)
    finally:
        _core.force_instruction_set("")


def test_symbols_without_bytes_are_refused_before_their_memory_is_touched():
    # a dense tensor of 2^28 bytes, whose symbols take a bit at least in every layout but the one for a lone symbol
    for block in (b"\1\0", b"\2" + handmade.TWO + b"\1\2", b"\3" + handmade.TWO + b"\0\1\1\2"):
        start = time.process_time()
        with pytest.raises(FormatError):
            decode_dense("fast", Cursor(b"\0\0\1" + block), "U8", (2**28,))
        assert time.process_time() - start < 0.5


# --- the coder fast

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
