"""Bad files of the coder `device`, each with its story and the message of the reader."""

from __future__ import annotations

from collections.abc import Sequence

from handmade import DEVICE, TWO, lone, one, pack, table, varint

ONE_AS_INTEGER = pack(f"{0xBF800000:032b}"[::-1])
# no gap is coded, every element is an entry
NO_GAPS = lone(0)


def high_bits(bits: str) -> bytes:
    """Bits of a group: the first one is the highest of a byte."""
    return bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))


def device(
    groups: Sequence[bytes] = (high_bits("0110"),),
    escape: int = 1,
    gaps: bytes = NO_GAPS,
    codes: bytes = TWO,
    group: int = 1,
    codebook: bytes = b"",
    lengths: Sequence[int] | None = None,
    shape: Sequence[int] = (4,),
    dtype: str = "U8",
) -> bytes:
    """A file of one tensor, by default four bytes 0, 1, 1, 0."""
    found = [len(each) for each in groups] if lengths is None else lengths
    head = b"\1" + varint(group) + codebook + bytes([escape]) + gaps + codes + b"".join(map(varint, found))
    return one(head + b"".join(groups), coder=DEVICE, shape=shape, dtype=dtype)


def bare(payload: bytes, dtype: str = "U8", shape: Sequence[int] = (4,)) -> bytes:
    return one(payload, coder=DEVICE, dtype=dtype, shape=shape)


# "0" is the gap 0, "1" the escape, which steps over one element
BY_ONES = {"gaps": TWO, "codes": lone(5)}
AT_ROW_0 = "the payload is malformed, at row 0"

DEVICE_PAYLOAD = {
    "device-without-bytes": (bare(b""), "tensor 'w': kind of content at offset .* needs 1 bytes, 0 are left"),
    "device-of-a-third-kind": (bare(b"\2"), "the kind of content at offset .* is 0 or 1; found 2"),
    "device-bytes-behind-no-survivor": (bare(b"\0\0"), "1 bytes are left over behind a tensor without survivors"),
    "device-of-2-31-bytes": (bare(b"\0", shape=(2**31,)), "elements of fewer than 2\\^31 bytes"),
    "device-group-of-no-rows": (device(group=0), "a group has 1 to 1 rows of some elements; found 0 rows of 4"),
    "device-group-of-too-many-rows": (device(group=2), "a group has 1 to 1 rows of some elements; found 2 rows of 4"),
    "device-groups-without-elements": (device([b""], shape=(2, 0)), "found 1 rows of 0"),
    "device-of-wide-integers": (device(dtype="I32"), "holds F64, F32, F16, BF16 and dtypes of a byte; found I32"),
    "device-codebook-cut": (bare(b"\1\1\0" + ONE_AS_INTEGER[:3], "F32"), "codebook at byte 3 is truncated"),
    "device-without-escape": (device(escape=0), "the escape at offset .* is from 1 to 255; found 0"),
    # so many elements are not read: the head is refused
    "device-escape-alone": (device([b""], gaps=lone(1), codes=lone(5), shape=(2**30,)), AT_ROW_0),
    "device-gap-beyond-the-escape": (device(gaps=table(3, 8, 1, 0)), "3 symbols, expected 1 to 2"),
    "device-code-of-13-bits": (
        device(codes=table(14, 7, *[1] * 12, 0)),
        "the code table at offset .* has a code of 13 bits, at most 12 fit",
    ),
    "device-code-beyond-the-codebook": (
        device(codes=table(3, 8, 1, 0), codebook=b"\0" + ONE_AS_INTEGER, dtype="F32"),
        "3 symbols, expected 1 to 2",
    ),
    "device-code-table-incomplete": (device(codes=table(2, 7, 1)), "fill 49152 of 65536 parts"),
    "device-length-missing": (device([], lengths=[]), "length of a group at offset .* needs 1 bytes, 0 are left"),
    "device-length-too-long": (device(lengths=[2]), "the groups take 2 bytes, 1 are left"),
    "device-length-too-short": (device(lengths=[0]), "the groups take 0 bytes, 1 are left"),
    "device-lengths-beyond-32-bits": (
        device([high_bits("01"), high_bits("10")], lengths=[2**32 - 1, 3], shape=(2, 2)),
        "the groups take 4294967298 bytes, 2 are left",
    ),
    "device-group-cut": (device([b""]), AT_ROW_0),
    "device-group-cut-behind-a-byte": (device([b"\x55"], shape=(9,)), AT_ROW_0),
    "device-group-with-a-byte-too-many": (device([high_bits("0110") + b"\0"]), AT_ROW_0),
    "device-group-with-many-bytes-too-many": (device([high_bits("0110") + bytes(99)]), AT_ROW_0),
    "device-padding-not-zero": (device([high_bits("01100001")]), AT_ROW_0),
    "device-second-group-damaged": (
        device([high_bits("01"), high_bits("101")], shape=(2, 2)),
        "the payload is malformed, at row 1",
    ),
    "device-last-gap-behind-the-end": (device([high_bits("1110" + "10")], **BY_ONES), AT_ROW_0),
    "device-first-gap-behind-the-end": (device([high_bits("111110")], **BY_ONES), AT_ROW_0),
    "device-gap-behind-the-end-of-a-group": (
        device([high_bits("1110"), high_bits("110")], **BY_ONES, shape=(2, 2)),
        AT_ROW_0,
    ),
    "device-gaps-that-no-byte-holds": (device([b"\xff"], **BY_ONES, shape=(2**30,)), AT_ROW_0),
    "device-codes-that-no-byte-holds": (device([b"\xff"], shape=(2**30,)), AT_ROW_0),
}
