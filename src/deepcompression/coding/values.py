"""The parts that the coders `fast` and `small` share: the choice between codes and values, and the values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.common.binary import Cursor, FormatError
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array
from deepcompression.tensors.slices import Bits, count_bits, stored_bits
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

VALUES, SHARED = range(2)

_SURVIVORS_PER_CENTROID = 4


class Bitmap(NamedTuple):
    """Which elements survive, element i as bit i % 8 of byte i // 8, and how many."""

    bits: Bits
    survivors: int


def as_stored(tensor: Tensor) -> tuple[Bitmap, Tensor]:
    """The bitmap, and the tensor as it is best stored: canonical if it is shared."""
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
    """A payload of codes or of values. `values_head` makes what stands before values, `shared_parts` all of the other
    kind.
    """
    if isinstance(tensor, DenseTensor):
        yield values_head()
        yield from _encode_values(tensor, bitmap)
        return
    parts = shared_parts(tensor)
    # where most survivors have a value of their own, a codebook need not pay
    if bitmap.survivors < _SURVIVORS_PER_CENTROID * len(tensor.codebook):
        values = [values_head(), *_encode_values(tensor, bitmap)]
        parts = min(parts, values, key=lambda each: sum(memoryview(part).nbytes for part in each))
    yield from parts


def _encode_values(tensor: Tensor, bitmap: Bitmap) -> Iterator[Part]:
    """The elements of the survivors, byte plane by byte plane."""
    elements = tensor.dense().elements.reshape(-1)
    dense, bits = elements.view(np.uint8), bits_or_none(bitmap, len(elements))
    for byte in reversed(range(elements.itemsize)):
        yield _core.encode_plane(dense, bits, elements.itemsize, byte, tensor.dtype in WEIGHT_DTYPES).data


class Head(NamedTuple):
    """A payload of either kind as it was read up to its codes or values."""

    kind: int
    bitmap: Bitmap
    codebook: Array
    parts: dict[str, int]


def read_kind(cursor: Cursor) -> int:
    """`VALUES` or `SHARED`."""
    kind = cursor.u8("kind of content")
    if kind not in (VALUES, SHARED):
        raise FormatError(f"the kind of content at offset {cursor.offset - 1} is 0 or 1; found {kind}")
    return kind


def check_holds_codes(dtype: str) -> None:
    """Raises FormatError for a dtype that has no codebooks."""
    if dtype not in WEIGHT_DTYPES:
        raise FormatError(f"codebooks are of {', '.join(WEIGHT_DTYPES)}; found {dtype}")


def decode_values(
    cursor: Cursor, dtype: str, shape: tuple[int, ...], head: Head, threads: int
) -> tuple[DenseTensor, Account]:
    """The values at their places, zeros elsewhere."""
    start, survivors = cursor.at, head.bitmap.survivors
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    dense, bits = elements.view(np.uint8), bits_or_none(head.bitmap, len(elements))
    cursor.core(_core.decode_planes, bits, elements.itemsize, dtype in WEIGHT_DTYPES, dense, threads)
    account = Account(head.parts | {"values": cursor.at - start}, survivors, survivors)
    return DenseTensor(dtype, elements.reshape(shape)), account


def with_codes(
    dtype: str, shape: tuple[int, ...], head: Head, codes: NDArray[np.uint8], parts: dict[str, int]
) -> tuple[CompressedTensor, Account]:
    """The shared tensor of these codes; `parts` are the bytes of all parts."""
    tensor = CompressedTensor.from_bits(shape, head.bitmap.bits, head.codebook, codes, dtype)
    return tensor, Account(parts, len(codes), len(codes), len(head.codebook))


def bits_or_none(bitmap: Bitmap, size: int) -> Bits:
    """No bits where all elements survive: the core takes that so, and is faster."""
    return bitmap.bits if bitmap.survivors < size else np.zeros(0, np.uint8)
