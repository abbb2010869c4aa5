"""Custom operators of torch, through which torch.compile and torch.export see packed weights.

Importing this module registers them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, get_num_threads

from deepcompression.nn import convolve
from deepcompression.nn.product import product_of_plain
from deepcompression.packed import torch_reference
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.packing import FORMS, Header

_ONE_POSITION = ConvolutionSettings.of(1)

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def facts_of(header: Header) -> list[int]:
    """A header as the integers that operators take, so that none is read back from the bytes on a device."""
    scales = torch.tensor([header.scale8, header.scale16]).view(torch.int32).tolist()
    return [FORMS.index(header.form), *(int(value) for value in header[1:10]), *scales]


def header_of(facts: list[int]) -> Header:
    """The inverse of `facts_of`."""
    scales = torch.tensor(facts[10:], dtype=torch.int32).view(torch.float32).tolist()
    return Header(FORMS[facts[0]], *facts[1:10], *scales)


def spelled(settings: ConvolutionSettings) -> tuple[list[int], list[int], str, list[int], int]:
    """Settings as the operator's schema has them, with the padding as numbers or as a mode."""
    numbers, mode = ([], settings.padding) if isinstance(settings.padding, str) else (list(settings.padding), "")
    return list(settings.stride), numbers, mode, list(settings.dilation), settings.groups


def settings_of(dimensions: int, spelled: Sequence[Any]) -> ConvolutionSettings:
    """The inverse of `spelled`."""
    stride, padding, mode, dilation, groups = spelled
    return ConvolutionSettings.of(dimensions, stride, mode or padding, dilation, groups)


def inference_only(layer: str) -> str:
    """The message for a backward."""
    return (
        f"inference only: {layer} is computed from packed weights, which have no gradients; train the model that was "
        "passed to dc.run, and call dc.run on it again"
    )


def other_device(layer: str, form: str, device: torch.device) -> str:
    """The message for a form that only the CPU computes from."""
    return (
        f"{layer} is packed in the form {form}, which only the CPU computes from; found the device {device}: "
        f"call dc.run on a model that is on {device} already, so that its weights are packed in the form tile"
    )


def _linear(x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], activations: str, layer: str) -> Tensor:
    """x (..., columns) of one of FLOATS -> (..., rows) of the same dtype, computed in float32."""
    form, rows = FORMS[facts[0]], facts[4]
    vectors = x.to(torch.float32)
    floats = None if bias is None else bias.to(torch.float32).contiguous()
    if form == "tile" and vectors.is_cpu:
        # as a convolution of one position, from decoded rows
        columns = vectors.shape[-1]
        flat = vectors.reshape(-1, columns, 1).contiguous()
        y = convolve.convolve(flat, packed, floats, (rows, columns, 1), _ONE_POSITION).view(*vectors.shape[:-1], rows)
    elif form == "tile":
        y = torch_reference.multiply(packed, header_of(facts), vectors, floats)
    elif vectors.is_cpu:
        y = product_of_plain(packed, vectors.contiguous(), floats, rows, activations == "int8", get_num_threads())
    else:
        raise ValueError(other_device(layer, form, x.device))
    return y.to(x.dtype)


def convolution(
    x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], shape: list[int], settings: ConvolutionSettings
) -> Tensor:
    """x (batch, channels, ...) or (channels, ...) -> a result of the same dtype, computed in float32."""
    numbers = x.to(torch.float32)
    floats = None if bias is None else bias.to(torch.float32)
    if x.is_cpu:
        y = convolve.convolve(numbers, packed, floats, shape, settings)
    else:
        y = torch_reference.convolve(packed, header_of(facts), numbers, floats, tuple(shape), settings)
    return y.to(x.dtype).contiguous()


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


def rows(indices: Tensor, packed: Tensor, facts: list[int], shape: list[int], dtype: torch.dtype, layer: str) -> Tensor:
    """Rows of an embedding by their numbers: (*indices.shape, columns)."""
    if indices.is_cpu:
        return convolve.embed(indices, packed, shape).to(dtype)
    found = torch_reference.decode_rows(packed, header_of(facts), indices.reshape(-1).long())
    return found.view(*indices.shape, shape[1]).to(dtype)


def _refuse_gradient(gradient: Tensor, shape: list[int], layer: str) -> Tensor:
    raise RuntimeError(inference_only(layer))


# By name: the schema, the computation on every device, and the shape and dtype of its result for compilers.
_OPERATORS: dict[str, tuple[str, Callable[..., Tensor], Callable[..., Tensor]]] = {
    "linear": (
        "(Tensor x, Tensor packed, Tensor? bias, int[] facts, str activations, str layer) -> Tensor",
        _linear,
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
