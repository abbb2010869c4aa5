"""The weights of a running model, packed and dense, as `explain` tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from deepcompression.nn.build import DENSE_REASONS
from deepcompression.nn.explanation import Kernel
from deepcompression.nn.packed_weight import PackedParts, PackedWeight
from deepcompression.nn.stand_in import StandIn
from deepcompression.packed import packing


def kernels_of(model: nn.Module) -> Iterator[Kernel]:
    """By module, each weight once, with all its names."""
    found: dict[int, Kernel] = {}
    inside: set[int] = set()
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, StandIn):
            continue
        for local, child in module.named_children():
            if isinstance(child, StandIn) and id(child) not in inside:
                _add(found, id(child), _joined(name, local), _packed(_kind(module), child))
        reasons = module.__dict__.get(DENSE_REASONS, {})
        for local, parameter in module.named_parameters(recurse=False):
            if parameter.dim() >= 2 or local in reasons:
                reason = reasons.get(local, "it was not given to dc.run")
                size = parameter.numel() * parameter.element_size()
                shape = tuple(parameter.shape)
                kernel = Kernel((), _kind(module), shape, "dense", "", "", reason, size, size, None, None)
                _add(found, id(parameter), _joined(name, local), kernel)
    yield from found.values()


def _kind(module: nn.Module) -> str:
    """The class as its author knows it."""
    return next(base.__name__ for base in type(module).__mro__ if not base.__module__.startswith("deepcompression."))


def _joined(path: str, local: str) -> str:
    return f"{path}.{local}" if path else local


def _add(found: dict[int, Kernel], key: int, name: str, kernel: Kernel) -> None:
    before = found.get(key)
    names = (name,) if before is None else before.names
    if name not in names:
        names = (*names, name)
    found[key] = replace(kernel if before is None else before, names=names)


def _packed(module: str, stand_in: StandIn) -> Kernel:
    parts = stand_in.chunk(len(stand_in._modules)) if isinstance(stand_in, PackedParts) else [stand_in]
    weights = [part for part in parts if isinstance(part, PackedWeight)]
    first = weights[0]
    arithmetic = first.activations
    if first.header.grid_bits:
        arithmetic += f" on an int{first.header.grid_bits} grid"
    survivors = sum(part.header.survivors for part in weights)
    return Kernel(
        (),
        module,
        tuple(stand_in.shape),
        first.header.form,
        arithmetic,
        packing.instruction_set() if first.device.type == "cpu" else first.device.type,
        stand_in.why,
        sum(part.packed.numel() for part in weights),
        stand_in.numel() * stand_in.dtype.itemsize if stand_in.counts_dense else 0,
        survivors / stand_in.numel() if stand_in.numel() else 0.0,
        max(part.header.centroids for part in weights),
    )
