"""A tensor named in a checkpoint or a file, and a tie to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from deepcompression.tensors.dtypes import size_bytes


class Tie(NamedTuple):
    """Stands for a tensor that is the same as an earlier one: a tied weight."""

    to: str


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a checkpoint or a file: `dtype` is a name of `STORAGE`; one that is tied has its elements in common
    with `tied_to`, an earlier one that is not tied.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    tied_to: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor, also of one that is tied."""
        return size_bytes(self.dtype, self.shape)
