"""Custom operators of torch, through which torch.compile and torch.export see packed weights.

Importing this module registers them. That takes longer than to load a small network, which needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from deepcompression.nn.operators import convolution, inference_only, linear, rows, settings_of
from deepcompression.packed import torch_reference


def _convolution(
    x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], shape: list[int], *spelled_and_layer: Any
) -> Tensor:
    return convolution(x, packed, bias, facts, shape, settings_of(len(shape) - 2, spelled_and_layer[:-1]))


def _convolution_fake(
    x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], shape: list[int], *spelled_and_layer: Any
) -> Tensor:
    dimensions = len(shape) - 2
    settings = settings_of(dimensions, spelled_and_layer[:-1])
    y = torch_reference.CONVOLUTIONS[dimensions](x, x.new_empty(shape), None, *settings)
    return torch.empty_like(y, memory_format=torch.contiguous_format)


def _refuse_gradient(gradient: Tensor, shape: list[int], layer: str) -> Tensor:
    raise RuntimeError(inference_only(layer))


# By name: the schema, the computation on every device, and the shape and dtype of its result for compilers.
_OPERATORS: dict[str, tuple[str, Callable[..., Tensor], Callable[..., Tensor]]] = {
    "linear": (
        "(Tensor x, Tensor packed, Tensor? bias, int[] facts, str activations, str layer) -> Tensor",
        linear,
        lambda x, packed, bias, facts, activations, layer: x.new_empty((*x.shape[:-1], facts[4])),
    ),
    "convolution": (
        "(Tensor x, Tensor packed, Tensor? bias, int[] facts, int[] shape, int[] stride, int[] padding, "
        "str padding_mode, int[] dilation, int groups, str layer) -> Tensor",
        _convolution,
        _convolution_fake,
    ),
    "rows": (
        "(Tensor indices, Tensor packed, int[] facts, int[] shape, ScalarType dtype, str layer) -> Tensor",
        rows,
        lambda indices, packed, facts, shape, dtype, layer: indices.new_empty((*indices.shape, shape[1]), dtype=dtype),
    ),
    "refuse_gradient": (
        "(Tensor gradient, SymInt[] shape, str layer) -> Tensor",
        _refuse_gradient,
        lambda gradient, shape, layer: gradient.new_empty(shape),
    ),
}

for _name, (_schema, _compute, _fake) in _OPERATORS.items():
    torch.library.define(f"deepcompression::{_name}", _schema)
    torch.library.impl(f"deepcompression::{_name}", "CompositeExplicitAutograd", _compute)
    torch.library.register_fake(f"deepcompression::{_name}", _fake)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, _, bias, *_, layer = inputs
    ctx.layer, ctx.x_shape, ctx.bias_shape = layer, x.shape, None if bias is None else bias.shape


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    # an operator, so that compilers can trace a backward that nobody runs
    wanted: list[Any] = [ctx.x_shape, None, ctx.bias_shape, *[None] * (len(ctx.needs_input_grad) - 3)]
    return tuple(
        refuse_operator(gradient, list(shape), ctx.layer) if needed and shape is not None else None
        for needed, shape in zip(ctx.needs_input_grad, wanted, strict=True)
    )


for _name in ("linear", "convolution"):
    torch.library.register_autograd(f"deepcompression::{_name}", _backward, setup_context=_remember)


def _linear_vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, *others: Any) -> tuple[Tensor, int]:
    """A batch of vectors is more vectors. Raises ValueError for a batch of weights or biases."""
    dim, *rest = in_dims[:3]
    if dim is None or any(other is not None for other in rest):
        raise ValueError(f"{others[-1]}: packed weights take a batch of inputs, not of weights or biases")
    return cast(Tensor, linear_operator(x.movedim(dim, 0), *others)), 0


torch.library.register_vmap("deepcompression::linear", _linear_vmap)

linear_operator = torch.ops.deepcompression.linear.default
convolution_operator = torch.ops.deepcompression.convolution.default
rows_operator = torch.ops.deepcompression.rows.default
refuse_operator = torch.ops.deepcompression.refuse_gradient.default
