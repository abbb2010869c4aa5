"""The engines of a layer where torch is installed: torch, and the packed weights of `run`, on any device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompression.bench.engines import Pair
from deepcompression.bench.results import Settings
from deepcompression.packed import packing
from deepcompression.runtime.weights import SharedWeight
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.tensor import CompressedTensor

if TYPE_CHECKING:
    import torch


def pair_on(device: torch.device | None, tensor: CompressedTensor, x: Array, settings: Settings) -> Pair:
    """Both computations of a layer: of rows that are looked up for integers, else of a product or a convolution.

    Neither waits for the device; `finish` does. None is the CPU, whose matrices are packed for the settings' batch.
    """
    import torch
    from torch.nn import functional as F

    from deepcompression.nn.on_device import form_on, kernel
    from deepcompression.nn.packed_weight import PackedWeight
    from deepcompression.packed.convolution import ConvolutionSettings
    from deepcompression.packed.torch_reference import CONVOLUTIONS

    device, shape = device or torch.device("cpu"), tensor.shape
    use: Any = "embedding" if x.dtype.kind == "i" else "convolution" if len(shape) > 2 else "linear"
    form = form_on(device, use)
    activations = settings.activations if form is None else "float32"
    bytes_ = packing.pack(tensor, activations, settings.batch, form=form)
    weight = PackedWeight("measured", torch.from_numpy(bytes_).to(device), shape, torch.float32, activations)
    dense = torch.from_numpy(np.ascontiguousarray(tensor.numpy(), np.float32)).to(device)
    given = torch.from_numpy(x).to(device)
    calls: tuple[Any, Any]
    if use == "embedding":
        calls = (lambda: F.embedding(given, dense)), (lambda: weight.rows_of(given))
    elif use == "linear":
        calls = (lambda: F.linear(given, dense)), (lambda: weight.linear(given))
    else:
        padding = tuple((k - 1) // 2 for k in shape[2:])
        chosen = ConvolutionSettings.of(len(padding), padding=padding)
        function = CONVOLUTIONS[len(padding)]
        calls = (lambda: function(given, dense, padding=padding)), (lambda: weight.convolve(given, None, chosen))
    held = SharedWeight(shape, bytes_, activations, settings.threads)
    on_cpu = {"linear": held.kernel, "convolution": "tile, sparse or torch", "embedding": "tile, rows looked up"}
    name = on_cpu[use] if device.type == "cpu" else f"{weight.header.form}, {kernel(device)}"
    return Pair(held, name, tuple(calls[0]().shape), *calls, finish=waits_for(device))


def waits_for(device: torch.device) -> Any:
    """A function that returns when the device has done all that it was given."""
    import torch

    if device.type == "cpu":
        return lambda: None
    return lambda: torch.get_device_module(device).synchronize(device)


def name_of(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
