"""The relative change of a weight that was pruned or shared, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from deepcompression.tensors.dtypes import Array, widen
from deepcompression.tensors.slices import Weights, count_bits, spans
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

# Sums of squares between these are exact enough in float32, and far from its limits.
_LEAST_SQUARES, _MOST_SQUARES = 1e-24, 1e30


class Magnitude(NamedTuple):
    """The sum of squares of a weight, and the number of its elements that are not zero."""

    squares: float
    survivors: int

    @classmethod
    def of(cls, weights: Weights) -> Magnitude:
        squares, survivors = 0.0, 0
        for values in weights.slices():
            squares += sum_of_squares(values)
            survivors += int(np.count_nonzero(values))
        return cls(squares, survivors)


def relative_change(before: Magnitude, original: DenseTensor, made: Tensor) -> tuple[float, float]:
    """||w' - w|| / ||w||, and the elements that are not zero as a part of those that were not.

    before    the magnitude of the weight as it was
    original  the weight as it was; one that is only pruned may have become `made` itself

    Both have a dtype of weights, and are finite.
    """
    if isinstance(made, CompressedTensor):
        pairs = zip(Weights.of_tensor(original).slices(), _slices(made), strict=True)
        error = sum(sum_of_squares(was - now) for was, now in pairs)
        survivors = len(made.codes)
    else:
        # survivors keep their values
        after = Magnitude.of(Weights.of_tensor(made))
        error, survivors = max(0.0, before.squares - after.squares), after.survivors
    change = math.sqrt(error / before.squares) if before.squares else 0.0
    return change, min(1.0, survivors / before.survivors) if before.survivors else 1.0


def change_between(before: Array, after: Array) -> float:
    """||after - before|| / ||before||; 0 for a weight without size."""
    size = sum_of_squares(before)
    return math.sqrt(sum_of_squares(after - before) / size) if size else 0.0


def sum_of_squares(values: Array) -> float:
    """In double precision where float32 has not the range for it."""
    flat = values.reshape(-1)
    if flat.dtype == np.float16:
        flat = flat.astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        found = float(np.dot(flat, flat))
    if flat.dtype == np.float32 and not _LEAST_SQUARES < found < _MOST_SQUARES:
        found = float(np.square(flat, dtype=np.float64).sum())
    return found


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
