"""A stand-in for a parameter: the unchanged forward of its module computes from packed weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from deepcompression.nn.handlers import HANDLERS, refuse_function, remedy

if TYPE_CHECKING:
    from deepcompression.nn.packed_weight import PackedWeight
    from deepcompression.nn.what_pays import Expected


class Factor:
    """A factor of products that torch's functions take in the place of a tensor."""

    def __matmul__(self, other: Any) -> Any:
        return HANDLERS[torch.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return HANDLERS[torch.matmul](other, self)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _handled(function, args, kwargs or {})


class StandIn(Factor, nn.Module):
    """A stand-in for a parameter. It has the attributes that code reads of weights, and takes part in torch functions.

    layer         the plain name of the parameter, for messages
    shape, dtype  of the dense weight
    transposed    whether its transpose is packed, for modules that compute x W instead of x W^T
    why           the reason why it is packed
    expected      the expected times of its products, for one number of vectors or several
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

    def __init__(self, layer: str, shape: tuple[int, ...], dtype: torch.dtype, transposed: bool = False) -> None:
        super().__init__()
        self.layer, self.transposed = layer, transposed
        self.shape = torch.Size(shape)
        self.dtype = dtype
        self.why = ""
        self.expected: tuple[Expected, ...] = ()
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

    @property
    def packed_shape(self) -> torch.Size:
        """The shape of what is packed."""
        return self.shape[::-1] if self.transposed else self.shape

    def factor(self) -> tuple[StandIn, bool]:
        """The stand-in, and whether this, as a factor of a product, is what is packed; or else its transpose is."""
        return self, not self.transposed

    def t(self) -> Turned:
        return self.transpose(0, 1)

    def transpose(self, one: int, other: int) -> Turned:
        """The transpose of a matrix, as a factor of products."""
        if len(self.shape) != 2 or {one % 2, other % 2} != {0, 1}:
            refuse_function(torch.transpose, (self, one, other), {})
        return Turned(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("T", "mT"):
                return self.t()
            layer = self.__dict__.get("layer", "a layer")
            raise AttributeError(f"{layer} is packed, and has no attribute {name!r}: {remedy(layer)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data":
            raise AttributeError(f"{self.layer} is packed, and its data cannot be replaced: {remedy(self.layer)}")
        super().__setattr__(name, value)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """As torch does, with an empty tensor under the parameter's own name: a dense model refuses its shape, even if
        it would leave a missing weight as it is.
        """
        destination[prefix.removesuffix(".")] = torch.empty(0, dtype=torch.uint8, device=self.device)
        untyped: Any = super()
        untyped._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        self._expect_own_name(prefix, others[3])
        untyped: Any = super()
        untyped._load_from_state_dict(state_dict, prefix, *others)

    @staticmethod
    def _expect_own_name(prefix: str, unexpected_keys: list[str]) -> None:
        """Takes the empty tensor of `_save_to_state_dict` off the list of unexpected keys."""
        unexpected_keys[:] = [name for name in unexpected_keys if name != prefix.removesuffix(".")]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.device)).dtype
        untyped: Any = super()
        return untyped._apply(fn, recurse)


class Turned(Factor):
    """The transpose of a stand-in, as a factor of products."""

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in, self.layer = stand_in, stand_in.layer
        self.shape, self.dtype, self.device = stand_in.shape[::-1], stand_in.dtype, stand_in.device

    def factor(self) -> tuple[StandIn, bool]:
        return self.stand_in, self.stand_in.transposed

    def t(self) -> StandIn:
        return self.stand_in


def _handled(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    handler = HANDLERS.get(function)
    if handler is None:
        refuse_function(function, args, kwargs)
    return handler(*args, **kwargs)
