"""The computations of packed weights on torch tensors."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, get_num_threads

from deepcompression import _core
from deepcompression.nn import convolve
from deepcompression.nn.on_device import convolution_on, product_on, rows_on, why_refused
from deepcompression.nn.product import product_of_plain
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


def _check_shape(packed: Tensor, rows: int, columns: int, layer: str) -> None:
    """Raises ValueError for packed weights of another shape, of which kernels would read or write too much."""
    found = _core.packed_shape(packed.data_ptr(), packed.numel())
    if found != (rows, columns):
        raise ValueError(f"{layer}: it is {rows} x {columns}; the packed weight is {found[0]} x {found[1]}")


def linear(x: Tensor, packed: Tensor, bias: Tensor | None, facts: list[int], activations: str, layer: str) -> Tensor:
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
        # another tensor may stand in the place of the bytes that were checked
        _check_shape(packed, rows, vectors.shape[-1], layer)
        y = product_of_plain(packed, vectors.contiguous(), floats, rows, activations == "int8", get_num_threads())
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


def rows(indices: Tensor, packed: Tensor, facts: list[int], shape: list[int], dtype: torch.dtype, layer: str) -> Tensor:
    """Rows of an embedding by their numbers: (*indices.shape, columns)."""
    if indices.is_cpu:
        return convolve.embed(indices, packed, shape).to(dtype)
    found = rows_on(indices.reshape(-1).long(), packed, header_of(facts), dtype)
    return found.view(*indices.shape, shape[1])
