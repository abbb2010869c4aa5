"""Zip archives of torch.save, checked by the standard library."""

from __future__ import annotations

import errno
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepcompression.common.binary import FormatError

_START = b"PK\x03\x04"
_CHUNK_BYTES = 1 << 20

# errors of zipfile; the last five for untrue lengths, and for encrypted members or those of an unknown version
_DAMAGED = (zipfile.BadZipFile, EOFError, struct.error, ValueError, OverflowError, RuntimeError, OSError)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGED as error:
        # EINVAL is damage, an offset before the file; all else is the system's own error
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise FormatError(
            f"{path}: not a sound file of torch.save: {error}; it is cut off, damaged, or of another kind: fetch it "
            "again"
        ) from None


def member_names(path: Path) -> frozenset[str] | None:
    """The names of an archive's members; None for another file. Raises FormatError for a damaged archive."""
    with path.open("rb") as file:
        if file.read(len(_START)) != _START:
            return None
    with _opened(path) as archive:
        return frozenset(name.partition("/")[2] for name in archive.namelist())


def check_members(path: Path) -> None:
    """Raises FormatError for an archive with a compressed member, or with one whose bytes do not match its checksum.

    torch maps archives without comparing checksums, so this reads the file once, in chunks. Members without a checksum,
    which torch can write, are not compared.
    """
    with _opened(path) as archive:
        members = archive.infolist()
        if packed := [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]:
            raise zipfile.BadZipFile(f"{packed[0]} is compressed, which torch.save never does")
        claimed, size = sum(member.file_size for member in members), path.stat().st_size
        if claimed > size:
            raise zipfile.BadZipFile(f"its members claim {claimed} bytes, the file has {size}")
        for member in members:
            if member.CRC:
                with archive.open(member) as file:
                    while file.read(_CHUNK_BYTES):
                        pass
