"""The relative change of a weight that was pruned or shared, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deepcompression.tensors.dtypes import Array, widen
from deepcompression.tensors.slices import Weights, count_bits, spans
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

# Sums of squares between these are exact enough in their dtype, and far from its limits.
_SQUARES = {"float32": (1e-24, 1e30), "float64": (1e-280, 1e280)}


class Magnitude(NamedTuple):
    """The norm of a weight, and the number of its elements that are not zero."""

    norm: float
    survivors: int

    @classmethod
    def of(cls, weights: Weights) -> Magnitude:
        size, survivors = 0.0, 0
        for values in weights.slices():
            size = math.hypot(size, norm(values))
            survivors += int(np.count_nonzero(values))
        return cls(size, survivors)


def relative_change(before: Magnitude, original: DenseTensor, made: Tensor) -> tuple[float, float]:
    """||w' - w|| / ||w||, and the elements that are not zero as a part of those that were not.

    before    the magnitude of the weight as it was
    original  the weight as it was; one that is only pruned may have become `made` itself

    Both have a dtype of weights, and are finite.
    """
    if isinstance(made, CompressedTensor):
        pairs = zip(Weights.of_tensor(original).slices(), _slices(made), strict=True)
        change = math.hypot(*(norm(was - now) for was, now in pairs)) / before.norm if before.norm else 0.0
        survivors = len(made.codes)
    else:
        # survivors keep their values
        after = Magnitude.of(Weights.of_tensor(made))
        change = math.sqrt(max(0.0, 1 - (after.norm / before.norm) ** 2)) if before.norm else 0.0
        survivors = after.survivors
    return change, min(1.0, survivors / before.survivors) if before.survivors else 1.0


def change_between(before: Array, after: Array) -> float:
    """||after - before|| / ||before||; 0 for a weight without size."""
    size = norm(before)
    return norm(after - before) / size if size else 0.0


def norm(values: Array) -> float:
    """The root of the sum of squares, whatever their size: in double precision, or scaled, where they need it."""
    flat = values.reshape(-1)
    if flat.dtype == np.float16:
        flat = flat.astype(np.float32)
    least, most = _SQUARES[flat.dtype.name]
    with np.errstate(over="ignore", under="ignore"):
        squares = float(np.dot(flat, flat))
    if least < squares < most:
        return math.sqrt(squares)
    largest = float(np.abs(flat).max(initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    # a power of two loses nothing
    scaled = np.ldexp(flat.astype(np.float64), -math.frexp(largest)[1])
    return math.ldexp(math.sqrt(float(np.square(scaled).sum())), math.frexp(largest)[1])


def _slices(tensor: CompressedTensor) -> Iterator[Array]:
    """The flat slices of a shared tensor, as `Weights.slices` makes them."""
    at, whole = 0, len(tensor.codes) == tensor.size
    for span in spans(tensor.size):
        bits = tensor.bits[span.start // 8 : (span.stop + 7) // 8]
        count = span.stop - span.start if whole else count_bits(bits)
        codes = tensor.codes[at : at + count]
        part = CompressedTensor.from_bits((span.stop - span.start,), bits, tensor.codebook, codes, tensor.dtype)
        yield widen(part.dense().elements, tensor.dtype)
        at += count
