"""Stage 2 on arrays: a weight's survivors replaced by codes of a codebook (the paper's section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from deepcompression.common.messages import those
from deepcompression.common.one_of import one_of
from deepcompression.common.settings import RecipePart
from deepcompression.sharing.codebook import CODEBOOKS, share_values
from deepcompression.sharing.error_cost import Metric
from deepcompression.sharing.fit import exponent_of, fit_penalty, times_power
from deepcompression.tensors.dtypes import Array, Floats, Shape, narrow
from deepcompression.tensors.grid import grid_of
from deepcompression.tensors.slices import Bits, Weights, count_bits, spans, unpacked
from deepcompression.tensors.tensor import CompressedTensor


class Share(RecipePart):
    """A codebook of at most 2^bits centroids, initialised by `init` (linear is the paper's choice), then moved by
    Lloyd's k-means.

    `codebook_grid` keeps the centroids, in training too, on a grid: int8 or int16 digits times one scale.
    `penalty`, in the place of bits, chooses as many centroids as are worth their bytes. It makes the squared error, in
    units of the tensor's mean square, plus the penalty for each bit of entropy-coded codes least; small weights become
    zero.
    """

    bits: int | None = Field(default=None, ge=1, le=8, strict=True)
    penalty: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    init: Annotated[str, AfterValidator(lambda name: one_of("init", name, CODEBOOKS))] = "linear"
    codebook_grid: Literal["int8", "int16"] | None = None

    @model_validator(mode="after")
    def _one_amount(self) -> Share:
        if (self.bits is None) == (self.penalty is None):
            raise ValueError("share takes either bits or a penalty")
        if self.penalty is not None and self.codebook_grid is not None:
            raise ValueError("a penalty chooses the centroids: it does not go with codebook_grid")
        return self


def share_array(weight: Array, survives: Array, share: Share, seed: int, dtype: str = "F32") -> CompressedTensor:
    """A weight -> codebook, codes and positions.

    weight    floats of any shape
    survives  bool of that shape: the weights that get a centroid; the others are zero
    dtype     of the tensor; centroids are rounded to it

    Raises ValueError for survivors that are not finite as float32, and for a grid that the dtype cannot hold.
    """
    bits = np.packbits(survives.reshape(-1), bitorder="little")
    return share_weights(Weights.of(weight), weight.shape, bits, share, seed, dtype)


def share_weights(
    weights: Weights, shape: Shape, bits: Bits, share: Share, seed: int, dtype: str = "F32"
) -> CompressedTensor:
    """`share_array` for a bitmap of survivors, in little more memory than bitmap and codes take."""
    exponent = _exponent(weights, bits)
    if share.codebook_grid is not None:
        grid_of(share.codebook_grid, dtype)
        if exponent and dtype == "F64":
            raise ValueError(
                "its weights are too large or too small for a codebook on a grid, whose scale is a float32: "
                "leave out codebook_grid"
            )
        # in other dtypes a scale times a power of two may be no scale
        exponent = 0

    def slices() -> Iterator[Floats]:
        for values in weights.surviving(bits):
            yield times_power(values, -exponent).astype(np.float32, copy=False)

    if share.penalty is not None:
        return _share_by_penalty(weights, shape, bits, share.penalty, dtype, exponent)
    assert share.bits is not None
    survivors = Weights(count_bits(bits), np.dtype(np.float32), slices)
    codebook, codes = share_values(survivors, share.bits, share.init, seed, share.codebook_grid, dtype)
    return CompressedTensor.from_bits(shape, bits, narrow(times_power(codebook, exponent), dtype), codes, dtype)


def _exponent(weights: Weights, bits: Bits) -> int:
    """The `exponent_of` survivors. Raises ValueError unless all are finite as float32."""
    bad, largest = 0, 0.0
    with np.errstate(over="ignore"):
        for values in weights.surviving(bits):
            bad += len(values) - int(np.count_nonzero(np.isfinite(values.astype(np.float32, copy=False))))
            largest = max(largest, float(np.abs(values).max(initial=0)))
    if bad:
        raise ValueError(
            f"it has {those(bad, 'weight', 'NaN, infinite or beyond float32')}: it cannot be shared; mend the training"
        )
    return exponent_of(largest)


def _share_by_penalty(
    weights: Weights, shape: Shape, bits: Bits, penalty: float, dtype: str, exponent: int
) -> CompressedTensor:
    rows = np.zeros((1, 1, weights.size), np.float32)
    for span, values in zip(spans(weights.size), weights.slices(), strict=True):
        # weights that do not survive may be NaN
        rows[0, 0, span] = times_power(np.where(unpacked(bits, span), values, values.dtype.type(0)), -exponent)
    metric = Metric.diagonal(np.ones((1, 1), np.float32), weights.size)
    return fit_penalty(rows, metric, penalty).compressed(shape, dtype, exponent=exponent)
