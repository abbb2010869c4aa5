"""The zip archive that torch.save writes: where its members lie, and whether their bytes are as they were written."""

from __future__ import annotations

import mmap
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepcompression.common.binary import FormatError
from deepcompression.common.binary import checksum as crc
from deepcompression.common.files import ByteFile

_START = b"PK\x03\x04"

# of a member's own header, and where the lengths of its name and of its extra field stand in it
_HEADER_BYTES, _LENGTHS_AT = 30, 26


class Memory(NamedTuple):
    """Where elements lie: the address and the number of bytes of their storage."""

    address: int
    length: int


class Archive:
    """The members of an archive that is not compressed.

    Raises FormatError for a damaged one, and if its pickle is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sound: set[int] = set()
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        self.names = frozenset(member.filename.partition("/")[2] for member in members)
        file = ByteFile(path)
        try:
            self._members = {_begin(file, member): member for member in members}
            # elements in another order of bytes are not mapped as they are
            self._native = True
            for offset, member in self._members.items():
                if member.filename.endswith("/data.pkl"):
                    self._check(offset, file.read(offset, member.file_size), "its pickle")
                if member.filename.endswith("/byteorder"):
                    self._native = file.read(offset, member.file_size).tobytes() == sys.byteorder.encode()
        finally:
            file.close()

    @classmethod
    def of(cls, path: Path) -> Archive | None:
        """None for a file that is no archive. Raises FormatError for a damaged one."""
        file = ByteFile(path)
        start = file.read(0, min(len(_START), file.size)).tobytes()
        file.close()
        if start != _START:
            return None
        try:
            return cls(path)
        except FormatError:
            raise
        # the third: what zipfile raises for members that are encrypted, or of a version that it does not know
        except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError) as error:
            raise FormatError(f"{path}: not a sound file of torch.save: {error}; it is cut off or damaged") from None

    def offsets(self, storages: Iterable[Memory]) -> Mapping[Memory, int]:
        """Where in the file each storage of one mapping of it lies; nothing if that cannot be told for certain."""
        storages = {memory for memory in storages if memory.length}
        if not storages or not self._native:
            return {}
        first = min(storages)
        # torch does not say where it mapped the file to: there, where all storages are members
        starts = (first.address - offset for offset in self._members)
        whole = [start for start in starts if start % mmap.ALLOCATIONGRANULARITY == 0]
        fitting = [start for start in whole if all(self._fits(memory, start) for memory in storages)]
        return {memory: memory.address - fitting[0] for memory in storages} if len(fitting) == 1 else {}

    def _fits(self, memory: Memory, start: int) -> bool:
        member = self._members.get(memory.address - start)
        return member is not None and member.file_size == memory.length

    def check(self, offset: int, data: np.ndarray, what: str) -> None:
        """Raises FormatError if the bytes of the member there are not what was written; reads them but once."""
        if offset not in self._sound:
            self._check(offset, data, what)
            self._sound.add(offset)

    def _check(self, offset: int, data: np.ndarray, what: str) -> None:
        member = self._members[offset]
        # 0: torch was told to compute none
        if member.CRC and (found := crc(data.data)) != member.CRC:
            raise FormatError(
                f"{self._path}: {what} is damaged: the bytes of {member.filename} have the checksum {found:08x}, "
                f"{member.CRC:08x} was written; fetch the file again"
            )


def _begin(file: ByteFile, member: zipfile.ZipInfo) -> int:
    """The offset of a member's bytes."""
    at = member.header_offset
    name, extra = (int(value) for value in file.read(at + _LENGTHS_AT, 4).view("<u2"))
    return at + _HEADER_BYTES + name + extra
