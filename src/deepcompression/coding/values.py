"""The common parts of the coders `fast` and `small`: the choice between codes and values, and the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array, Shape
from deepcompression.tensors.slices import Bits, count_bits, stored_bits
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUES, SHARED = range(2)

_SURVIVORS_PER_CENTROID = 4


class Bitmap(NamedTuple):
    """The elements that survive, element i as bit i % 8 of byte i // 8, and their number."""

    bits: Bits
    survivors: int

    def bits_or_none(self, size: int) -> Bits:
        """The bitmap of `size` elements, or no bits if all survive: the core is faster without."""
        return self.bits if self.survivors < size else np.zeros(0, np.uint8)


def as_stored(tensor: Tensor) -> tuple[Bitmap, Tensor]:
    """The bitmap, and the tensor to store: canonical if it is shared."""
    found = CompressedTensor.from_dense(tensor) if isinstance(tensor, DenseTensor) else tensor.canonical()
    if found is not None:
        return Bitmap(found.bits, len(found.codes)), found
    bits = stored_bits(tensor.dense().elements)
    return Bitmap(bits, count_bits(bits)), tensor


def encode_either(
    tensor: Tensor,
    bitmap: Bitmap,
    values_head: Callable[[], bytes],
    shared_parts: Callable[[CompressedTensor], list[Part]],
) -> Iterator[Part]:
    """The parts of a payload of codes or of values. `values_head` makes the bytes before values, `shared_parts` the
    whole payload of codes.
    """
    if isinstance(tensor, DenseTensor):
        yield values_head()
        yield from _encode_values(tensor, bitmap)
        return
    parts = shared_parts(tensor)
    # a codebook may not pay if few survivors share its values
    if bitmap.survivors < _SURVIVORS_PER_CENTROID * len(tensor.codebook):
        values = [values_head(), *_encode_values(tensor, bitmap)]
        parts = min(parts, values, key=lambda each: sum(memoryview(part).nbytes for part in each))
    yield from parts


def _encode_values(tensor: Tensor, bitmap: Bitmap) -> Iterator[Part]:
    """The elements of the survivors, in byte planes."""
    elements = tensor.dense().elements.reshape(-1)
    dense, bits = elements.view(np.uint8), bitmap.bits_or_none(len(elements))
    for byte in reversed(range(elements.itemsize)):
        yield _core.encode_plane(dense, bits, elements.itemsize, byte, tensor.dtype in WEIGHT_DTYPES).data


def read_kind(cursor: Cursor, dtype: str) -> int:
    """`VALUES` or `SHARED`. Raises FormatError for a dtype that has no codebooks."""
    kind = cursor.u8("kind of content")
    if kind not in (VALUES, SHARED):
        raise FormatError(f"the kind of content at offset {cursor.offset - 1} is 0 or 1; found {kind}")
    if kind == SHARED and dtype not in WEIGHT_DTYPES:
        raise FormatError(f"codebooks are of {', '.join(WEIGHT_DTYPES)}; found {dtype}")
    return kind


class Head(NamedTuple):
    """A payload of either kind, read up to its codes or values."""

    kind: int
    bitmap: Bitmap
    codebook: Array
    parts: dict[str, int]

    def read_values(self, cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[DenseTensor, Account]:
        """The values at their places, zeros elsewhere."""
        start, survivors = cursor.at, self.bitmap.survivors
        elements = np.zeros(math.prod(shape), STORAGE[dtype])
        dense, bits = elements.view(np.uint8), self.bitmap.bits_or_none(len(elements))
        cursor.core(_core.decode_planes, bits, elements.itemsize, dtype in WEIGHT_DTYPES, dense, threads)
        account = Account(self.parts | {"values": cursor.at - start}, survivors, survivors)
        return DenseTensor(dtype, elements.reshape(shape)), account

    def with_codes(self, dtype: str, shape: Shape, codes: NDArray[np.uint8]) -> tuple[CompressedTensor, Account]:
        """The shared tensor of these codes. `parts` are the bytes of all parts."""
        tensor = CompressedTensor.from_bits(shape, self.bitmap.bits, self.codebook, codes, dtype)
        return tensor, Account(self.parts, len(codes), len(codes), len(self.codebook))
