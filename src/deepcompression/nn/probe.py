"""The use of a matrix by a module with a forward of its own: that is tried on a tensor without memory."""

from __future__ import annotations

from copy import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from deepcompression.nn.stand_in import StandIn

# x W^T, x W, and rows of W
Tried = Literal["linear", "transposed", "embedding"]


def plain_class(module: nn.Module) -> type[Any]:
    """The class of a module without its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def tried_use(module: nn.Module, local: str) -> Tried | None:
    """The only way in which a module can use a matrix, or None if that does not show.

    The forward of its class runs on one vector or index without memory, with a stand-in for the matrix, which allows
    one use alone. Modules with children and forwards of more arguments are not tried.
    """
    weight = getattr(module, local)
    if weight.dim() != 2 or any(name != "parametrizations" for name in module._modules):
        return None
    ways: tuple[Tried, ...] = ("linear", "transposed", "embedding")
    found = [way for way in ways if _works(module, local, _Probe(weight, way))]
    return found[0] if len(found) == 1 else None


def _works(module: nn.Module, local: str, probe: _Probe) -> bool:
    kind = plain_class(module)
    sketch: Any = object.__new__(kind)
    others = [*module._parameters, *getattr(module, "parametrizations", ()), *module._buffers]
    # parametrizations are properties of the other class: here all tensors are buffers
    empty = {name: _without_memory(getattr(module, name)) for name in others if name != local}
    # lists that the forward fills stay as they are
    vars(sketch).update((n, copy(v) if isinstance(v, list | dict | set) else v) for n, v in vars(module).items())
    vars(sketch).update(_parameters={}, _buffers=empty, _modules={local: probe}, training=False)
    try:
        with torch.no_grad():
            y = kind.forward(sketch, probe.example())
    # code of others, which may want other arguments or use the matrix otherwise
    except Exception:
        return False
    return isinstance(y, Tensor) and probe.was_used


def _without_memory(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else torch.empty_like(tensor, device="meta")


class _Probe(StandIn):
    """A stand-in that allows one use, and gives results their shapes alone."""

    def __init__(self, weight: Tensor, way: Tried) -> None:
        super().__init__("a matrix", tuple(weight.shape), weight.dtype, way == "transposed")
        self.way, self.was_used = way, False

    @property
    def device(self) -> torch.device:
        return torch.device("meta")

    def parts(self) -> list[Any]:
        return []

    def example(self) -> Tensor:
        """The input that fits the use."""
        if self.way == "embedding":
            return torch.empty(1, 1, dtype=torch.int64, device="meta")
        return torch.empty(1, 1, self.packed_shape[1], dtype=self.dtype, device="meta")

    def linear(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        rows, columns = self.packed_shape
        if self.way == "embedding" or x.shape[-1] != columns or (bias is not None and bias.shape != (rows,)):
            raise ValueError("another use")
        self.was_used = True
        return x.new_empty(*x.shape[:-1], rows)

    def rows_of(self, indices: Tensor) -> Tensor:
        if self.way != "embedding":
            raise ValueError("another use")
        self.was_used = True
        return torch.empty(*indices.shape, self.shape[1], dtype=self.dtype, device="meta")
