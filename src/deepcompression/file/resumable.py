"""A `.dcz` file written one payload after the other, in any order, and taken up again where it was broken off."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO

from deepcompression.coding.coder import Part
from deepcompression.coding.coders import DEFAULT_PROFILE, Encode
from deepcompression.common.binary import checksum as crc
from deepcompression.common.files import named_if_full
from deepcompression.common.lock import WriteLock
from deepcompression.file.index import Entry, write_head
from deepcompression.file.writer import encode_named
from deepcompression.tensors.tensor import Tensor

_JOURNAL = "journal"
_WHOLE = "whole"
_COPY_BYTES = 1 << 20
# What is worth going on with: the tensors were not to blame.
_RESUMABLE = (OSError, MemoryError, KeyboardInterrupt)


@dataclass(frozen=True)
class Finished:
    """A tensor whose payload is written: its place in the index, the payload's file, and what is to be said of it."""

    entry: Entry
    file: str
    note: str

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Finished:
        fields = json.loads(line)
        entry = fields["entry"]
        return cls(Entry(**entry | {"shape": tuple(entry["shape"])}), fields["file"], fields["note"])


class _Payload:
    """A payload in a file of its own."""

    def __init__(self, path: Path, length: int, checksum: int) -> None:
        self.path, self.length, self.checksum = path, length, checksum

    def __len__(self) -> int:
        return self.length


class FileWriter:
    """Collects payloads in the folder `PATH.partial` and makes the file of them in the end: with `finish` it appears
    whole, and with the bytes that `save_tensors` gives.

    fingerprint  what the payloads depend on, by name: work is only taken up if all is the same
    resume       take up work that was broken off, if there is any

    A context manager. When its block fails for want of memory or disk, or by Ctrl-C, what is finished stays and the
    exception tells so; when it fails otherwise nothing stays. Raises ValueError if there is such work and `resume` is
    not given, or it is of another fingerprint; if another job writes the same file; and OSError.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: Mapping[str, str] | None = None, resume: bool = False
    ) -> None:
        self.path = Path(path)
        # what a link points to is written, and the folder lies beside it
        self._target = self.path.resolve() if self.path.is_symlink() else self.path
        self.folder = self._target.with_name(f"{self._target.name}.partial")
        self.finished: dict[str, Finished] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._stopped = False
        head = json.dumps(dict(fingerprint or {})).encode() + b"\n"
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        self._held = WriteLock(self._target)
        try:
            if self.folder.exists():
                self._take_up(head, resume)
            self.folder.mkdir(exist_ok=True)
            self._begin_journal(head)
        except BaseException:
            self._held.release()
            raise

    def _begin_journal(self, head: bytes) -> None:
        """Written anew: a line that was torn goes. What stood in it before stays until the new one is whole."""
        path = self.folder / _JOURNAL
        begun = path.with_name(f"{_JOURNAL}.new")
        try:
            with named_if_full(path):
                begun.write_bytes(head + b"".join(done.to_line() for done in self.finished.values()))
                begun.replace(path)
                self._journal = path.open("ab")
        except BaseException:
            begun.unlink(missing_ok=True)
            if not self.finished:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _take_up(self, head: bytes, resume: bool) -> None:
        journal = self.folder / _JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []
        before, *done = [line for line in lines if line.endswith(b"\n")] or [b""]
        if done and not resume:
            raise ValueError(
                f"{self.folder} holds {len(done)} finished tensors of work that was broken off: go on with it by "
                f"--resume (resume=True), or remove that folder to begin anew"
            )
        if done and before != head:
            was, now = json.loads(before), json.loads(head)
            other = [key for key in {**was, **now} if was.get(key) != now.get(key)]
            raise ValueError(
                f"{self.folder} cannot be gone on with: it was begun with another {' and another '.join(other)}; "
                "call it as it was begun, or remove that folder to begin anew"
            )
        for line in done:
            finished = Finished.from_line(line)
            if self._is_sound(finished):
                self.finished[finished.entry.name] = finished
        known = {finished.file for finished in self.finished.values()}
        for file in self.folder.iterdir():
            if file.name not in known | {_JOURNAL}:
                file.unlink()
        self._number = 1 + max((int(name) for name in known), default=-1)

    def _is_sound(self, finished: Finished) -> bool:
        """Whether the payload is whole: after a power failure it need not be."""
        try:
            with (self.folder / finished.file).open("rb") as file:
                length, checksum = _copy(file, lambda data: None)
        except FileNotFoundError:
            return False
        return (length, checksum) == (finished.entry.length, finished.entry.checksum)

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
        finished = Finished(entry, payload.path.name, note)
        with self._lock, named_if_full(self.folder / _JOURNAL):
            self._journal.write(finished.to_line())
            self._journal.flush()
            self.finished[name] = finished

    def _keep(self, parts: Iterable[Part], below: int | None) -> _Payload | None:
        with self._lock:
            number, self._number = self._number, self._number + 1
        path = self.folder / str(number)
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
        # within the folder, so that it goes with it, or is made anew, where this process is killed
        whole = self.folder / _WHOLE
        try:
            with named_if_full(self.path):
                self._write_whole(whole, entries, metadata)
            whole.replace(self._target)
        finally:
            whole.unlink(missing_ok=True)
        self._remove()

    def _write_whole(self, path: Path, entries: list[Entry], metadata: Mapping[str, str]) -> None:
        with path.open("wb") as file:
            file.write(write_head(entries, metadata))
            for entry in entries:
                if entry.tied_to is not None:
                    continue
                with (self.folder / self.finished[entry.name].file).open("rb") as payload:
                    if _copy(payload, file.write) != (entry.length, entry.checksum):
                        raise OSError(f"{payload.name} has changed since it was written")
            file.flush()
            os.fsync(file.fileno())

    def _remove(self) -> None:
        self._journal.close()
        shutil.rmtree(self.folder)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._held:
            # of a disk that is full; a line that is torn does not count
            with suppress(OSError):
                self._journal.close()
            if error is None:
                return
            if self.finished and isinstance(error, _RESUMABLE):
                error.add_note(f"{len(self.finished)} finished tensors are kept in {self.folder}: go on with --resume")
            else:
                shutil.rmtree(self.folder, ignore_errors=True)


def _copy(file: IO[bytes], write: Callable[[bytes], object]) -> tuple[int, int]:
    """The number of bytes and their checksum."""
    length = checksum = 0
    while data := file.read(_COPY_BYTES):
        length, checksum = length + len(data), crc(data, checksum)
        write(data)
    return length, checksum
