"""Tensors of which each rank holds a shard: torch's DTensor, and what `fully_shard` knows of a module's parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepcompression.recipe.targets import unwrapped


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor, told by its methods: torch.distributed is not imported for those who do not use it."""
    return hasattr(tensor, "full_tensor")


def has_shards(model: nn.Module) -> bool:
    return any(is_sharded(parameter) for parameter in model.parameters())


def whole(tensor: Tensor) -> Tensor:
    """The tensor in full on every rank, without gradient. All ranks must call it, in the same order."""
    return cast(Tensor, cast(Any, tensor.detach()).full_tensor()) if is_sharded(tensor) else tensor.detach()


def shard_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a full tensor that every rank has, cut as `like` is and where it is; nothing is sent."""
    from torch.distributed.tensor import DTensor, Replicate

    placed = cast(DTensor, like)
    mesh = placed.device_mesh
    full = DTensor.from_local(tensor.detach().to(home(like)), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return full.redistribute(placements=placed.placements).to_local().to(placed.to_local().device)


def fill(tensor: Tensor, values: Tensor) -> None:
    """Copies full values, or a DTensor's, into a tensor, sharded or not."""
    with torch.no_grad():
        if is_sharded(tensor):
            cast(Any, tensor).to_local().copy_(shard_of(whole(values), tensor))
        else:
            tensor.copy_(whole(values))


def home(tensor: Tensor) -> torch.device:
    """Where a module computes with a parameter: not always where its shard waits for that."""
    return torch.device(cast(Any, tensor).device_mesh.device_type) if is_sharded(tensor) else tensor.device


def settle(model: nn.Module) -> None:
    """Lets `fully_shard` put the sharded parameters back where a forward has left full ones (perhaps of lower
    precision). Raises ValueError for the older FullyShardedDataParallel, which has no weights in their own shape.
    """
    for module in unwrapped(model).modules():
        if any(base.__name__ == "FullyShardedDataParallel" for base in type(module).__mro__):
            raise ValueError("the model is inside of FullyShardedDataParallel, which is not supported: use fully_shard")
        if hasattr(module, "_get_fsdp_state"):
            cast(Any, module).reshard()


def follow(model: nn.Module) -> None:
    """Tells `fully_shard` where its parameters are, after parametrizations were put on or taken off.

    It sets parameters on modules by a name that it noted in the beginning. torch has no public way to change that.
    """
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in unwrapped(model).modules():
        for local, parameter in module._parameters.items():
            places.setdefault(id(parameter), []).append((module, local))
    for managed in _managed_parameters(model):
        found = places.get(id(managed.sharded_param))
        if found is None:
            continue
        info = managed._module_info
        (info.module, info.param_name), *others = found
        info.shared_modules = [module for module, _ in others]
        info.shared_param_names = [local for _, local in others]


def _managed_parameters(model: nn.Module) -> Iterator[Any]:
    for module in unwrapped(model).modules():
        if hasattr(module, "_get_fsdp_state"):
            state = cast(Any, module)._get_fsdp_state()
            # one group until torch 2.9, several since
            groups = getattr(state, "_fsdp_param_groups", None) or [state._fsdp_param_group]
            for group in groups:
                if group is not None:
                    yield from group.fsdp_params


@contextmanager
def plain_class(module: nn.Module) -> Iterator[None]:
    """Within the block the module is of the class that `fully_shard` derived from: torch's parametrize changes a
    module's own class, which must not be the derived one.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    outer = type(module)
    if fsdp is None or len(outer.__bases__) < 2 or not issubclass(outer.__bases__[0], fsdp.FSDPModule):
        yield
        return
    first, inner = outer.__bases__
    module.__class__ = inner
    try:
        yield
    finally:
        within = type(module)
        module.__class__ = (
            outer if within is inner else type(f"FSDP{within.__name__}", (first, within), dict(vars(outer)))
        )
