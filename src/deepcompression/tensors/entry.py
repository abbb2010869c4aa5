"""Names of tensors in a checkpoint or a file, and ties between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from deepcompression.tensors.dtypes import Shape, size_bytes


class Tie(NamedTuple):
    """A tied weight, in the place of a tensor: the same as the earlier tensor named `to`."""

    to: str


@dataclass(frozen=True)
class TensorEntry:
    """A tensor of a checkpoint or a file; `dtype` is a name of `STORAGE`. A tied one shares the elements of `tied_to`,
    an earlier tensor that is not tied. `elementwise` says whether it scales or shifts others, where the checkpoint
    knows.
    """

    name: str
    dtype: str
    shape: Shape
    tied_to: str | None = None
    elementwise: bool | None = field(default=None, compare=False)

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor, even of a tied one."""
        return size_bytes(self.dtype, self.shape)
