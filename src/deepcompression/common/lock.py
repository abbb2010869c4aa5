"""One job at a time writes a file: a lock beside it that ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt

    # behind what is read of the file: Windows forbids others to read what is locked
    _AT = 1 << 30

    def _take(file: int) -> None:
        os.lseek(file, _AT, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class WriteLock:
    """Held from when it is made until `release`, or the end of a `with` block, as the file `PATH.lock` with the number
    of the process in it. The system lets go of it when the process ends: what a killed one left behind is in nobody's
    way. On file systems without locks it locks nothing.

    Raises ValueError if another job, in this process or another, writes the same path, FileNotFoundError if there is no
    such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).with_name(f"{Path(path).name}.lock")
        if not self._path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(self._path.parent))
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._lock(path)
                # one that was let go of between these two lines is no longer there, or another
                if self._is_there():
                    break
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)
        # on a full disk it is but not said who holds it
        with suppress(OSError):
            os.lseek(self._file, 0, os.SEEK_SET)
            os.truncate(self._file, 0)
            os.write(self._file, str(os.getpid()).encode())

    def _lock(self, path: str | os.PathLike[str]) -> None:
        try:
            _take(self._file)
        except OSError as error:
            if error.errno not in _TAKEN:
                return
            os.lseek(self._file, 0, os.SEEK_SET)
            number = os.read(self._file, 20).decode(errors="replace")
            raise ValueError(
                f"{path} is being written by another job (process {number or 'unknown'}): wait until it has ended, or "
                "write another file"
            ) from None

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """May be called again."""
        if self._file < 0:
            return
        if sys.platform == "win32":
            # there, a file that is open cannot be removed; it is another's by now if that fails
            os.close(self._file)
            with suppress(PermissionError):
                self._path.unlink(missing_ok=True)
        else:
            # while it is held, so that nobody's else is removed
            self._path.unlink(missing_ok=True)
            os.close(self._file)
        self._file = -1

    def __enter__(self) -> WriteLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
