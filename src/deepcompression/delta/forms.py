"""Forms of tensors in which patches change them, and patches of files whose coders have other forms.

The *form* of a payload is that of the profile `device`: the coder `device`, or `raw`. Where payloads are of other
coders, a *recoding* patch names the tensors of OLD whose forms follow OLD, and the tensors of NEW that are to be
encoded again from their forms. The patch within it turns the one into the other.
"""

from __future__ import annotations

from typing import NamedTuple

from deepcompression.coding.coders import CODERS, decode, encode
from deepcompression.common.binary import Cursor, FormatError, checksum, varint
from deepcompression.delta.operations import CHECKSUM_BYTES, VERSION
from deepcompression.file.index import Entry

MAGIC = b"\x89DCR"

PROFILE = "device"

FORMS = ("raw", "device")


class Form(NamedTuple):
    """A payload of `FORMS`, and the width of the paper's gaps in the payload that it stands for (0: none)."""

    coder: str
    payload: bytes | memoryview
    gap_bits: int = 0

    @classmethod
    def of(cls, entry: Entry, payload: memoryview) -> Form:
        if entry.coder in FORMS:
            return cls(entry.coder, payload)
        tensor, account = decode(entry.coder, Cursor(payload), entry.dtype, entry.shape)
        return cls(*encode(tensor, profile=PROFILE), account.gap_bits)

    def encoded(self, entry: Entry) -> bytes:
        """The payload that the form stands for."""
        tensor, _ = decode(self.coder, Cursor(self.payload), entry.dtype, entry.shape)
        return encode(tensor, entry.coder, self.gap_bits or None)[1]

    @classmethod
    def of_new(cls, entry: Entry, payload: memoryview) -> Form | None:
        """None if the form does not give the payload back, to the byte, wherever the patch is applied."""
        if entry.coder == "deflate":
            return None  # its bytes depend on the build of zlib
        form = cls.of(entry, payload)
        return form if entry.coder in FORMS or form.encoded(entry) == payload else None


class Recoded(NamedTuple):
    """A tensor of NEW that is encoded from its form: its number in the index, and what the form is."""

    number: int
    coder: str
    gap_bits: int
    length: int


class Recoding(NamedTuple):
    """The head of a recoding patch.

    decoded  numbers of tensors in the index of OLD, whose forms follow OLD
    recoded  tensors of NEW, whose forms stand for their payloads
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
        head = MAGIC + bytes([VERSION]) + varint(self.old_size) + self.old_checksum.to_bytes(CHECKSUM_BYTES, "little")
        head += varint(len(self.decoded)) + b"".join(map(varint, self.decoded))
        head += varint(len(self.recoded))
        for each in self.recoded:
            head += varint(each.number) + bytes([CODERS[each.coder].number, each.gap_bits]) + varint(each.length)
        return head + checksum(head).to_bytes(CHECKSUM_BYTES, "little")

    @classmethod
    def read(cls, patch: bytes) -> tuple[Recoding, memoryview]:
        """The head, and the patch within. Raises FormatError."""
        cursor = Cursor(patch)
        cursor.take(len(MAGIC), "magic")
        if (version := cursor.u8("version")) != VERSION:
            raise FormatError(f"version {version} of patches is not known, only {VERSION}: a newer deepcompression may")
        old_size, old_checksum = cursor.varint("size of the old file"), cursor.u32("checksum of the old file")
        decoded = [cursor.varint("number of a tensor") for _ in range(_count(cursor))]
        recoded = [_read_recoded(cursor) for _ in range(_count(cursor))]
        end = cursor.at
        if cursor.u32("checksum") != checksum(patch[:end]):
            raise FormatError("its checksum does not match: the patch is cut off or damaged")
        return cls(old_size, old_checksum, decoded, recoded), cursor.rest()


def _count(cursor: Cursor) -> int:
    count = cursor.varint("number of tensors")
    if count > cursor.left:
        raise FormatError(f"{count} tensors are claimed, {cursor.left} bytes are left")
    return count


def _read_recoded(cursor: Cursor) -> Recoded:
    number, coder, gap_bits = cursor.varint("number of a tensor"), cursor.u8("coder"), cursor.u8("gap bits")
    known = {CODERS[name].number: name for name in FORMS}
    if coder not in known or gap_bits not in (0, *range(2, 17)):
        raise FormatError(f"coder {coder} with gaps of {gap_bits} bits is no form of a tensor")
    return Recoded(number, known[coder], gap_bits, cursor.varint("length of a form"))
