"""A mode of torch that refuses what a CUDA graph cannot hold."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class NothingWaits(TorchDispatchMode):
    """Refuses what makes the host wait for a device, or copies from it or to it: a CUDA graph can hold the rest."""

    REFUSED = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "is_pinned", "equal")
    BY_INDICES = ("index", "index_put", "index_put_")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in self.REFUSED, name
        # torch itself looks for the places that a mask chooses
        assert name not in self.BY_INDICES or not any(_is_mask(each) for each in args[1]), f"{name} by a mask"
        return function(*args, **(kwargs or {}))


def _is_mask(index):
    return index is not None and index.dtype in (torch.bool, torch.uint8)
