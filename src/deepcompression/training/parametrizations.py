"""Mask and Codebook, torch parametrizations: pruned weights stay zero, shared weights train through their centroids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepcompression.tensors.from_torch import DTYPE_NAMES
from deepcompression.tensors.grid import LIMITS, Grid, grid_of
from deepcompression.training.computed_weight import computed, is_recorded
from deepcompression.training.sharded import is_sharded, shard_of

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Masked(torch.autograd.Function):
    """The weight's bits times the mask: zeros without a sign, even for NaN. Faster than torch.where on a CPU."""

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, mask: Tensor) -> Tensor:
        bits = _BITS[weight.element_size()]
        # detached, it is no view: layers with max_norm may write into it
        return (weight.contiguous().view(bits) * mask.to(bits)).view(weight.dtype).detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        if gradient.layout != torch.sparse_coo:
            return _masked(_strided(gradient), mask), None
        # of an embedding with sparse=True: optimizers for sparse gradients need it to stay sparse
        rows = gradient.coalesce()
        values = _masked(rows.values(), mask[tuple(rows.indices())])
        return torch.sparse_coo_tensor(
            rows.indices(), values, rows.shape, check_invariants=False, is_coalesced=True
        ), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (mask,) = ctx.saved_tensors
        return _masked(tangent, mask)


_masked = cast(Callable[[Tensor, Tensor], Tensor], _Masked.apply)


class _WithStridedGradient(torch.autograd.Function):
    """The same tensor; its gradient, which may be sparse, in the ordinary layout."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return tensor.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _strided(gradient)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)


_with_strided_gradient = cast(Callable[[Tensor], Tensor], _WithStridedGradient.apply)


def _strided(gradient: Tensor) -> Tensor:
    return gradient if gradient.layout == torch.strided else gradient.to_dense()


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """The weight with zeros where the mask is False; a sharded weight stays sharded."""
    if not is_sharded(weight):
        # a graph of torch's own functions can be compiled, exported and traced
        return torch.where(mask, weight, weight.new_zeros(())) if is_recorded() else _masked(weight, mask)
    from torch.distributed.tensor import DTensor

    placed = cast(DTensor, weight)
    own = masked(placed.to_local(), shard_of(mask, weight))
    return DTensor.from_local(own, placed.device_mesh, placed.placements, shape=weight.shape, stride=weight.stride())


class Mask(nn.Module):
    """weight -> weight where the mask is True, zero elsewhere, whatever an optimizer does to the weight underneath.

    mask    bool buffer in the weight's shape
    step    int64 buffer: the step of the pruning schedule
    recipe  int64 buffer: `groups.recipe_digest` of the schedule's recipe
    name    of the weight, for messages
    """

    mask: Tensor
    step: Tensor
    recipe: Tensor
    name: str = "a tensor"

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=mask.device))
        self.register_buffer("recipe", torch.zeros((), dtype=torch.int64, device=mask.device))

    @property
    def weight_shape(self) -> torch.Size:
        return self.mask.shape

    def weight(self, original: Tensor) -> Tensor:
        """The weight from the parameter under the mask, as an ordinary tensor."""
        return masked(original, self.mask)

    def forward(self, original: Tensor) -> Tensor:
        return computed(self.weight(original), f"the mask of {self.name}")

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def _rounded(centroids: Tensor, grid: Grid) -> Tensor:
    """`grid.to_grid` bit for bit, on any device; the gradient passes unchanged (the straight-through estimator)."""
    exact = centroids.detach()
    values = exact.float().double()
    sizes = values.abs()
    # of one dimension: exporters to ONNX make float32 of a scalar
    largest = sizes.amax(0, keepdim=True)
    scale = (largest / grid.limit).clamp(max=grid.largest_scale)
    scale = _to_bits((scale / grid.least_scale).ceil().clamp(min=1) * grid.least_scale, grid.scale_bits)
    digits = torch.where(sizes == largest, (sizes / scale).ceil(), (sizes / scale).round()).clamp(max=grid.limit)
    # adding 0 makes a zero positive
    rounded = (digits * scale * values.sign() + 0.0).to(exact.dtype)
    return torch.where(largest.isfinite(), rounded + (centroids - exact), centroids)


def _to_bits(scale: Tensor, bits: int) -> Tensor:
    """The least float64 of at most so many significant bits that is not below the scale."""

    def nearest(value: Tensor) -> Tensor:
        # Dekker's splitting: exact, and without reading a float's bits, which exported graphs cannot
        spread = value * (2.0 ** (53 - bits) + 1)
        return spread - (spread - value)

    found = nearest(scale)
    # between half a step and a whole one is added: the nearest is then the next
    return torch.where(found < scale, nearest(scale * (1 + 2.0**-bits)), found)


class Codebook(nn.Module):
    """centroids -> the dense weight. By autograd, a centroid's gradient is the sum over its weights (the paper's
    equation 3).

    positions  int64 buffer (survivors,): ascending indices in the flat weight
    codes      uint8 buffer (survivors,): the centroid of each survivor
    size       int64 buffer (dimensions,): the weight's shape; every element without a code is zero
    grid       the grid to which each forward rounds the centroids, while the parameter moves freely; None for none. A
               buffer of that name, with the grid's largest digit, stores it in checkpoints
    name       of the weight, for messages
    """

    positions: Tensor
    codes: Tensor
    size: Tensor
    grid: str | None = None
    name: str = "a tensor"

    def __init__(
        self, shape: Iterable[int], positions: Tensor, codes: Tensor, centroids: int, grid: str | None = None
    ) -> None:
        super().__init__()
        self.shape = torch.Size(shape)
        self.centroids = centroids
        self.grid = grid
        self.register_buffer("positions", positions)
        self.register_buffer("codes", codes)
        self.register_buffer("size", torch.tensor(self.shape, dtype=torch.int64, device=codes.device))
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

    def weight(self, centroids: Tensor) -> Tensor:
        """The dense weight, as an ordinary tensor."""
        survivors = self.on_grid(centroids).index_select(0, self.codes.int())
        flat = survivors.new_zeros(self.shape.numel())
        dense = flat.index_copy(0, self.positions, survivors).view(self.shape)
        return dense if is_recorded() else _with_strided_gradient(dense)

    def forward(self, centroids: Tensor) -> Tensor:
        return computed(self.weight(centroids), f"the codebook of {self.name}")

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The centroids nearest to an assigned weight: the mean of each cluster."""
        survivors = weight.reshape(-1)[self.positions].double()
        sums = survivors.new_zeros(self.centroids).index_add(0, self.codes.int(), survivors)
        counts = torch.bincount(self.codes.int(), minlength=self.centroids)
        return (sums / counts).to(weight.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if f"{prefix}codes" in state_dict:
            # an older version stored no size
            state_dict.setdefault(f"{prefix}size", self.size)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{tuple(self.shape)}, {len(self.positions)} survivors, {self.centroids} centroids" + (
            f", {self.grid} grid" if self.grid else ""
        )
