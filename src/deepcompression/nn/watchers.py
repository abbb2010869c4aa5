"""Who follows a computation (compilers, modes, transforms, derivatives, autocast), and what is done for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch._C import _get_tracing_state, _is_any_autocast_enabled, _len_torch_dispatch_stack
from torch._C._functorch import (
    get_unwrapped,
    is_functorch_wrapped_tensor,
    is_gradtrackingtensor,
    maybe_current_level,
)
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

from deepcompression.nn.operators import inference_only


def nothing_watches() -> bool:
    """Whether no compiler, mode or transform follows the computation."""
    return not (
        is_dynamo_compiling()
        or _is_any_autocast_enabled()
        or _len_torch_dispatch_stack()
        or _get_tracing_state()
        or maybe_current_level() is not None
        or forward_ad._current_level >= 0
    )


def is_ordinary(x: Tensor) -> bool:
    """Whether x is a tensor of the CPU and of no subclass, and nothing watches."""
    return nothing_watches() and type(x) is Tensor and x.is_cpu


def carries_derivatives(x: Tensor) -> bool:
    """Whether x is part of a derivative that is computed forward, or by a transform of torch.func."""
    forward: Any = forward_ad
    if forward._current_level >= 0 and forward.unpack_dual(x).tangent is not None:
        return True
    while is_functorch_wrapped_tensor(x):
        if is_gradtrackingtensor(x):
            return True
        x = get_unwrapped(x)
    return False


class _InferenceOnly(torch.autograd.Function):
    """A result whose backward raises RuntimeError."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, layer: str, x: Tensor, bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        # or else the input and the output would be views of each other
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> NoReturn:
        raise RuntimeError(inference_only(ctx.layer))


# (y, layer, x, bias) -> y
refuse_backward = cast(Callable[[Tensor, str, Tensor, Tensor | None], Tensor], _InferenceOnly.apply)


def as_autocast(y: Tensor) -> Tensor:
    """The result in the dtype that a dense layer would have under autocast."""
    kind = y.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        return y.to(torch.get_autocast_dtype(kind))
    return y
