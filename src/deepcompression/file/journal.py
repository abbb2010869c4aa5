"""The folder of an unfinished job: payloads, and a journal of the finished tensors."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from pydantic import TypeAdapter

from deepcompression.common.binary import checksum as crc
from deepcompression.common.files import named_if_full
from deepcompression.common.messages import counted
from deepcompression.file.effect import WeightChange
from deepcompression.file.index import Entry

_JOURNAL = "journal"
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Finished:
    """A tensor whose payload is written: its entry, the file of the payload, a note for the user, and the change of a
    weight that was pruned or shared.
    """

    entry: Entry
    file: str
    note: str
    change: WeightChange | None = None

    def to_line(self) -> bytes:
        return _FINISHED.dump_json(self) + b"\n"


_FINISHED = TypeAdapter(Finished)


class Journal:
    """Payloads in numbered files of a folder, with a line for each whole one; threads may share a `Journal`.

    finished  the tensors of these lines, by name

    Raises ValueError if the folder holds finished tensors without `resume`, or under another fingerprint; and OSError.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, str], resume: bool) -> None:
        self.folder = folder
        self.finished: dict[str, Finished] = {}
        self._lock = threading.Lock()
        self._numbers = count()
        head = json.dumps(dict(fingerprint)).encode() + b"\n"
        if folder.exists():
            self._read(head, resume)
        folder.mkdir(exist_ok=True)
        self._begin(head)

    def _read(self, head: bytes, resume: bool) -> None:
        """Keeps the payloads that are whole, and removes all other files."""
        journal = self.folder / _JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []
        before, *done = [line for line in lines if line.endswith(b"\n")] or [b""]
        if done and not resume:
            raise ValueError(
                f"{self.folder} holds {counted(len(done), 'finished tensor')} of an interrupted job: continue it "
                "with --resume (resume=True), or remove that folder to start again"
            )
        if done and before != head:
            was, now = json.loads(before), json.loads(head)
            other = [key for key in {**was, **now} if was.get(key) != now.get(key)]
            raise ValueError(
                f"{self.folder} cannot be resumed: that job has another {' and another '.join(other)}; "
                "give what it was started with, or remove that folder to start again"
            )
        for line in done:
            finished = _FINISHED.validate_json(line)
            if self._is_whole(finished):
                self.finished[finished.entry.name] = finished
        known = {finished.file for finished in self.finished.values()}
        for file in self.folder.iterdir():
            if file.name not in known | {_JOURNAL}:
                file.unlink()
        self._numbers = count(1 + max((int(name) for name in known), default=-1))

    def _is_whole(self, finished: Finished) -> bool:
        """False for a payload that is missing or damaged, as after a power failure."""
        try:
            return self.copy(finished, lambda data: None)
        except FileNotFoundError:
            return False

    def _begin(self, head: bytes) -> None:
        """Writes a new journal, without torn lines; it replaces the old one when it is whole."""
        path = self.folder / _JOURNAL
        new = path.with_name(f"{_JOURNAL}.new")
        try:
            with named_if_full(path):
                new.write_bytes(head + b"".join(done.to_line() for done in self.finished.values()))
                new.replace(path)
                self._file = path.open("ab")
        except BaseException:
            new.unlink(missing_ok=True)
            if not self.finished:
                self.remove(ignore_errors=True)
            raise

    def new_path(self) -> Path:
        """The path of the next payload."""
        return self.folder / str(next(self._numbers))

    def add(self, finished: Finished) -> None:
        with self._lock, named_if_full(self.folder / _JOURNAL):
            self._file.write(finished.to_line())
            self._file.flush()
            self.finished[finished.entry.name] = finished

    def copy(self, finished: Finished, write: Callable[[bytes], object]) -> bool:
        """Passes the payload to `write`, part by part; False if it has changed since it was written."""
        length = checksum = 0
        with (self.folder / finished.file).open("rb") as file:
            while data := file.read(_COPY_BYTES):
                length, checksum = length + len(data), crc(data, checksum)
                write(data)
        return (length, checksum) == (finished.entry.length, finished.entry.checksum)

    def close(self) -> None:
        # on a full disk a line may be torn, which does not count
        with suppress(OSError):
            self._file.close()

    def remove(self, ignore_errors: bool = False) -> None:
        shutil.rmtree(self.folder, ignore_errors)
