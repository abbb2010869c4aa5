"""A `.dcz` file written one payload after the other, in any order; an interrupted job can be resumed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from deepcompression.coding.coder import Part
from deepcompression.coding.coders import DEFAULT_PROFILE, Encode
from deepcompression.common.binary import checksum as crc
from deepcompression.common.files import named_if_full
from deepcompression.common.lock import WriteLock
from deepcompression.file.index import Entry, write_head
from deepcompression.file.journal import Finished, Journal
from deepcompression.file.writer import encode_named
from deepcompression.tensors.tensor import Tensor

_WHOLE = "whole"
# Errors that no tensor causes: the job is worth resuming.
_RESUMABLE = (OSError, MemoryError, KeyboardInterrupt)


@dataclass(frozen=True)
class _Payload:
    """A payload in a file of its own."""

    path: Path
    length: int
    checksum: int

    def __len__(self) -> int:
        return self.length


class FileWriter:
    """Collects payloads in the folder `PATH.partial`. `finish` makes the file of them: it appears whole, with the bytes
    that `save_tensors` gives.

    fingerprint  what the payloads depend on, by name: only a job of the same fingerprint is resumed
    resume       continue an interrupted job, if there is one

    A context manager. If memory or disk run out in its block, or on Ctrl-C, finished tensors stay and a note at the
    exception says so. After any other exception nothing stays. Raises ValueError if there is an interrupted job and
    `resume` is not given, or the job has another fingerprint; if another job writes the same file; and OSError.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: Mapping[str, str] | None = None, resume: bool = False
    ) -> None:
        self.path = Path(path)
        # a link's target is written, and the folder lies beside it
        self._target = self.path.resolve() if self.path.is_symlink() else self.path
        self._stopped = False
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._held = WriteLock(self._target)
        try:
            self._journal = Journal(self._target.with_name(f"{self._target.name}.partial"), fingerprint or {}, resume)
        except BaseException:
            self._held.release()
            raise
        self.finished: Mapping[str, Finished] = self._journal.finished

    def write(
        self, name: str, tensor: Tensor, how: Encode | None = None, profile: str = DEFAULT_PROFILE, note: str = ""
    ) -> None:
        """Encodes and keeps a tensor, as `save_tensors` does; threads may call it. Raises as that does."""
        tried: list[_Payload] = []

        def keep(parts: Iterable[Part], below: int | None) -> _Payload | None:
            payload = self._keep(parts, below)
            if payload is not None:
                tried.append(payload)
            return payload

        coder, payload = encode_named(keep, name, tensor, how, profile)
        for other in tried:
            if other is not payload:
                other.path.unlink()
        entry = Entry(
            name, tensor.dtype, tuple(tensor.shape), coder=coder, length=payload.length, checksum=payload.checksum
        )
        self._journal.add(Finished(entry, payload.path.name, note))

    def _keep(self, parts: Iterable[Part], below: int | None) -> _Payload | None:
        path = self._journal.new_path()
        length = checksum = 0
        try:
            with named_if_full(path), path.open("wb") as file:
                for part in parts:
                    if self._stopped:
                        raise InterruptedError("stopped")
                    length += memoryview(part).nbytes
                    if below is not None and length >= below:
                        path.unlink()
                        return None
                    checksum = crc(part, checksum)
                    file.write(part)
                    del part
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return _Payload(path, length, checksum)

    def stop(self) -> None:
        """Makes `write` end soon, with an InterruptedError, in whatever thread it runs."""
        self._stopped = True

    def finish(self, order: Mapping[str, str | None], metadata: Mapping[str, str]) -> None:
        """Writes the file: the tensors in this order, each finished, or tied to the one named."""
        entries = []
        for name, tied_to in order.items():
            own = self.finished[tied_to or name].entry
            entries.append(own if tied_to is None else replace(own, name=name, tied_to=tied_to))
        # within the folder: if this process is killed, the next job removes it
        whole = self._journal.folder / _WHOLE
        try:
            with named_if_full(self.path):
                self._write_whole(whole, entries, metadata)
            whole.replace(self._target)
        finally:
            whole.unlink(missing_ok=True)
        self._journal.close()
        self._journal.remove()

    def _write_whole(self, path: Path, entries: list[Entry], metadata: Mapping[str, str]) -> None:
        with path.open("wb") as file:
            file.write(write_head(entries, metadata))
            for entry in entries:
                if entry.tied_to is None and not self._journal.copy(self.finished[entry.name], file.write):
                    payload = self._journal.folder / self.finished[entry.name].file
                    raise OSError(f"{payload} has changed since it was written")
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            self._journal.close()
            if error is None:
                return
            if self.finished and isinstance(error, _RESUMABLE):
                kept = f"{len(self.finished)} finished tensors are kept in {self._journal.folder}"
                error.add_note(f"{kept}: continue with --resume")
            else:
                self._journal.remove(ignore_errors=True)
