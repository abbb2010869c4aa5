"""The functions of torch that take packed weights, as modules call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcompression.nn.attention import attend
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.torch_reference import CONVOLUTIONS


def remedy(layer: str) -> str:
    return f"keep it dense by dc.run(..., dense=[{layer!r}])"


def refuse_function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
    """Raises the TypeError for a function that cannot take a packed weight, or not as this argument."""
    flat = [part for each in (*args, *kwargs.values()) for part in (each if isinstance(each, list | tuple) else [each])]
    layer = next((part.layer for part in flat if _is_packed(part)), "a layer")
    name = getattr(function, "__name__", str(function))
    known = ", ".join(sorted({known.__name__.strip("_") for known in HANDLERS}))
    raise TypeError(f"{layer} is packed, and torch's {name} cannot take it here (only {known}): {remedy(str(layer))}")


def _is_packed(value: Any) -> bool:
    return hasattr(type(value), "factor")


def _stand_in(function: Callable[..., Any], weight: Any, *others: Any) -> Any:
    """The weight. Raises TypeError unless it, and no other argument, is packed."""
    if not isinstance(weight, nn.Module) or any(map(_is_packed, others)):
        refuse_function(function, (weight, *others), {})
    return weight


def _product(function: Callable[..., Any], x: Any, weight: Any, bias: Any, as_packed: bool) -> Any:
    """x W^T + bias. `as_packed`: whether the factor that `function` takes is W, or else W^T.

    Raises TypeError for a factor of which the transpose is packed, and for other things that are packed.
    """
    if not _is_packed(weight) or _is_packed(x) or _is_packed(bias) or weight.factor()[1] != as_packed:
        refuse_function(function, (x, weight, bias), {})
    return weight.factor()[0].linear(x, bias)


def _linear(input: Any, weight: Any, bias: Any = None) -> Any:
    return _product(F.linear, input, weight, bias, True)


def _matmul(input: Any, other: Any) -> Any:
    if _is_packed(other):
        return _product(torch.matmul, input, other, None, False)
    # (W x)^T = x^T W^T
    y = _product(torch.matmul, other if other.dim() == 1 else other.mT, input, None, True)
    return y if other.dim() == 1 else y.mT


def _addmm(input: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    if _is_packed(input):
        refuse_function(torch.addmm, (input, mat1, mat2), {})
    if beta == alpha == 1 and input.dim() == 1 and _is_packed(mat2):
        return _product(torch.addmm, mat1, mat2, input, False)
    return beta * input + alpha * _matmul(mat1, mat2)


def _transpose(input: Any, dim0: int = 0, dim1: int = 1) -> Any:
    return input.transpose(dim0, dim1)


def _convolution(dimensions: int) -> Callable[..., Any]:
    function = CONVOLUTIONS[dimensions]

    def convolution(input: Any, weight: Any, bias: Any = None, *settings: Any, **named: Any) -> Any:
        stand_in = _stand_in(function, weight, input, bias)
        return stand_in.convolve(input, bias, ConvolutionSettings.of(dimensions, *settings, **named))

    return convolution


def _embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if max_norm is not None:
        refuse_function(F.embedding, (input, weight), {})
    return _stand_in(F.embedding, weight, input).rows_of(input)


def _embedding_bag(
    input: Any,
    weight: Any,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Bags of a table that has only the wanted rows, in the order of `input`."""
    if max_norm is not None:
        refuse_function(F.embedding_bag, (input, weight), {})
    stand_in = _stand_in(F.embedding_bag, weight, input, offsets, per_sample_weights)
    flat = input.reshape(-1)
    table = stand_in.rows_of(flat)
    numbers = torch.arange(len(flat), device=flat.device, dtype=flat.dtype)
    if padding_idx is not None:
        # its rows, which are left out, are row 0 of this table
        table, numbers = F.pad(table, (0, 0, 1, 0)), numbers + 1
        absent = padding_idx + stand_in.shape[0] if padding_idx < 0 else padding_idx
        numbers = torch.where(flat == absent, torch.zeros_like(numbers), numbers)
    return F.embedding_bag(
        numbers.view(input.shape),
        table,
        offsets,
        mode=mode,
        per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset,
        padding_idx=None if padding_idx is None else 0,
    )


HANDLERS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.linear: _linear,
    **dict.fromkeys((torch.matmul, torch.mm, Tensor.matmul, Tensor.mm, Tensor.__matmul__), _matmul),
    **dict.fromkeys((torch.addmm, Tensor.addmm), _addmm),
    **dict.fromkeys((torch.t, torch.transpose), _transpose),
    **{function: _convolution(dimensions) for dimensions, function in CONVOLUTIONS.items()},
    F.embedding: _embedding,
    F.embedding_bag: _embedding_bag,
    F.multi_head_attention_forward: attend,
}
