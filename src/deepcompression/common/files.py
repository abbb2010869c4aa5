"""Files read by range, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deepcompression.common.binary import FormatError

# errors of writing alone, never of a file that is read
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def named_if_full(path: str | os.PathLike[str]) -> Iterator[None]:
    """Names the file in the error of a full disk, where the system does not."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: str | os.PathLike[str], partial: Path | None = None) -> Iterator[Path]:
    """A new path to write to, by default beside `path`. It replaces `path` if the block ends well, and is removed if
    not.
    """
    import secrets

    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(target.parent))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partial = partial or target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with named_if_full(path):
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        if error.filename == str(partial):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


# kinds of files that have no bytes at any offset
_NO_FILES = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def check_regular(path: Path) -> None:
    """Raises ValueError for a pipe, a socket or a device, which cannot be read by range; OSError for a folder, and if
    there is nothing.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if what := _NO_FILES.get(stat.S_IFMT(mode)):
        raise ValueError(f"{path}: is {what}, which cannot be read by parts: write its bytes to a file first")


class ByteFile:
    """A file open for reading by range; threads may share it. Raises as `check_regular` does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        check_regular(self.path)
        self._file = self.path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> np.ndarray:
        """uint8 (length,), writable. Raises FormatError if the file ends too early."""
        data = np.empty(length, np.uint8)
        view = data.data
        done = 0
        # one call reads at most 2 GB
        while done < length and (count := self._read_into(view[done:], offset + done)):
            done += count
        if done < length:
            raise FormatError(
                f"{length} bytes at offset {offset} of {self.path} end at {offset + done}: the file is cut off, "
                "or changed while it was open"
            )
        return data

    def _read_into(self, view: memoryview, offset: int) -> int:
        """The number of bytes read, 0 at the end."""
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        # Windows has no such call
        with self._lock:
            self._file.seek(offset)
            return self._file.readinto(view)

    def stamp(self) -> tuple[int, int]:
        """Size and time of the last change, in ns, of what is open now."""
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def close(self) -> None:
        self._file.close()
