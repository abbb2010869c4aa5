"""Mask and Codebook, torch parametrizations: pruned weights stay zero, shared weights train through their centroids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepcompression.sharing.grid import LIMITS, Grid, grid_of
from deepcompression.tensors.from_torch import DTYPE_NAMES
from deepcompression.training.sharded import is_sharded, shard_of

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Masked(torch.autograd.Function):
    """The weight's bits times the mask: zeros without a sign, even for NaN. Faster than torch.where on a CPU."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, mask: Tensor) -> Tensor:
        bits = _BITS[weight.element_size()]
        return (weight.contiguous().view(bits) * mask.to(bits)).view(weight.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return _masked(gradient, mask), None


_masked = cast(Callable[[Tensor, Tensor], Tensor], _Masked.apply)


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """The weight with zeros where the mask is False; a sharded weight stays sharded."""
    if not is_sharded(weight):
        return _masked(weight, mask)
    from torch.distributed.tensor import DTensor

    placed = cast(DTensor, weight)
    own = _masked(placed.to_local(), shard_of(mask, weight))
    return DTensor.from_local(own, placed.device_mesh, placed.placements, shape=weight.shape, stride=weight.stride())


class Mask(nn.Module):
    """weight -> weight where the mask is True, zero elsewhere, whatever an optimizer does to the weight underneath.

    mask    bool buffer in the weight's shape
    step    int64 buffer: the step of the pruning schedule
    recipe  int64 buffer: `groups.recipe_digest` of the schedule's recipe
    """

    mask: Tensor
    step: Tensor
    recipe: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=mask.device))
        self.register_buffer("recipe", torch.zeros((), dtype=torch.int64, device=mask.device))

    @property
    def weight_shape(self) -> torch.Size:
        return self.mask.shape

    def forward(self, weight: Tensor) -> Tensor:
        return masked(weight, self.mask)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class _Rounded(torch.autograd.Function):
    """`grid.to_grid` bit for bit, on any device; the gradient passes unchanged (the straight-through estimator)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(centroids: Tensor, grid: Grid) -> Tensor:
        values = centroids.float().double()
        sizes = values.abs()
        largest = sizes.amax()
        scale = (largest / grid.limit).clamp(max=grid.largest_scale)
        scale = (scale / grid.least_scale).ceil().clamp(min=1) * grid.least_scale
        scale = ((scale.view(torch.int64) + grid.excess) & ~grid.excess).view(torch.float64)
        digits = torch.where(sizes == largest, (sizes / scale).ceil(), (sizes / scale).round()).clamp(max=grid.limit)
        rounded = torch.where(digits > 0, (digits * scale).copysign(values), 0.0)
        return torch.where(largest.isfinite(), rounded.to(centroids.dtype), centroids)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Grid], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


_rounded = cast(Callable[[Tensor, Grid], Tensor], _Rounded.apply)


class Codebook(nn.Module):
    """centroids -> the dense weight. By autograd, a centroid's gradient is the sum over its weights (the paper's
    equation 3).

    positions  int64 buffer (survivors,): ascending indices in the flat weight
    codes      uint8 buffer (survivors,): the centroid of each survivor
    shape      of the weight; every other element is zero
    grid       the grid to which each forward rounds the centroids, while the parameter moves freely; None for none. A
               buffer of that name, with the grid's largest digit, stores it in checkpoints
    """

    positions: Tensor
    codes: Tensor
    grid: str | None = None

    def __init__(
        self, shape: Iterable[int], positions: Tensor, codes: Tensor, centroids: int, grid: str | None = None
    ) -> None:
        super().__init__()
        self.shape = torch.Size(shape)
        self.centroids = centroids
        self.grid = grid
        self.register_buffer("positions", positions)
        self.register_buffer("codes", codes)
        if grid is not None:
            self.register_buffer(grid, torch.tensor(LIMITS[grid], device=codes.device))

    @property
    def weight_shape(self) -> torch.Size:
        return self.shape

    def on_grid(self, centroids: Tensor) -> Tensor:
        """The centroids that the model computes with. Raises ValueError for a dtype that cannot hold the grid."""
        if self.grid is None or not len(centroids):
            return centroids
        return _rounded(centroids, grid_of(self.grid, DTYPE_NAMES[centroids.dtype]))

    def forward(self, centroids: Tensor) -> Tensor:
        survivors = self.on_grid(centroids).index_select(0, self.codes.int())
        flat = survivors.new_zeros(self.shape.numel())
        return flat.index_copy(0, self.positions, survivors).view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The centroids nearest to an assigned weight: the mean of each cluster."""
        survivors = weight.reshape(-1)[self.positions].double()
        sums = survivors.new_zeros(self.centroids).index_add(0, self.codes.int(), survivors)
        counts = torch.bincount(self.codes.int(), minlength=self.centroids)
        return (sums / counts).to(weight.dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.shape)}, {len(self.positions)} survivors, {self.centroids} centroids" + (
            f", {self.grid} grid" if self.grid else ""
        )
