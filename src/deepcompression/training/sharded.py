"""Sharded tensors: torch's DTensor, and the notes of `fully_shard` about a module's parameters."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepcompression.recipe.targets import unwrapped


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor; recognised by a method, to import torch.distributed only where it is used."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The tensor in full on every rank, without gradient. All ranks must call it, in the same order."""
    return cast(Tensor, cast(Any, tensor.detach()).full_tensor()) if is_sharded(tensor) else tensor.detach()


def shard_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a full tensor that every rank has, cut and placed like `like`; nothing is sent."""
    from torch.distributed.tensor import DTensor, Replicate

    placed = cast(DTensor, like)
    mesh = placed.device_mesh
    full = DTensor.from_local(tensor.detach().to(home(like)), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return full.redistribute(placements=placed.placements).to_local().to(placed.to_local().device)


def fill(tensor: Tensor, values: Tensor) -> None:
    """Copies values, full or sharded, into a tensor, sharded or not."""
    with torch.no_grad():
        if is_sharded(tensor):
            cast(Any, tensor).to_local().copy_(shard_of(whole(values), tensor))
        else:
            tensor.copy_(whole(values))


def home(tensor: Tensor) -> torch.device:
    """The device on which a module computes with a parameter; its shard may be on another."""
    return torch.device(cast(Any, tensor).device_mesh.device_type) if is_sharded(tensor) else tensor.device


def settle(model: nn.Module) -> None:
    """Makes `fully_shard` put its sharded parameters back where a forward has left full ones, perhaps of lower
    precision. Raises TypeError for what is no module, and ValueError for the older FullyShardedDataParallel, which has
    no weights in their own shape.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a model is a torch.nn.Module; found a {type(model).__name__}")
    for module in unwrapped(model).modules():
        if any(base.__name__ == "FullyShardedDataParallel" for base in type(module).__mro__):
            raise ValueError("the model is inside FullyShardedDataParallel, which is not supported: use fully_shard")
        if hasattr(module, "_get_fsdp_state"):
            cast(Any, module).reshard()


def follow(model: nn.Module) -> None:
    """Corrects the notes of `fully_shard` about the places of its parameters, after a change of parametrizations.

    It sets parameters on modules by names that it notes at the start. torch has no public way to change them.
    """
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in unwrapped(model).modules():
        for local, parameter in module._parameters.items():
            places.setdefault(id(parameter), []).append((module, local))
    modules: list[Any] = [each for each in unwrapped(model).modules() if hasattr(each, "_get_fsdp_state")]
    # one group until torch 2.9, several since
    states = [each._get_fsdp_state() for each in modules]
    groups = [g for s in states for g in getattr(s, "_fsdp_param_groups", None) or [s._fsdp_param_group]]
    for managed in [each for group in groups if group is not None for each in group.fsdp_params]:
        if found := places.get(id(managed.sharded_param)):
            info = managed._module_info
            (info.module, info.param_name), *others = found
            info.shared_modules = [module for module, _ in others]
            info.shared_param_names = [local for _, local in others]


@contextmanager
def plain_class(module: nn.Module) -> Iterator[None]:
    """Gives the module, within the block, the class from which `fully_shard` derived its own: torch's parametrize
    changes a module's class, and must not change the derived one.
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
