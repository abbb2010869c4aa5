"""Stage 2, weight sharing: the weights of a model replaced by trainable codebooks (the paper's section 3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepcompression.codebook import Floats, share_slices
from deepcompression.fit import fit_penalty
from deepcompression.grid import grid_of
from deepcompression.metric import Metric
from deepcompression.ranks import Ranks, digest
from deepcompression.recipe import Recipe, Share
from deepcompression.slices import Bits, Weights, count_bits, spans, unpacked
from deepcompression.targets import Target
from deepcompression.tensor import Array, BitmapTensor, CompressedTensor, DenseTensor, narrow

if TYPE_CHECKING:
    from torch.nn import Module


def share_array(weight: Array, survives: Array, share: Share, seed: int, dtype: str = "F32") -> CompressedTensor:
    """A weight -> codebook, codes and positions.

    weight    floats of any shape
    survives  bool of that shape: what gets a centroid; all else is zero
    dtype     of the tensor, to which the centroids are rounded

    Raises ValueError for survivors that are not finite (as float32, in which centroids are found), and for a grid that
    the dtype cannot hold.
    """
    bits = np.packbits(survives.reshape(-1), bitorder="little")
    return share_weights(Weights.of(weight), weight.shape, bits, share, seed, dtype).compressed()


def share_weights(
    weights: Weights, shape: tuple[int, ...], bits: Bits, share: Share, seed: int, dtype: str = "F32"
) -> BitmapTensor:
    """The same for a bitmap of survivors, in little more memory than bitmap and codes take."""
    if share.codebook_grid is not None:
        grid_of(share.codebook_grid, dtype)

    def slices() -> Iterator[Floats]:
        with np.errstate(over="ignore"):
            for values in weights.surviving(bits):
                yield values.astype(np.float32, copy=False)

    if bad := sum(len(values) - int(np.count_nonzero(np.isfinite(values))) for values in slices()):
        raise ValueError(
            f"it has {bad} weights that are NaN, infinite or beyond float32: it cannot be shared; mend the training"
        )
    if share.penalty is not None:
        return _share_by_penalty(weights, shape, bits, share.penalty, dtype)
    assert share.bits is not None
    codebook, codes = share_slices(slices, count_bits(bits), share.bits, share.init, seed, share.codebook_grid, dtype)
    return BitmapTensor(shape, bits, narrow(codebook, dtype), codes, dtype)


def _share_by_penalty(weights: Weights, shape: tuple[int, ...], bits: Bits, penalty: float, dtype: str) -> BitmapTensor:
    rows = np.zeros((1, 1, weights.size), np.float32)
    for span, values in zip(spans(weights.size), weights.slices(), strict=True):
        # what does not survive may be anything, NaN too
        rows[0, 0, span] = np.where(unpacked(bits, span), values, np.float32(0))
    metric = Metric.diagonal(np.ones((1, 1), np.float32), weights.size)
    return BitmapTensor.of(fit_penalty(rows, metric, penalty).compressed(shape, dtype))


class _Change(NamedTuple):
    target: Target
    shared: CompressedTensor
    grid: str | None


def share(model: Module, recipe: Recipe | str | os.PathLike[str]) -> None:
    """Shares the weights of a model, in place, as its recipe says: the parameters are now the centroids.

    Survivors are the weights under a mask, or those that are not zero where there is none; pruned weights stay zero.
    The parameters change their shape, so that an optimizer must be made anew. Raises ValueError, before anything has
    changed, for a rule that matches nothing, weights that are not finite, a grid that a tensor's dtype cannot hold, a
    tensor that is shared already or parametrized by somebody else, and a model inside of DistributedDataParallel or
    `fully_shard`; with several ranks on all of them, also where they would get different codebooks.
    """
    import torch

    from deepcompression.parametrize import attach_codebook
    from deepcompression.sharded import settle
    from deepcompression.torch_tensor import to_torch

    settle(model)
    ranks = Ranks.of(model)
    for target, shared, grid in ranks.agree(lambda: _changes(model, Recipe.of(recipe)), _digests):
        centroids = to_torch(DenseTensor(shared.dtype, shared.codebook))
        attach_codebook(target, torch.from_numpy(shared.positions), torch.from_numpy(shared.codes), centroids, grid)
    ranks.spare_sending(model)


def _changes(model: Module, recipe: Recipe) -> list[_Change]:
    from deepcompression.parametrizations import Codebook, Mask
    from deepcompression.parametrize import check_replaceable, dense, parametrization
    from deepcompression.torch_tensor import from_torch

    matches = [(target, rule.share) for target, rule in recipe.matches(model) if rule is not None and rule.share]
    if matches:
        check_replaceable(model, [target for target, _ in matches], "share")
    changes: list[_Change] = []
    for target, wanted in matches:
        present = parametrization(target)
        if isinstance(present, Codebook):
            raise ValueError(f"{target.name} is shared already: call finalize first to share it anew")
        weight = from_torch(target.name, dense(target))
        values = weight.numpy()
        survives = present.mask.cpu().numpy() if isinstance(present, Mask) else values != 0
        try:
            shared = share_array(values, survives, wanted, recipe.seed, weight.dtype)
        except ValueError as error:
            raise ValueError(f"{target.name}: {error}") from None
        changes.append(_Change(target, shared, wanted.codebook_grid))
    return changes


def _digests(changes: list[_Change]) -> dict[str, bytes]:
    return {
        target.name: digest(shared.positions.data, shared.codes.data, shared.codebook.data, str(grid).encode())
        for target, shared, grid in changes
    }
