"""What every checkpoint gives, whatever its kind: entries, and tensors read one at a time."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from deepcompression.tensor import DenseTensor, size_bytes
from deepcompression.wire import FormatError


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a checkpoint: `dtype` is a name of `tensor.STORAGE`; one that is tied has its elements in common with
    `tied_to`, an earlier one that is not tied.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    tied_to: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor, also of one that is tied."""
        return size_bytes(self.dtype, self.shape)


class Checkpoint(Protocol):
    """A checkpoint open for reading, a context manager; threads may share it.

    path      that was opened
    metadata  texts by name
    entries   name -> `TensorEntry`, in the order of their bytes
    graph     of ONNX, the serialized ModelProto with the data of its tensors taken out; else None
    notes     what a person should know about what was read, and what was not: one sentence each
    """

    @property
    def path(self) -> Path: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def entries(self) -> Mapping[str, TensorEntry]: ...
    @property
    def graph(self) -> bytes | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, name: str) -> DenseTensor:
        """One tensor, with memory of its own; only its bytes are read. Raises KeyError for an unknown name, FormatError
        if the file has changed since it was opened.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Opened(ABC):
    """The context manager that all checkpoints are."""

    graph: bytes | None = None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def close(self) -> None:
        """Nothing can be read any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ByteFile:
    """A file of which threads read ranges, without a common position."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = self.path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> np.ndarray:
        """uint8 (length,), that can be written to. Raises FormatError if the file ends before."""
        data = np.empty(length, np.uint8)
        view = data.data
        done = 0
        # the system gives at most 2 GB at once
        while done < length and (count := self._read_into(view[done:], offset + done)):
            done += count
        if done < length:
            raise FormatError(
                f"{self.path}: {length} bytes at offset {offset} end at {offset + done}: the file is cut off, "
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

    def close(self) -> None:
        self._file.close()


def check_inside(name: str, file: Path) -> Path:
    """The file beside `file` that is named in it. Raises FormatError for a path that leaves its folder."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise FormatError(f"{file}: names the file {name!r}, which is not inside of its folder")
    return file.parent / name


def some(names: Iterable[str], most: int = 8) -> str:
    """Names for a message: the first ones, and how many more."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def raw_bytes(tensor: DenseTensor) -> memoryview:
    """The elements in C order, as files hold them; copied only if they are in another order."""
    return np.ascontiguousarray(tensor.elements).reshape(-1).view(np.uint8).data
