"""Payloads that patches change, and patches of files whose payloads are others.

A *plain* payload is of the coder `device` or `raw`: that of the profile `device`. Where payloads are of other coders, a
*recoding* patch names tensors of OLD whose plain payloads follow OLD, and tensors of NEW that are encoded again from
their plain payloads. The patch within it turns the one into the other.
"""

from __future__ import annotations

from typing import NamedTuple

from deepcompression.coding.coder import GAP_BITS
from deepcompression.coding.coders import CODERS, decode, encode
from deepcompression.common.binary import Cursor, FormatError, checksum, varint
from deepcompression.delta.operations import CHECKSUM_BYTES, RECODING_MAGIC, VERSION, begin, check
from deepcompression.file.index import Entry

PLAIN_CODERS = ("raw", "device")

_PROFILE = "device"


class Plain(NamedTuple):
    """A plain payload, and the width of the paper's gaps in the payload that it stands for (0: it has none)."""

    coder: str
    payload: bytes | memoryview
    gap_bits: int = 0

    @classmethod
    def of(cls, entry: Entry, payload: memoryview) -> Plain:
        """The plain payload of any other."""
        if entry.coder in PLAIN_CODERS:
            return cls(entry.coder, payload)
        tensor, account = decode(entry.coder, Cursor(payload), entry.dtype, entry.shape)
        return cls(*encode(tensor, profile=_PROFILE), account.gap_bits)

    @classmethod
    def of_new(cls, entry: Entry, payload: memoryview) -> Plain | None:
        """None if the plain payload does not give the other back, to the byte, wherever the patch is applied."""
        if entry.coder == "deflate":
            return None  # its bytes depend on the build of zlib
        plain = cls.of(entry, payload)
        return plain if entry.coder in PLAIN_CODERS or plain.encoded(entry) == payload else None

    def encoded(self, entry: Entry) -> bytes:
        """The payload that it stands for."""
        tensor, _ = decode(self.coder, Cursor(self.payload), entry.dtype, entry.shape)
        return encode(tensor, entry.coder, self.gap_bits or None)[1]


class Recoded(NamedTuple):
    """A tensor of NEW that is encoded again: its number in the index, and what its plain payload is."""

    number: int
    coder: str
    gap_bits: int
    length: int


class Recoding(NamedTuple):
    """The head of a recoding patch.

    decoded  numbers of tensors in the index of OLD, whose plain payloads follow OLD
    recoded  tensors of NEW, whose plain payloads stand for their own
    """

    old_size: int
    old_checksum: int
    decoded: list[int]
    recoded: list[Recoded]

    @classmethod
    def of(cls, old: memoryview, decoded: list[int], recoded: list[Recoded]) -> Recoding:
        """For the file `old`."""
        return cls(len(old), checksum(old), decoded, recoded)

    def write(self) -> bytes:
        head = RECODING_MAGIC + bytes([VERSION])
        head += varint(self.old_size) + self.old_checksum.to_bytes(CHECKSUM_BYTES, "little")
        head += varint(len(self.decoded)) + b"".join(map(varint, self.decoded))
        head += varint(len(self.recoded))
        for each in self.recoded:
            head += varint(each.number) + bytes([CODERS[each.coder].number, each.gap_bits]) + varint(each.length)
        return head + checksum(head).to_bytes(CHECKSUM_BYTES, "little")

    @classmethod
    def read(cls, patch: bytes) -> tuple[Recoding, memoryview]:
        """The head, and the patch within. Raises FormatError."""
        cursor = begin(patch)
        old_size, old_checksum = cursor.varint("size of the old file"), cursor.u32("checksum of the old file")
        decoded = [cursor.varint("number of a tensor") for _ in range(_count(cursor))]
        recoded = [_read_recoded(cursor) for _ in range(_count(cursor))]
        expected = checksum(patch[: cursor.at])
        check(cursor.u32("checksum"), expected)
        for numbers in (decoded, [each.number for each in recoded]):
            if len(set(numbers)) < len(numbers):
                raise FormatError("it names a tensor twice")
        return cls(old_size, old_checksum, decoded, recoded), cursor.rest()


def _count(cursor: Cursor) -> int:
    count = cursor.varint("number of tensors")
    if count > cursor.left:
        raise FormatError(f"{count} tensors are claimed, {cursor.left} bytes are left")
    return count


def _read_recoded(cursor: Cursor) -> Recoded:
    number, coder, gap_bits = cursor.varint("number of a tensor"), cursor.u8("coder"), cursor.u8("gap bits")
    known = {CODERS[name].number: name for name in PLAIN_CODERS}
    if coder not in known or gap_bits not in (0, *GAP_BITS):
        raise FormatError(f"coder {coder} with gaps of {gap_bits} bits is no plain payload")
    return Recoded(number, known[coder], gap_bits, cursor.varint("length of a plain payload"))
