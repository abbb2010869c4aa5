"""Tensors that no file holds, for a model on the device meta: the model's own code computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deepcompression.common.messages import some
from deepcompression.recipe.targets import unwrapped
from deepcompression.training.copy_model import copy_model


def own_values(model: nn.Module, absent: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """The values of tensors without memory, on the CPU, by `id` of the tensor: of all unsaved buffers, and of `absent`,
    parameters and buffers by their names. The model is not changed.

    The code is `_init_weights`, of the module or of one around it, as transformers has it, and `reset_parameters`, as
    torch has it. Raises ValueError, with names and remedy, for tensors that it does not compute.
    """
    wanted = {name: tensor for name, tensor in (*_unsaved(model), *absent.items()) if tensor.is_meta}
    lost = [name for name, value in _attributes(model) if value.is_meta]
    if not wanted and not lost:
        return {}
    with torch.no_grad():
        zeros, ones = (_computed(model, wanted, fill) for fill in (torch.zeros_like, torch.ones_like))
    # what depends on the values before was not computed
    lost += [name for name in wanted if not _same(zeros[name], ones[name])]
    if lost:
        raise ValueError(
            f"{some(lost)}: no memory (on the device meta), no file holds it, and neither _init_weights nor "
            "reset_parameters computes it: build the model with buffers in memory, for example in "
            "accelerate.init_empty_weights(include_buffers=False), or on the CPU"
        )
    return {id(tensor): zeros[name] for name, tensor in wanted.items()}


def _unsaved(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module in unwrapped(model).named_modules():
        for local in module._non_persistent_buffers_set:
            if (buffer := module._buffers.get(local)) is not None:
                yield f"{name}.{local}".removeprefix("."), buffer


def _attributes(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that are neither parameters nor buffers."""
    for name, module in unwrapped(model).named_modules():
        for local, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{name}.{local}".removeprefix("."), value


def _computed(model: nn.Module, wanted: dict[str, Tensor], fill: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The wanted tensors as the model's code leaves them in a copy of the model that has no other memory."""
    memo: dict[int, Any] = {}
    made = {id(tensor) for tensor in wanted.values()}
    for tensor in (*model.parameters(), *model.buffers()):
        plain = tensor.detach()
        start = fill(plain, device="cpu") if id(tensor) in made else torch.empty_like(plain, device="meta")
        memo[id(tensor)] = nn.Parameter(start, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else start
    sketch, _ = copy_model(unwrapped(model), memo)
    modules = dict(sketch.named_modules())
    for name in dict.fromkeys(name.rpartition(".")[0] for name in wanted):
        for initialise in _initialisers(modules, name):
            try:
                initialise()
            # code of others may need what is not there: then its buffers are found not to be computed
            except Exception:
                continue
    found = {
        **dict(sketch.named_parameters(remove_duplicate=False)),
        **dict(sketch.named_buffers(remove_duplicate=False)),
    }
    return {name: found[name] for name in wanted}


def _initialisers(modules: dict[str, nn.Module], name: str) -> Iterator[Callable[[], Any]]:
    """The functions that compute the tensors of the module of this name."""
    module: Any = modules[name]
    if hasattr(module, "reset_parameters"):
        yield module.reset_parameters
    path = name.split(".")
    around: list[Any] = [modules[".".join(path[:count])] for count in range(len(path), 0, -1)] + [modules[""]]
    outer = next((each for each in around if hasattr(each, "_init_weights")), None)
    if outer is not None:
        yield lambda: outer._init_weights(module)


def _same(one: Tensor, other: Tensor) -> bool:
    return not one.is_meta and torch.equal(one, other)
