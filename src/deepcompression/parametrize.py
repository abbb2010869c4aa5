"""Masks and codebooks as torch parametrizations: pruned weights stay zero, shared weights are trained through their
centroids.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deepcompression.grid import LIMITS, Grid, grid_of
from deepcompression.targets import PARAMETER_ORDER, Target, pruned_by_torch

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Masked(torch.autograd.Function):
    """The weight's bits times the mask: zero, without a sign, even for what is infinite or NaN. Faster on a CPU than
    torch.where.
    """

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


class Mask(nn.Module):
    """weight -> weight where the mask is True, zero elsewhere, whatever an optimizer does to the weight underneath.

    mask   bool buffer in the weight's shape
    step   int64 buffer: how far the pruning schedule has come
    """

    mask: Tensor
    step: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, weight: Tensor) -> Tensor:
        return _masked(weight, self.mask)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class _Rounded(torch.autograd.Function):
    """`grid.to_grid`, bit for bit, on any device; the gradient passes unchanged (the straight-through estimator)."""

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

_NAMES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class Codebook(nn.Module):
    """centroids -> the dense weight; a centroid's gradient is the sum over its weights (the paper's equation 3), by
    autograd.

    positions  int64 buffer (survivors,): ascending indices in the flat weight
    codes      uint8 buffer (survivors,): the centroid of each survivor
    shape      of the weight; every other element is zero
    grid       to which the centroids are rounded in each forward, while the parameter moves freely; None for none. A
               buffer of that name, which holds the grid's largest digit, tells it to checkpoints
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

    def on_grid(self, centroids: Tensor) -> Tensor:
        """The centroids that the model computes with. Raises ValueError for a dtype that cannot hold the grid."""
        if self.grid is None or not len(centroids):
            return centroids
        return _rounded(centroids, grid_of(self.grid, _NAMES[centroids.dtype]))

    def forward(self, centroids: Tensor) -> Tensor:
        survivors = self.on_grid(centroids).index_select(0, self.codes.int())
        flat = survivors.new_zeros(self.shape.numel())
        return flat.index_copy(0, self.positions, survivors).view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The centroids nearest to a weight that is assigned: the mean of each cluster."""
        survivors = weight.reshape(-1)[self.positions].double()
        sums = survivors.new_zeros(self.centroids).index_add(0, self.codes.int(), survivors)
        counts = torch.bincount(self.codes.int(), minlength=self.centroids)
        return (sums / counts).to(weight.dtype)

    def extra_repr(self) -> str:
        return f"{tuple(self.shape)}, {len(self.positions)} survivors, {self.centroids} centroids" + (
            f", {self.grid} grid" if self.grid else ""
        )


def _list_on(module: nn.Module, local: str) -> parametrize.ParametrizationList:
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, module.parametrizations)[local])


def chain(target: Target) -> list[nn.Module]:
    """The parametrizations that stand on a target, whosever they are."""
    module, local = target.places[0]
    return list(_list_on(module, local)) if parametrize.is_parametrized(module, local) else []


def is_pruned_by_torch(target: Target) -> bool:
    """Whether hooks of torch.nn.utils.prune make it from a weight and a mask."""
    return any(local in pruned_by_torch(module) for module, local in target.places)


def parametrization(target: Target) -> Mask | Codebook | None:
    """What stands on a target: its mask, its codebook, or nothing. Raises ValueError for a parametrization of another
    kind.
    """
    if is_pruned_by_torch(target):
        raise ValueError(f"{target.name} is pruned by torch.nn.utils.prune: make it plain first (prune.remove)")
    found = chain(target)
    if not found:
        return None
    if len(found) == 1 and isinstance(found[0], Mask | Codebook):
        return found[0]
    raise ValueError(
        f"{target.name} is parametrized by {', '.join(type(p).__name__ for p in found)}: "
        "make it plain first (torch.nn.utils.parametrize.remove_parametrizations)"
    )


def original(target: Target) -> nn.Parameter:
    """The parameter that is trained: the weight itself, the weight under a mask, or the centroids."""
    module, local = target.places[0]
    if parametrize.is_parametrized(module, local):
        return cast(nn.Parameter, _list_on(module, local).original)
    return cast(nn.Parameter, getattr(module, local))


def dense(target: Target) -> Tensor:
    """The weight as the model sees it, without gradient. Raises ValueError for a mask of torch.nn.utils.prune that is
    not of zeros and ones.
    """
    module, local = target.places[0]
    with torch.no_grad():
        if is_pruned_by_torch(target):
            # the attribute is as old as the last forward
            weight, mask = (cast(Tensor, getattr(module, f"{local}_{part}")) for part in ("orig", "mask"))
            if not ((mask == 0) | (mask == 1)).all():
                raise ValueError(f"{target.name}_mask has values other than 0 and 1: apply it first (prune.remove)")
            return _masked(weight.detach(), mask)
        return cast(Tensor, getattr(module, local)).detach()


def attach_mask(target: Target, mask: Tensor, step: int) -> None:
    """Puts a mask on a target in every place, or changes the one that is there; the parameter keeps its identity, and
    is zero wherever the old mask or the new one is False.
    """
    weight = dense(target)
    present = parametrization(target)
    if not isinstance(present, Mask):
        present = Mask(torch.empty_like(mask, device=weight.device))
        for module, local in target.places:
            _register(module, local, present)
    with torch.no_grad():
        present.mask.copy_(mask)
        present.step.fill_(step)
        original(target).copy_(present(weight))


def attach_codebook(
    target: Target, positions: Tensor, codes: Tensor, centroids: Tensor, grid: str | None = None
) -> None:
    """Replaces a target, in every place, by a codebook; the parameter keeps its identity but is now the centroids."""
    detach(target)
    parameter = original(target)
    positions, codes = (part.to(parameter.device, copy=True) for part in (positions, codes))
    new = Codebook(target.shape, positions, codes, len(centroids), grid)
    for module, local in target.places[1:]:
        # registering changes the parameter, which is the same in all places: these others get it back afterwards
        setattr(module, local, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))
        _register(module, local, new)
    module, local = target.places[0]
    _register(module, local, new)
    parameter = original(target)
    with torch.no_grad():
        parameter.copy_(centroids)
    parameter.grad = None
    for module, local in target.places[1:]:
        _list_on(module, local).original = parameter


def detach(target: Target) -> None:
    """Makes a target an ordinary parameter again, with the dense weight that the model sees; ties stay tied."""
    if parametrization(target) is None:
        return
    parameter = original(target)
    for module, local in target.places[1:]:
        # removing turns the trained parameter dense, which the other places must not see before their own turn
        _list_on(module, local).original = nn.Parameter(parameter.detach().clone())
        _remove(module, local)
        setattr(module, local, parameter)
    _remove(*target.places[0])
    parameter.grad = None


def _unshare_class(module: nn.Module) -> None:
    """torch gives a parametrized module a class of its own and changes that class; but a deep copy has the same one."""
    if parametrize.is_parametrized(module):
        shared = type(module)
        module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def _register(module: nn.Module, local: str, new: Mask | Codebook) -> None:
    _unshare_class(module)
    order = getattr(module, PARAMETER_ORDER, tuple(module._parameters))
    # unsafe spares a check of the shape that a codebook does not pass while it is registered
    parametrize.register_parametrization(module, local, new, unsafe=True)
    setattr(type(module), PARAMETER_ORDER, order)
    _reorder(cast(nn.ModuleDict, module.parametrizations)._modules, order)
    if isinstance(module, nn.RNNBase) and _forget_flat_weights not in module._forward_hooks.values():
        module.register_forward_hook(_forget_flat_weights)


def _reorder(named: dict[str, Any], order: Iterable[str]) -> None:
    """Parameters are numbered by optimizers: their order must tell of the stage alone, not of the way there."""
    for name in order:
        if name in named:
            named[name] = named.pop(name)


def strip(module: nn.Module, local: str) -> None:
    """Takes the parametrization off one place, whose parameter becomes whatever was under it: no dense weight is
    made.
    """
    _remove(module, local, dense=False)


def _remove(module: nn.Module, local: str, dense: bool = True) -> None:
    _unshare_class(module)
    order = getattr(module, PARAMETER_ORDER)
    parametrize.remove_parametrizations(module, local, leave_parametrized=dense)
    _reorder(module._parameters, order)
    if not parametrize.is_parametrized(module):
        for key, hook in list(module._forward_hooks.items()):
            if hook is _forget_flat_weights:
                del module._forward_hooks[key]


def _forget_flat_weights(module: nn.RNNBase, args: object, output: object) -> None:
    """A recurrent module keeps the weights of its last forward: freed from their graph, it can be copied. The next
    forward collects them anew, since the module sees that they have changed.
    """
    module._flat_weights = [None if weight is None else weight.detach() for weight in module._flat_weights]
    gone = weakref.ref(nn.Parameter(torch.empty(0)))
    module._flat_weight_refs = [gone] * len(module._flat_weights)
