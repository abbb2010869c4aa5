"""The base class of checkpoints: entries, and tensors read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deepcompression.common.binary import FormatError
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import DenseTensor

if TYPE_CHECKING:
    from deepcompression.checkpoint.folder import Folder


class Checkpoint(ABC):
    """A checkpoint open for reading, a context manager; threads may share it.

    path      the path that was opened
    metadata  texts by name
    entries   name -> `TensorEntry`, in the order of their bytes
    graph     of ONNX, the serialized ModelProto without the data of its tensors; else None
    folder    the Hugging Face folder that was opened; None for a file, and for a folder with nothing beside the tensors
    notes     sentences for people about what was read and what was left out
    exact     names of tensors that must stay bit for bit as they are, neither pruned nor shared
    packed    why nothing can be pruned or shared; empty if something can
    """

    path: Path
    metadata: Mapping[str, str]
    entries: Mapping[str, TensorEntry]
    graph: bytes | None = None
    folder: Folder | None = None
    notes: tuple[str, ...] = ()
    exact: frozenset[str] = frozenset()
    packed: str = ""

    @abstractmethod
    def read(self, name: str) -> DenseTensor:
        """Reads the bytes of one tensor alone, into memory of its own. Raises KeyError for an unknown name, FormatError
        if the file has changed since it was opened.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends reading."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_inside(name: str, file: Path) -> Path:
    """The path of a file that `file` names beside itself. Raises FormatError for a path that leaves its folder."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise FormatError(f"{file}: names the file {name!r}, which is not inside of its folder")
    return file.parent / name
