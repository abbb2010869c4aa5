"""Bad files made by hand: each has the one flaw that its name says, and words of the message that it must get.

All checksums are right, unless a wrong one is the flaw. Readers thus reach the deeper check.
"""

from __future__ import annotations

import zlib

import numpy as np
import oracle
from bad_device_files import DEVICE_PAYLOAD
from handmade import (
    DEFLATE,
    FAST,
    HUFFMAN,
    SMALL,
    SPARSE,
    TWO,
    alias,
    entry,
    file,
    gamma,
    lone,
    one,
    pack,
    table,
    text,
    varint,
)
from second_reader_blocks import NARROW, WIDE
from slow_blocks import write_exceptions, write_lanes, write_stream

VALUE = bytes.fromhex("0000803f")  # 1.0 as F32
RAW2 = entry(2 * VALUE)
# the stream of two symbols with codes 0 and 1
STREAM = pack("01")


def gaps(entries: int, gap_bits: int = 2, code: bytes = lone(0), stream: bytes = b"") -> bytes:
    """The part of a payload with the positions; by default every gap is 0."""
    return varint(entries) + bytes([gap_bits]) + code + text(stream)


def sparse(payload: bytes, size: int = 2) -> bytes:
    return one(payload, coder=SPARSE, shape=(size,))


def huffman(payload: bytes, size: int = 2) -> bytes:
    return one(payload, coder=HUFFMAN, shape=(size,))


def codes(code: bytes, stream: bytes = b"", centroids: int = 1) -> bytes:
    return bytes([centroids - 1]) + centroids * VALUE + code + stream


def flipped(data: bytes, at: int) -> bytes:
    """One bit of the byte there is flipped, and the checksum stays."""
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


GOOD_HEAD = file([RAW2])
PAIR = file([RAW2, entry(2 * VALUE, name=b"x")], 4 * VALUE)

HEAD = {
    "empty": (b"", "it begins with nothing"),
    "wrong-magic": (file([], magic=b"\x89PNG"), "it begins with 89 50 4e 47, expected 89 44 43 5a"),
    "magic-only": (b"\x89DCZ", "version at offset 4 needs 1 bytes"),
    "future-version": (file([], version=2), "version 2 is not known, only 1: a newer deepcompression may read it"),
    "version-zero": (file([], version=0), "version 0 is not known"),
    "cut-index": (GOOD_HEAD[:12], "index at offset 0 needs 24 bytes, the file ends at 12: it is cut off or damaged"),
    "index-beyond-all-bounds": (b"\x89DCZ\1" + varint(10**8 + 1), "the index takes 100000001 bytes, more than"),
    "length-of-index-overlong": (b"\x89DCZ\1\x82\0\0\0\0\0\0\0", "length of the index at offset 5 is written longer"),
    "flipped-bit-in-index": (flipped(PAIR, 12), "the index is damaged: its checksum is"),
    "flipped-bit-in-payload": (flipped(PAIR, len(PAIR) - 1), "tensor 'x': the payload at offset 44 is damaged"),
}

INDEX = {
    "number-overlong": (file([], metadata=b"\x80\0"), "number of metadata entries at offset 6 is written longer"),
    "number-of-ten-bytes": (file([], metadata=b"\xff" * 9 + b"\1"), "is longer than 9 bytes"),
    "metadata-out-of-order": (file([], metadata=b"\2\1b\0\1a\0"), "metadata keys do not ascend at offset 10"),
    "metadata-twice": (file([], metadata=b"\2\1a\0\1a\0"), "metadata keys do not ascend"),
    "metadata-not-utf8": (file([], metadata=b"\1\1\xff\0"), "text at offset 7 is not UTF-8"),
    "more-metadata-than-index": (
        file([], metadata=varint(2**62)),
        "number of metadata entries at offset 6 is 4611686018427387904, at most 1048576 are allowed",
    ),
    "name-not-utf8": (file([entry(VALUE, name=b"\xc3", shape=(1,))], VALUE), "text at offset 8 is not UTF-8"),
    "name-twice": (file([RAW2, RAW2], 4 * VALUE), "tensor 'w' is in the index twice, again at offset 20"),
    "name-shares-too-much": (
        file([RAW2, b"\2" + RAW2[1:]], 4 * VALUE),
        "name at offset 20 shares 2 bytes with a name of 1",
    ),
    "name-longer-than-index": (file([b"\0" + varint(2**40)]), "name at offset .* needs 1099511627776 bytes"),
    "unknown-coder": (one(2 * VALUE, coder=255), "tensor 'w': coder 255 is not known, only 1 raw, 2 sparse, 3 "),
    "unknown-dtype": (one(2 * VALUE, dtype=200), "tensor 'w': dtype 200 is not known, only 0 to 27: a newer deepcomp"),
    "later-dtype-cut": (
        one(2 * VALUE, dtype=16),
        r"tensor 'w': .* bytes are stored for shape \[.*\] of U64, which takes",
    ),
    "tie-to-itself": (file([alias(b"a", 0)]), "tensor 'a': it is tied to tensor number 0, which is not an earlier"),
    "tie-to-later": (file([RAW2, alias(b"a", 2), entry(b"", shape=(0,))], 2 * VALUE), "tied to tensor number 2"),
    "tie-to-tie": (
        file([RAW2, alias(b"a", 0), alias(b"b", 1)], 2 * VALUE),
        "tensor 'b': it is tied to tensor number 1",
    ),
    "too-many-dimensions": (one(VALUE, shape=(1,) * 33), "33 dimensions are more than 32"),
    "shape-too-large": (one(b"\0", coder=SPARSE, shape=(2**31, 2**31)), "the shape .* is too large"),
    "shape-too-large-behind-an-empty-axis": (one(b"", shape=(0, 2**40, 2**40)), "the shape .* is too large"),
    "decoded-size-over-the-limit": (
        one(b"\0", coder=SPARSE, dtype="F64", shape=(2**33 + 1,)),
        "the tensors take 68719476744 bytes when decoded, the limit is 68719476736",
    ),
    "decoded-sizes-over-the-limit-together": (
        file([entry(b"\0", SPARSE, shape=(2**33 + 1,), name=bytes([c])) for c in b"ab"], b"\0\0"),
        "the tensors take 68719476744 bytes when decoded",
    ),
    "more-tensors-than-index": (file([RAW2], 2 * VALUE, count=2), "length of the shared name at offset 20 needs 1"),
    "very-many-tensors": (file([RAW2], 2 * VALUE, count=2**20 + 1), "tensors at offset 7 is 1048577, at most 1048576"),
    "fewer-tensors-than-index": (file([RAW2, RAW2], 2 * VALUE, count=1), "12 bytes are left over behind the index"),
    "bytes-behind-the-index": (file([RAW2], 2 * VALUE, behind=b"?"), "1 bytes are left over behind the index"),
    "bytes-behind-the-payloads": (file([RAW2], 3 * VALUE), "the payloads end at 32, the file at 36"),
    "cut-payload": (file([RAW2], VALUE), "the payloads end at 32, the file at 28: it is cut off or damaged"),
    "payload-of-a-size-past-all": (file([entry(VALUE, length=2**63 - 1)], VALUE), "the payloads end at"),
}

PAYLOAD = {
    "raw-too-short": (one(VALUE), r"tensor 'w': 4 bytes are stored for shape \[2\] of F32, which takes 8"),
    "raw-too-long": (one(3 * VALUE), "12 bytes are stored for shape"),
    "sparse-without-bytes": (sparse(b""), "number of entries at offset .* needs 1 bytes, 0 are left"),
    "huffman-of-integers": (
        one(b"\0", coder=HUFFMAN, dtype="I32"),
        "the coder huffman holds F64, F32, F16, BF16; found I32",
    ),
    "more-entries-than-elements": (sparse(gaps(3) + 3 * VALUE), "3 entries are claimed for a tensor of 2 elements"),
    "bytes-behind-no-entries": (sparse(b"\0\0"), "1 bytes are left over behind a tensor without entries"),
    "gap-field-of-1-bit": (sparse(gaps(2, 1) + 2 * VALUE), "gap bits at offset .* are from 2 to 16; found 1"),
    "gap-field-of-17-bits": (sparse(gaps(2, 17) + 2 * VALUE), "gap bits .* found 17"),
    "gap-stream-longer-than-payload": (sparse(b"\2\2" + lone(0) + varint(99)), "2 entries do not fit the 0 bytes"),
    "gap-stream-cut": (sparse(gaps(9, code=TWO, stream=STREAM) + 9 * VALUE, 9), "too few for 9 symbols"),
    "gap-stream-too-long": (sparse(gaps(2, code=TWO, stream=STREAM + b"\0") + 2 * VALUE, 4), "symbols take 1"),
    "gap-stream-padding-not-zero": (sparse(gaps(2, code=TWO, stream=b"\x82") + 2 * VALUE, 4), "padding bits"),
    "stream-of-a-lone-symbol": (sparse(gaps(2, stream=b"\0") + 2 * VALUE), "has 1 bytes, expected none"),
    "position-beyond-the-end": (sparse(gaps(1, code=lone(3)) + VALUE, 3), "position 3, but there are only 3 elements"),
    "fillers-beyond-the-end": (
        sparse(gaps(3, code=lone(3)) + VALUE + 8 * b"\0", 11),
        "position 11, but there are only",
    ),
    "too-few-values": (sparse(gaps(2) + VALUE), "2 entries do not fit the 4 bytes"),
    "too-many-values": (sparse(gaps(2) + 3 * VALUE), "2 entries of F32 take 8 bytes; found 12"),
    "cut-codebook": (huffman(gaps(2) + b"\1" + VALUE), "codebook at offset .* needs 8 bytes, 4 are left"),
    "code-table-missing": (huffman(gaps(2) + b"\0" + VALUE), "code table .* is truncated"),
    "code-table-beyond-the-alphabet": (huffman(gaps(2) + codes(table(3, 8, 1, 0))), "3 symbols, expected 1 to 2"),
    "codes-cut": (huffman(gaps(2) + codes(TWO)), "too few for 2 symbols"),
    "codes-too-long": (huffman(gaps(2) + codes(TWO, STREAM + b"\0")), "has 2 bytes, but its 2 symbols take 1"),
    "codes-padding-not-zero": (huffman(gaps(2) + codes(TWO, b"\x42")), "padding bits that are not zero"),
    "codes-of-a-lone-symbol": (huffman(gaps(2) + codes(lone(0), b"\0")), "has 1 bytes, expected none"),
    "last-filler-beyond-the-end": (huffman(gaps(2, code=lone(3)) + codes(TWO, pack("01")), 7), "position 7, but there"),
    "entries-that-no-memory-holds": (
        huffman(gaps(2**30, code=TWO, stream=STREAM) + codes(TWO, STREAM), 2**31),
        "has 1 bytes, too few for 1073741824 symbols",
    ),
}

# masks without classes: none survives, all do
NONE, ALL = b"\0\0", b"\0\1"
ONE_AS_INTEGER = f"{0xBF800000:032b}"[::-1]
ONE_CENTROID, TWO_CENTROIDS = b"\0" + pack(ONE_AS_INTEGER), b"\1" + pack(ONE_AS_INTEGER, gamma(38))
LANES = write_lanes(np.arange(700, dtype=np.uint8) % 2, NARROW, [1, 1])
WIDE_LANES = write_lanes(np.zeros(700, np.uint8), WIDE, [1, 1])
ZEROS = b"\0\0"  # a block of zeros


def fast(payload: bytes, size: int = 2, dtype: str = "F32") -> bytes:
    return one(payload, coder=FAST, shape=(size,), dtype=dtype)


def small(payload: bytes, dtype: str = "F32") -> bytes:
    return one(payload, coder=SMALL, dtype=dtype)


def fast_codes(block: bytes, size: int = 700) -> bytes:
    return fast(b"\1" + ALL + TWO_CENTROIDS + block, size)


def fast_values(block: bytes, size: int = 700) -> bytes:
    return fast(b"\0" + ALL + block, size, "U8")


FAST_PAYLOAD = {
    "fast-without-bytes": (fast(b""), "tensor 'w': kind of content at offset .* needs 1 bytes, 0 are left"),
    "fast-of-a-third-kind": (fast(b"\2" + ALL), "the kind of content at offset .* is 0 or 1; found 2"),
    "fast-codes-of-integers": (fast(b"\1" + NONE, dtype="I32"), "codebooks are of F64, F32, F16, BF16; found I32"),
    "fast-mask-missing": (fast(b"\0"), "in the payload at offset 24: .*byte 1"),
    "fast-mask-of-layout-8": (fast(b"\0\x08\0"), "in the payload at offset 24: .*byte"),
    "fast-mask-of-one-axis-by-columns": (fast(b"\0\1\1\0"), "in the payload at offset 24: .*byte"),
    "fast-sequence-of-kind-5": (fast(b"\0\0\5"), "unknown kind 5"),
    "fast-survivor-behind-the-end": (fast(b"\0\0\2\7\1\0\2" + 4 * ZEROS), "gaps lead to element 3 of a sequence of 2"),
    "fast-bytes-behind-no-survivor": (fast(b"\0" + NONE + b"\0"), "1 bytes are left over behind the payload"),
    "fast-codebook-missing": (fast(b"\1" + ALL), "number of centroids at offset .* needs 1 bytes, 0 are left"),
    "fast-codebook-cut": (fast(b"\1" + ALL + TWO_CENTROIDS[:5]), "codebook at byte 4 is truncated"),
    "fast-codebook-of-a-wide-step": (
        fast(b"\1" + ALL + b"\1" + pack(ONE_AS_INTEGER, gamma(25), "0" * 32)),
        "has a step of 33 bits, expected 1 to 32",
    ),
    "fast-codebook-over-the-end": (
        fast(b"\1" + ALL + b"\1" + pack("1" * 32, gamma(38)) + ZEROS),
        "codebook at byte 4 leaves its 32 bits",
    ),
    "fast-codebook-padding-not-zero": (
        fast(b"\1" + ALL + b"\1" + pack(ONE_AS_INTEGER, gamma(38), "1") + ZEROS),
        "codebook at byte 4 has padding bits that are not zero",
    ),
    "fast-codes-missing": (fast(b"\1" + ALL + ONE_CENTROID), "block at byte 8 is truncated"),
    "fast-code-without-a-centroid": (fast(b"\1" + ALL + ONE_CENTROID + b"\0\1"), "the symbol 1 in an alphabet of 1"),
    "fast-bytes-behind-the-codes": (
        fast(b"\1" + ALL + ONE_CENTROID + ZEROS + b"\0"),
        "1 bytes are left over behind the payload",
    ),
    "fast-a-plane-too-few": (fast(b"\0" + ALL + 3 * ZEROS), "block at byte 9 is truncated"),
    "fast-a-plane-too-many": (fast(b"\0" + ALL + 5 * ZEROS), "2 bytes are left over behind the payload"),
    "fast-block-of-layout-5": (fast_values(b"\5" + bytes(9)), "block at byte 3 has the layout 5, expected 0 to 4"),
    "fast-plain-cut": (fast_values(b"\1" + bytes(699)), "block at byte 3 is truncated"),
    "fast-stream-of-a-lone-symbol": (fast_values(b"\2" + lone(0) + b"\0"), "too few bytes for 700 symbols"),
    "fast-stream-of-too-many-symbols": (fast_values(write_stream(np.arange(9) % 2, [1, 1]), 65_537), "more than 65536"),
    "fast-stream-padding-not-zero": (fast_values(b"\2" + TWO + text(bytes(1) + b"\2"), 9), "padding bits that are not"),
    "fast-lanes-of-a-lone-symbol": (fast_codes(LANES.but(table=lone(0))), "it has less than two symbols"),
    "fast-lanes-of-a-table-outside": (fast_codes(LANES.but(table=table(3, 5, 0, 1))), "3 symbols, expected 1 to 2"),
    "fast-lanes-without-segments": (fast_codes(LANES.but(segments=0)), "has 0 segments for 2 rounds"),
    "fast-lanes-of-more-segments-than-rounds": (fast_codes(LANES.but(segments=3)), "has 3 segments for 2 rounds"),
    "fast-segment-cut": (fast_codes(LANES.but(data=LANES.data[:-1])), "block at byte 10 is truncated"),
    "fast-segment-length-too-long": (
        fast_codes(LANES.but(lengths=[len(LANES.data) + 1], data=LANES.data + b"\0")),
        "has segments 0 to 0 whose bytes are not those of their symbols",
    ),
    "fast-segment-length-too-short": (
        fast_codes(LANES.but(lengths=[len(LANES.data) - 1], data=LANES.data[:-1])),
        "whose bytes are not those of their symbols",
    ),
    "fast-segment-length-past-all": (fast_codes(LANES.but(lengths=[2**63 - 1])), "block at byte 10 is truncated"),
    "fast-window-padding-not-zero": (
        fast_codes(LANES.but(data=LANES.data[:500] + b"\x80" + LANES.data[501:])),
        "whose bytes are not those of their symbols",
    ),
    "fast-exception-behind-the-end": (
        fast_values(LANES.but(exceptions=write_exceptions([9], [(700, 9)]))),
        "has an exception behind its last symbol",
    ),
    "fast-exception-with-a-code": (
        fast_values(LANES.but(exceptions=write_exceptions([1], [(7, 1)]))),
        "lists symbol 1 among those without a code",
    ),
    "fast-exceptions-that-descend": (
        fast_values(LANES.but(exceptions=write_exceptions([9, 8], []))),
        "lists symbol 8 among those without a code",
    ),
    "fast-narrow-codes-of-8-bits": (
        fast_values(LANES.but(table=oracle.pack_table([1, 2, 3, 4, 5, 6, 7, 8, 8]))),
        "codes of more than 7 bits",
    ),
    "fast-wide-codes-not-grouped": (
        fast_values(WIDE_LANES.but(table=oracle.pack_table([*range(1, 12), 12, 12]))),
        "its 1 codes of 9 bits do not share their first 8 with codes of that length alone",
    ),
}

SMALL_PAYLOAD = {
    "small-without-bytes": (small(b""), "tensor 'w': kind of content at offset .* needs 1 bytes, 0 are left"),
    "small-of-a-third-kind": (small(b"\2\0"), "the kind of content at offset .* is 0 or 1; found 2"),
    "small-codes-of-integers": (small(b"\1\0", "I32"), "codebooks are of F64, F32, F16, BF16; found I32"),
    "small-more-survivors-than-elements": (small(b"\0\3\0"), "3 survivors are claimed for a tensor of 2 elements"),
    "small-codebook-missing": (small(b"\1\2"), "number of centroids at offset .* needs 1 bytes, 0 are left"),
    "small-mask-of-none": (small(b"\0\0\1\7"), "1 bytes of mask and codes are stored where all is known"),
    "small-mask-of-all": (small(b"\0\2\1\7" + 4 * ZEROS), "1 bytes of mask and codes are stored where all is known"),
    "small-mask-longer-than-payload": (small(b"\0\1\x09\7"), "mask at offset .* needs 9 bytes, 1 are left"),
    "small-bytes-behind-no-survivor": (small(b"\1\0\0"), "1 bytes"),
    "small-values-missing": (small(b"\0\2\0" + 3 * ZEROS), "block at byte 9 is truncated"),
    "small-values-too-many": (small(b"\0\2\0" + 5 * ZEROS), "2 bytes are left over behind the payload"),
    "small-zero-byte-at-the-end": (small(b"\1\2\0\x7f" + bytes(1)), "end elsewhere than their bytes"),
    "small-bytes-not-read": (
        small(b"\1\2\0\x7f" + bytes(40) + b"\1"),
        "end elsewhere than their bytes|surviv",
    ),
}

TABLES = {
    "table-without-symbols": (b"\0", "has 0 symbols, expected 1 to 4"),
    "table-beyond-the-alphabet": (table(5, 8, 0, 0, 0, 0), "has 5 symbols, expected 1 to 4"),
    "table-cut": (varint(4) + pack(gamma(0)), "is truncated"),
    "table-oversubscribed": (table(3, 7, 0, 0), "fill 98304 of 65536 parts"),
    "table-incomplete": (table(2, 7, 1), "fill 49152 of 65536 parts"),
    "table-of-a-lone-long-code": (table(1, 5), "the only symbol's length is not 1"),
    "table-with-a-length-of-0": (table(2, 9, 1), "the length 0, expected 1 to 16"),
    "table-with-a-length-of-17": (table(2, 26, 0), "the length 17, expected 1 to 16"),
    "table-ends-unused": (table(3, 7, 0, 2, 0), "unused symbols at its end"),
    "table-skips-beyond-its-end": (table(3, 7, 0, 2, 65535), "unused symbols at its end"),
    "table-with-a-huge-number": (varint(2) + pack("0" * 40 + "1" * 41), "a number above 65536"),
    "table-padding-not-zero": (varint(1) + pack(gamma(7) + "1"), "padding bits that are not zero"),
    "table-size-overlong": (b"\x81\0" + pack(gamma(7)), "too long"),
}


def deflated(data: bytes, dtype: str = "U8", size: int = 4, behind: bytes = b"", cut: int = 0) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = stream.compress(data) + stream.flush()
    return one(payload[: len(payload) - cut] + behind, coder=DEFLATE, dtype=dtype, shape=(size,))


DEFLATE_PAYLOAD = {
    "deflated-too-much": (deflated(bytes(5)), "a deflated stream holds more than the tensor"),
    "deflated-bomb": (deflated(bytes(10**7)), "a deflated stream holds more than the tensor"),
    "deflated-too-little": (deflated(bytes(3)), "a deflated stream ends 1 bytes too early"),
    "deflated-cut": (deflated(bytes(4), cut=1), "a deflated stream has no end|ends . bytes too early"),
    "deflated-bytes-behind": (deflated(bytes(4), behind=b"\0"), "1 bytes are left over behind the payload"),
    "deflated-damaged": (one(b"\7", coder=DEFLATE, dtype="U8", shape=(4,)), "a deflated stream is damaged"),
    "deflated-nothing": (one(b"", coder=DEFLATE, dtype="U8", shape=(4,)), "a deflated stream ends 4 bytes too early"),
    "deflated-no-end": (one(b"", coder=DEFLATE, dtype="U8", shape=(0,)), "a deflated stream has no end"),
}

BAD = (
    HEAD
    | INDEX
    | PAYLOAD
    | FAST_PAYLOAD
    | SMALL_PAYLOAD
    | DEFLATE_PAYLOAD
    | DEVICE_PAYLOAD
    | {
        name: (sparse(varint(2) + b"\2" + bad + b"\0" + 8 * VALUE, 99), message)
        for name, (bad, message) in TABLES.items()
    }
)
