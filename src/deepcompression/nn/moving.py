"""The way of a running model to a device: as a whole, or not at all."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from deepcompression.nn.operators import refuse_device
from deepcompression.nn.packed_weight import PackedWeight
from deepcompression.nn.stand_in import StandIn


def moved(small: nn.Module, device: torch.device) -> nn.Module:
    """A model on a device, all of it. Raises torch.OutOfMemoryError if the device has too little memory for it."""
    tensors = {id(tensor): tensor for tensor in chain(small.parameters(), small.buffers())}.values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.device != device)
    try:
        return small.to(device)
    except torch.OutOfMemoryError:
        free = f", {torch.cuda.mem_get_info(device)[0]:,} are free" if device.type == "cuda" else ""
        raise torch.OutOfMemoryError(
            f"the running model takes {size:,} bytes on {device}{free}: free some, or prune more; the model that was "
            "passed stays as it was"
        ) from None


def move_as_a_whole(small: nn.Module, may_pack: bool) -> None:
    """Lets `.to` of each module refuse a device before a layer moves, if one of its packed weights cannot move.

    may_pack  whether weights that are dense so far may be packed later
    """
    for module in small.modules():
        packed = may_pack or any(isinstance(part, PackedWeight) for part in module.modules())
        if packed and not isinstance(module, StandIn):
            # all conversions of torch pass through `_apply`
            module.__dict__["_apply"] = _Whole(module)


class _Whole:
    """`_apply` of one module, which it does not keep alive. Deep copies and pickled modules have their own."""

    def __init__(self, module: nn.Module) -> None:
        self._module = weakref.ref(module)

    def _alive(self) -> nn.Module:
        module = self._module()
        if module is None:
            raise ReferenceError("the model of this _apply is gone")
        return module

    def __reduce__(self) -> Any:
        return _Whole, (self._alive(),)

    def __call__(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Raises ValueError, and changes nothing, if a packed weight cannot move to where `fn` moves tensors."""
        module = self._alive()
        # reads the weights that wait
        for _ in module.parameters(recurse):
            pass
        for part in module.modules() if recurse else ():
            if isinstance(part, PackedWeight):
                device = fn(torch.empty(0, dtype=torch.uint8, device=part.device)).device
                refuse_device(part.layer, part.header.form, device)
        untyped: Any = type(module)
        moved: nn.Module = untyped._apply(module, fn, recurse)
        return moved
