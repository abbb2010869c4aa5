"""The protocol of checkpoints: entries, and tensors read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from deepcompression.common.binary import FormatError
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor


class Checkpoint(Protocol):
    """A checkpoint open for reading, a context manager; threads may share it.

    path      that was opened
    metadata  texts by name
    entries   name -> `TensorEntry`, in the order of their bytes
    graph     of ONNX, the serialized ModelProto with the data of its tensors taken out; else None
    notes     what a person should know about what was read, and what was not: one sentence each
    exact     names of tensors that must stay bit for bit as they are, neither pruned nor shared
    packed    why nothing can be pruned or shared; empty if something can
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
    @property
    def exact(self) -> frozenset[str]: ...
    @property
    def packed(self) -> str: ...

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
    """A context manager with the parts that most checkpoints leave empty."""

    graph: bytes | None = None
    notes: tuple[str, ...] = ()
    exact: frozenset[str] = frozenset()
    packed: str = ""

    @abstractmethod
    def close(self) -> None:
        """Nothing can be read any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_inside(name: str, file: Path) -> Path:
    """The file beside `file` that is named in it. Raises FormatError for a path that leaves its folder."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise FormatError(f"{file}: names the file {name!r}, which is not inside of its folder")
    return file.parent / name
