"""Custom operators of torch, through which torch.compile and torch.export see packed weights.

Importing this module registers them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, get_num_threads

from deepcompression import _core
from deepcompression.nn import convolve
from deepcompression.nn.on_device import convolution_on, product_on, rows_on, why_refused
from deepcompression.packed import torch_reference
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.packing import FORMS, Header

_ONE_POSITION = ConvolutionSettings.of(1)

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def facts_of(header: Header) -> list[int]:
    """A header as the integers that operators take, so that none is read back from the bytes on a device."""
    scales = struct.unpack("<2i", struct.pack("<2f", header.scale8, header.scale16))
    return [FORMS.index(header.form), *(int(value) for value in header[1:10]), *scales]


def header_of(facts: list[int]) -> Header:
    """The inverse of `facts_of`."""
    scales = struct.unpack("<2f", struct.pack("<2i", *facts[10:]))
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


def refuse_device(layer: str, form: str, device: torch.device) -> None:
    """Raises ValueError for a device that cannot compute from a form."""
    reason = why_refused(form, device)
    if reason is not None:
        raise ValueError(f"{layer} is {reason}: call dc.run(..., device={str(device)!r}), which packs for that device")


def product(packed: Tensor, x: Tensor, bias: Tensor | None, rows: int, int8: bool) -> Tensor:
    """x (..., columns) -> (..., rows), by the core. All are float32, contiguous, on the CPU, and of shapes that fit."""
    shape = x.shape
    if len(shape) == 2:
        # unpacking shapes takes as long as a small product
        vectors = shape[0]
        y = x.new_empty(vectors, rows)
    else:
        vectors = math.prod(shape[:-1])
        y = x.new_empty(*shape[:-1], rows)
    bias_at = 0 if bias is None else bias.data_ptr()
    _core.multiply(
        packed.data_ptr(), packed.numel(), x.data_ptr(), vectors, bias_at, y.data_ptr(), int8, get_num_threads()
    )
    return y


def _linear(x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], activations: str, layer: str) -> Tensor:
    """x (..., columns) of one of FLOATS -> (..., rows) of the same dtype, computed in float32."""
    form, rows = FORMS[facts[0]], facts[4]
    if not x.is_cpu:
        refuse_device(layer, form, x.device)
        return product_on(x, packed, header_of(facts), bias)
    vectors = x.to(torch.float32)
    floats = None if bias is None else bias.to(torch.float32).contiguous()
    if form == "tile":
        # as a convolution of one position, from decoded rows
        columns = vectors.shape[-1]
        flat = vectors.reshape(-1, columns, 1).contiguous()
        y = convolve.convolve(flat, packed, floats, (rows, columns, 1), _ONE_POSITION).view(*vectors.shape[:-1], rows)
    else:
        y = product(packed, vectors.contiguous(), floats, rows, activations == "int8")
    return y.to(x.dtype)


def convolution(
    x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], shape: list[int], settings: ConvolutionSettings
) -> Tensor:
    """x (batch, channels, ...) or (channels, ...) -> a result of the same dtype, computed in float32."""
    if not x.is_cpu:
        return convolution_on(x, packed, header_of(facts), bias, tuple(shape), settings).contiguous()
    floats = None if bias is None else bias.to(torch.float32)
    y = convolve.convolve(x.to(torch.float32), packed, floats, shape, settings)
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
    found = rows_on(indices.reshape(-1).long(), packed, header_of(facts), dtype)
    return found.view(*indices.shape, shape[1])


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
