"""A lock beside a file that is written: one job at a time, and none after its process has ended."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class WriteLock:
    """Holds `PATH.lock`, which has the number of the process in it, until `release` or the end of a `with` block.

    It is a lock of the system, which ends with the process: a file left by a killed process blocks nobody. On file
    systems without locks it locks nothing. Raises ValueError if another job, in this process or another, writes the
    same path, FileNotFoundError if the folder is missing, and PermissionError if it takes no
    files.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Path(path).with_name(f"{Path(path).name}.lock")
        if not self._file.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(self._file.parent))
        # a job may end in another thread than it began in
        self._lock = FileLock(self._file, blocking=False, thread_local=False, fallback_to_soft=False)
        try:
            self._lock.acquire()
        except Timeout:
            self._check_folder()
            raise ValueError(
                f"{path} is being written by another job (process {self._holder()}): wait until it has ended, or "
                "write another file"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        self._held = True
        # without the number, on a full disk and on Windows, the lock holds all the same
        with suppress(OSError):
            self._file.write_text(str(os.getpid()))

    def _check_folder(self) -> None:
        """Raises PermissionError where no lock can be made: `FileLock` takes that for the lock of another job."""
        try:
            self._file.open("ab").close()
        except FileNotFoundError:
            raise PermissionError(errno.EACCES, "this folder takes no new files", str(self._file.parent)) from None

    def _holder(self) -> str:
        with suppress(OSError):
            return self._file.read_text(errors="replace")[:20] or "unknown"
        return "unknown"

    def release(self) -> None:
        """Ends the lock; does nothing if it has ended."""
        if not self._held:
            return
        self._held = False
        # before the lock ends, or the file of the next job could be removed; on Windows `FileLock` removes it
        if sys.platform != "win32":
            self._file.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> WriteLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
