"""A `.dcz` file written payload by payload, in any order; an interrupted job can be resumed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from deepcompression.coding.coder import Part
from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import checksum as crc
from deepcompression.common.files import atomic_path, named_if_full
from deepcompression.common.lock import WriteLock
from deepcompression.common.messages import are, counted
from deepcompression.file.effect import WeightChange
from deepcompression.file.index import Entry, write_head
from deepcompression.file.journal import Finished, Journal
from deepcompression.file.names import check_name
from deepcompression.file.work import with_work
from deepcompression.file.writer import encode_named
from deepcompression.tensors.tensor import Tensor

# Errors that no tensor causes: the job is worth resuming.
_RESUMABLE = (OSError, MemoryError, KeyboardInterrupt)


@dataclass(frozen=True)
class _Payload:
    """A payload in a file."""

    length: int
    checksum: int

    def __len__(self) -> int:
        return self.length


class FileWriter:
    """Collects payloads in the folder `PATH.partial`. `finish` makes the file of them: it appears whole, with the bytes
    that `save_tensors` writes.

    fingerprint  all that the payloads depend on, by name: only a job of the same fingerprint is resumed
    resume       continue an interrupted job, if there is one

    A context manager. If memory or disk run out in its block, or on Ctrl-C, finished tensors stay and a note at the
    exception says so. After any other exception nothing stays. Raises ValueError if there is an interrupted job
    without `resume`, or of another fingerprint; if another job writes the same file; and OSError.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: Mapping[str, str] | None = None, resume: bool = False
    ) -> None:
        self.path = Path(path)
        self._stopped = False
        check_name(path)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        # lock and folder lie beside the target of a link
        target = self.path.resolve() if self.path.is_symlink() else self.path
        self._held = WriteLock(target)
        try:
            self._journal = Journal(target.with_name(f"{target.name}.partial"), fingerprint or {}, resume)
        except BaseException:
            self._held.release()
            raise
        self.finished: Mapping[str, Finished] = self._journal.finished

    def write(
        self,
        name: str,
        tensor: Tensor,
        how: Encode | None = None,
        profile: str = DEFAULT_PROFILE,
        note: str = "",
        change: WeightChange | None = None,
    ) -> None:
        """Encodes and keeps a tensor; threads may call it. Raises as `save_tensors` does."""
        path = self._journal.new_path()
        coder, payload = encode_named(partial(self._keep, path), name, tensor, how, profile)
        entry = Entry(
            name, tensor.dtype, tuple(tensor.shape), coder=coder, length=payload.length, checksum=payload.checksum
        )
        self._journal.add(Finished(entry, path.name, note, change))

    def _keep(self, path: Path, parts: Iterable[Part], below: int | None) -> _Payload | None:
        """Writes a payload; when it is whole, it replaces the larger one that was tried before."""
        tried = path.with_suffix(".tried")
        length = checksum = 0
        try:
            with named_if_full(path), tried.open("wb") as file:
                for part in parts:
                    if self._stopped:
                        raise InterruptedError("stopped")
                    length += memoryview(part).nbytes
                    if below is not None and length >= below:
                        return None
                    checksum = crc(part, checksum)
                    file.write(part)
                    del part
            tried.replace(path)
        finally:
            tried.unlink(missing_ok=True)
        return _Payload(length, checksum)

    def stop(self) -> None:
        """Makes `write` end soon, with an InterruptedError, in all threads."""
        self._stopped = True

    def finish(self, order: Mapping[str, str | None], metadata: Mapping[str, str]) -> None:
        """Writes the file: the tensors in this order, each finished, or tied to the finished one named."""
        finished, folder = self.finished, self._journal.folder
        entries = [replace(finished[tied or name].entry, name=name, tied_to=tied) for name, tied in order.items()]
        own = (finished[entry.name] for entry in entries if entry.tied_to is None and entry.coder == "device")
        metadata = with_work(metadata, ((each.entry, (folder / each.file).read_bytes()) for each in own))
        # within the folder: if this process is killed, the next job removes it
        with atomic_path(self.path, folder / "whole") as whole, whole.open("wb") as file:
            file.write(write_head(entries, metadata))
            for entry in entries:
                if entry.tied_to is None and not self._journal.copy(finished[entry.name], file.write):
                    raise OSError(f"{folder / finished[entry.name].file} has changed since it was written")
        self._journal.close()
        self._journal.remove()

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._held:
            self._journal.close()
            if error is None:
                return
            if self.finished and isinstance(error, _RESUMABLE):
                number = len(self.finished)
                kept = f"{counted(number, 'finished tensor')} {are(number)} kept in {self._journal.folder}"
                error.add_note(f"{kept}: continue with --resume (resume=True)")
            else:
                self._journal.remove(ignore_errors=True)
