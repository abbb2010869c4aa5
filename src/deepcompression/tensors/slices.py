"""Weights and bitmaps in slices, for tensors that are too large to copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression.tensors.dtypes import Array, nonzero_bits, widen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcompression.tensors.tensor import DenseTensor

Bits = np.ndarray[Any, np.dtype[np.uint8]]

# elements of a slice; a multiple of 8: its bits begin at a byte
SLICE = 1 << 20


def spans(size: int) -> Iterator[slice]:
    """The slices of `size` elements, in order."""
    for start in range(0, size, SLICE):
        yield slice(start, min(start + SLICE, size))


class Weights(NamedTuple):
    """The weights of one tensor: each call of `slices` makes its flat slices of floats again, in `dtype`."""

    size: int
    dtype: np.dtype[np.floating]
    slices: Callable[[], Iterator[Array]]

    @classmethod
    def of(cls, array: Array) -> Weights:
        """Floats of any shape."""
        flat = array.reshape(-1)
        return cls(flat.size, flat.dtype, lambda: (flat[span] for span in spans(flat.size)))

    @classmethod
    def of_tensor(cls, tensor: DenseTensor) -> Weights:
        """A tensor of a weight dtype."""
        flat, dtype = tensor.elements.reshape(-1), tensor.dtype
        kind = widen(flat[:0], dtype).dtype
        return cls(flat.size, kind, lambda: (widen(flat[span], dtype) for span in spans(flat.size)))

    def surviving(self, bits: Bits) -> Iterator[Array]:
        """The survivors of each slice; `bits` is their bitmap."""
        for span, values in zip(spans(self.size), self.slices(), strict=True):
            survives = unpacked(bits, span)
            yield values if survives.all() else values[survives]

    def not_finite(self) -> int:
        """The number of weights that are infinite or NaN."""
        return sum(len(values) - int(np.count_nonzero(np.isfinite(values))) for values in self.slices())


def unpacked(bits: Bits, span: slice) -> NDArray[np.bool_]:
    """The bits of a slice, as bools."""
    part = bits[span.start // 8 : (span.stop + 7) // 8]
    return np.unpackbits(part, count=span.stop - span.start, bitorder="little").view(np.bool_)


def packed(masks: Iterable[NDArray[np.bool_]], size: int) -> Bits:
    """The bitmap of `size` bools, which come in slices."""
    bits = np.zeros((size + 7) // 8, np.uint8)
    for span, mask in zip(spans(size), masks, strict=True):
        bits[span.start // 8 : (span.stop + 7) // 8] = np.packbits(mask, bitorder="little")
    return bits


def count_bits(bits: Bits) -> int:
    """The number of bits that are set."""
    return sum(int(np.count_nonzero(np.unpackbits(bits[span]))) for span in spans(len(bits)))


def stored_bits(elements: Array) -> Bits:
    """The bitmap of the elements with any bit set."""
    flat = elements.reshape(-1)
    return packed((nonzero_bits(flat[span]) for span in spans(flat.size)), flat.size)
