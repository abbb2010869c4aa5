"""The interface of a coder, and the account of one payload's bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from deepcompression.common.binary import Cursor
from deepcompression.tensors.dtypes import Shape
from deepcompression.tensors.tensor import DenseTensor, Tensor

# A payload is made in parts: a large one need not be in memory as a whole.
Part = bytes | memoryview

# widths of the paper's gap field
GAP_BITS = range(2, 17)


class Account(NamedTuple):
    """Where the bytes of one payload went, and the counts behind the paper's tables 2 and 3.

    `parts` maps each part's name to its bytes, whose sum is the payload's. `entries` are survivors and fillers.
    """

    parts: dict[str, int]
    entries: int = 0
    survivors: int = 0
    centroids: int = 0
    gap_bits: int = 0

    @property
    def fillers(self) -> int:
        return self.entries - self.survivors


class Coder(NamedTuple):
    """A way to store a tensor.

    encode        (tensor, width of the paper's gap field or None for the best) -> the payload's parts, each made when
                  it is taken; None if the coder cannot hold the tensor
    decode        (payload, dtype, shape, threads) -> the tensor as it is stored, dense or shared; raises FormatError
    decode_dense  the same -> the dense tensor, where this costs less than `decode`
    """

    number: int
    encode: Callable[[Tensor, int | None], Iterable[Part] | None]
    decode: Callable[[Cursor, str, Shape, int], tuple[Tensor, Account]]
    decode_dense: Callable[[Cursor, str, Shape, int], DenseTensor] | None = None
