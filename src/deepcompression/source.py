"""What compression needs of a checkpoint: its tensors by name, each read alone when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

from deepcompression.tensor import DenseTensor


class SourceEntry(Protocol):
    """A tensor of a checkpoint. One that is `tied_to` another, an earlier one of its own, is the same tensor."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def tied_to(self) -> str | None: ...
    @property
    def nbytes(self) -> int: ...


class Source(Protocol):
    """A checkpoint open for reading.

    entries  by name, in the order in which they are stored
    read     reads only that tensor's bytes, into memory of its own; threads may call it
    graph    of an ONNX model: what it holds besides its tensors
    """

    @property
    def path(self) -> str | os.PathLike[str]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def entries(self) -> Mapping[str, SourceEntry]: ...
    @property
    def graph(self) -> bytes | None: ...

    def read(self, name: str) -> DenseTensor: ...
