"""A coder: how it is called, and where the bytes of one tensor's payload went."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from deepcompression.common.binary import Cursor
from deepcompression.tensors.tensor import DenseTensor, Tensor

# A payload is made in parts, so that a large one need not be held.
Part = bytes | memoryview


@dataclass(frozen=True)
class Account:
    """Where the bytes of one payload went, and the counts behind the paper's tables 2 and 3.

    `parts` maps a part's name to its bytes; they add up to the payload. `entries` are survivors and fillers together.
    """

    parts: dict[str, int]
    entries: int = 0
    survivors: int = 0
    centroids: int = 0
    gap_bits: int = 0

    @property
    def fillers(self) -> int:
        return self.entries - self.survivors


# (payload, dtype, shape, threads) -> the tensor in the form it is stored in
Decode = Callable[[Cursor, str, tuple[int, ...], int], tuple[Tensor, Account]]


class Coder(NamedTuple):
    """A way to store a tensor. `encode` gives the payload's parts, made as they are taken, or None where it cannot hold
    the tensor; `decode` raises FormatError.

    `decode_dense`, where a coder has one, gives the dense tensor at less cost than `decode`. A coder with `gaps` takes
    the width of its gap field as a second argument of `encode`, None for the best.
    """

    number: int
    encode: Callable[..., Iterable[Part] | None]
    decode: Decode
    decode_dense: Callable[[Cursor, str, tuple[int, ...], int], DenseTensor] | None = None
    gaps: bool = False
