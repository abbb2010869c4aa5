"""One job at a time writes a file: a lock beside it that ends with the process, however that ends."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class WriteLock:
    """Held from its construction until `release`, or the end of a `with` block, as the file `PATH.lock` with the number
    of the process in it. It is a lock of the system, which ends with the process: the file that a killed process leaves
    blocks nobody. On file systems without locks it locks nothing.

    Raises ValueError if another job, in this process or another, writes the same path, FileNotFoundError if there is no
    such folder.
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
            raise ValueError(
                f"{path} is being written by another job (process {self._holder()}): wait until it has ended, or "
                "write another file"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        self._held = True
        # on a full disk, and on Windows, the file does not say who holds it
        with suppress(OSError):
            self._file.write_text(str(os.getpid()))

    def _holder(self) -> str:
        with suppress(OSError):
            return self._file.read_text(errors="replace")[:20] or "unknown"
        return "unknown"

    def release(self) -> None:
        """May be called again."""
        if not self._held:
            return
        self._held = False
        # while it is held, so that the file of no other job is removed; on Windows `release` removes it
        if sys.platform != "win32":
            self._file.unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> WriteLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
