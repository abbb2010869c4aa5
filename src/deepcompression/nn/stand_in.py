"""A stand-in for a parameter: the unchanged forward of its module computes from packed weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from deepcompression.nn.handlers import HANDLERS, refuse_function, remedy

if TYPE_CHECKING:
    from deepcompression.nn.packed_weight import PackedWeight


class StandIn(nn.Module):
    """A stand-in for a parameter. It has the attributes that code reads of weights, and takes part in torch functions.

    layer         the plain name of the parameter, for messages
    shape, dtype  of the dense weight
    why           the reason why it is packed
    counts_dense  False for a second form of a tied weight
    """

    layer: str
    shape: torch.Size
    dtype: torch.dtype
    requires_grad: ClassVar[bool] = False
    grad: ClassVar[None] = None
    is_leaf: ClassVar[bool] = True
    is_sparse: ClassVar[bool] = False
    is_nested: ClassVar[bool] = False

    def __init__(self, layer: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__()
        self.layer = layer
        self.shape = torch.Size(shape)
        self.dtype = dtype
        self.why = ""
        self.counts_dense = True

    @abstractmethod
    def parts(self) -> list[PackedWeight]:
        """The packed weights that make up the parameter."""

    @property
    def device(self) -> torch.device:
        return next(self.buffers()).device

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        return math.prod(self.shape)

    def is_floating_point(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            layer = self.__dict__.get("layer", "a layer")
            raise AttributeError(f"{layer} is packed, and has no attribute {name!r}: {remedy(layer)}") from None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.device)).dtype
        untyped: Any = super()
        return untyped._apply(fn, recurse)

    def __matmul__(self, other: Any) -> NoReturn:
        refuse_function(torch.matmul, (self, other), {})

    __rmatmul__ = __matmul__

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        handler = HANDLERS.get(function)
        if handler is None:
            refuse_function(function, args, kwargs or {})
        return handler(*args, **(kwargs or {}))
