"""The times of products, convolutions and look-ups, dense and from packed weights, in one process for each target."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from deepcompression import _core
from deepcompression.nn.convolve import lanes_of
from deepcompression.nn.packed_layers import PackedLinear
from deepcompression.nn.packed_weight import PackedWeight
from deepcompression.nn.recurrent import PACKED_RECURRENT, stand_in_recurrent
from deepcompression.packed import packing
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.costs import FEW, MANY, STEPS
from deepcompression.tensors.tensor import CompressedTensor

VECTORS = (1, 2, 4, 8, 16, 64, 256)
# of products with weights that are packed for FEW or MANY
UNNAMED = (1, 8, 64)
# rows, columns, density, centroids
MATRICES = [
    (64, 64, 0.5, 16),
    (128, 256, 0.1, 16),
    (256, 128, 0.25, 256),
    (384, 384, 0.25, 16),
    (384, 384, 1.0, 16),
    (512, 512, 0.5, 256),
    (768, 768, 0.1, 32),
    (1536, 384, 0.12, 256),
    (384, 1536, 0.25, 16),
    (1000, 2048, 0.25, 16),
    (1024, 1024, 1.0, 16),
    (1024, 1024, 0.04, 16),
    (3072, 768, 0.35, 16),
    (2400, 1201, 0.1, 16),
    (4096, 2048, 0.09, 32),
    (4096, 4096, 0.04, 32),
]
# only measured dense, with few vectors
LARGE = [(1000, 4096), (4096, 8192)]
# rows, channels, kernel, stride, groups, extent of the inputs, density
CONVOLUTIONS = [
    (64, 64, 3, 1, 1, 14, 0.1),
    (64, 64, 3, 1, 1, 28, 0.3),
    (128, 128, 3, 1, 1, 14, 0.25),
    (256, 256, 3, 1, 1, 14, 0.1),
    (256, 256, 3, 1, 1, 14, 0.4),
    (512, 512, 3, 1, 1, 14, 0.05),
    (256, 64, 1, 1, 1, 14, 0.2),
    (64, 256, 1, 1, 1, 28, 0.1),
    (128, 128, 5, 1, 2, 14, 0.2),
    (128, 64, 3, 1, 1, 28, 0.05),
]
IMAGES = (1, 8)
# rows, columns, density, look-ups
TABLES = [
    (10_000, 64, 0.2, 1),
    (10_000, 64, 0.2, 64),
    (4000, 768, 0.2, 64),
    (4000, 384, 0.1, 16),
    (4000, 384, 0.5, 512),
]
# inputs, hidden units, sequences, density
RECURRENT = [
    (64, 64, 1, 0.1),
    (64, 128, 8, 0.1),
    (256, 256, 1, 0.1),
    (80, 512, 1, 0.3),
    (256, 512, 8, 0.1),
    (512, 512, 8, 0.3),
    (128, 256, 16, 0.2),
    (256, 256, 64, 0.1),
]

# of the blocks of calls, whose median counts
_BLOCKS, _BLOCK_SECONDS, _SLOW_SECONDS = 5, 0.0006, 0.02

Row = dict[str, Any]


def seconds_of(function: Callable[..., object], *arguments: Any) -> float:
    """The median seconds of a call, hot."""
    call = functools.partial(function, *arguments)
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    blocks, calls = (3, 1) if once > _SLOW_SECONDS else (_BLOCKS, max(1, int(_BLOCK_SECONDS / once)))
    found = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        found.append((time.perf_counter() - start) / calls)
    return statistics.median(found)


def shared(shape: tuple[int, ...], density: float, centroids: int) -> CompressedTensor:
    """Random survivors and codes."""
    random = np.random.default_rng(math.prod(shape))
    positions = np.flatnonzero(random.random(math.prod(shape)) < density).astype(np.int64)
    codebook = np.sort(random.standard_normal(centroids)).astype(np.float32)
    return CompressedTensor(shape, positions, codebook, random.integers(0, centroids, len(positions)).astype(np.uint8))


def packed_weight(tensor: CompressedTensor, activations: str, batch: int, form: str | None = None) -> PackedWeight:
    array = torch.from_numpy(packing.pack(tensor, activations, batch, form=form))
    return PackedWeight("measured", array, tensor.shape, torch.float32, activations)


def _linear(weight: torch.Tensor | PackedWeight, rows: int) -> nn.Module:
    module = nn.Linear(1, 1)
    module.bias = nn.Parameter(torch.zeros(rows), False)
    del module._parameters["weight"]
    if isinstance(weight, PackedWeight):
        module.add_module("weight", weight)
        module.__class__ = PackedLinear
    else:
        module.weight = nn.Parameter(weight, False)
    return module


def products() -> list[Row]:
    found: list[Row] = []
    for rows, columns, density, centroids in MATRICES:
        tensor = shared((rows, columns), density, centroids)
        dense = _linear(torch.from_numpy(np.ascontiguousarray(tensor.numpy())), rows)
        for vectors in VECTORS:
            x = torch.randn(vectors, columns)
            row = {"vectors": vectors, "rows": rows, "columns": columns, "survivors": len(tensor.codes)}
            found.append({**row, "what": "dense", "seconds": seconds_of(dense, x)})
            for activations in packing.ACTIVATIONS:
                weight = packed_weight(tensor, activations, vectors)
                ours = _linear(weight, rows)
                form = weight.header.form
                found.append({**row, "what": activations, "form": form, "seconds": seconds_of(ours, x)})
        for batch, activations in itertools.product((FEW, MANY), packing.ACTIVATIONS):
            ours = _linear(packed_weight(tensor, activations, batch), rows)
            for vectors in UNNAMED:
                x = torch.randn(vectors, columns)
                row = {"vectors": vectors, "rows": rows, "columns": columns, "survivors": len(tensor.codes)}
                seconds = seconds_of(ours, x)
                found.append({**row, "what": f"{activations} for {batch}", "seconds": seconds})
    for rows, columns in LARGE:
        dense = _linear(torch.zeros(rows, columns), rows)
        for vectors in VECTORS[:-1]:
            x = torch.randn(vectors, columns)
            row = {"vectors": vectors, "rows": rows, "columns": columns, "survivors": 0}
            found.append({**row, "what": "dense", "seconds": seconds_of(dense, x)})
    return found


def convolutions() -> list[Row]:
    found: list[Row] = []
    for rows, channels, kernel, stride, groups, extent, density in CONVOLUTIONS:
        tensor = shared((rows, channels // groups, kernel, kernel), density, 32)
        dense = torch.from_numpy(np.ascontiguousarray(tensor.numpy()))
        settings = ConvolutionSettings.of(2, stride, kernel // 2, 1, groups)
        weight = packed_weight(tensor, "float32", 1, "tile")
        for images in IMAGES:
            x = torch.randn(images, channels, extent, extent)
            positions = F.conv2d(x, dense, None, *settings)[:, 0].numel()
            row = {"rows": rows, "columns": tensor.size // rows, "channels": channels, "survivors": len(tensor.codes)}
            row |= {"positions": positions // images, "vectors": images}
            found.append(
                {**row, "what": "convolution dense", "seconds": seconds_of(F.conv2d, x, dense, None, *settings)}
            )
            ours = seconds_of(weight.convolve, x, None, settings)
            row["positions"] = lanes_of(settings.outputs((kernel, kernel), (extent, extent)))
            found.append({**row, "what": "convolution", "seconds": ours})
    return found


def look_ups() -> list[Row]:
    found: list[Row] = []
    for rows, columns, density, count in TABLES:
        tensor = shared((rows, columns), density, 16)
        dense = torch.from_numpy(np.ascontiguousarray(tensor.numpy()))
        weight = packed_weight(tensor, "float32", 1, "tile")
        numbers = torch.randint(rows, (count,))
        row: Row = {"rows": rows, "columns": columns, "vectors": count}
        row["survivors"] = round(count * len(tensor.codes) / rows)
        found.append({**row, "what": "look-ups dense", "seconds": seconds_of(F.embedding, numbers, dense)})
        found.append({**row, "what": "look-ups", "seconds": seconds_of(weight.rows_of, numbers)})
    return found


def recurrent() -> list[Row]:
    """Time steps without their products."""
    found: list[Row] = []
    for kind in PACKED_RECURRENT:
        for inputs, hidden, sequences, density in RECURRENT:
            dense = kind(inputs, hidden).requires_grad_(False)
            packed = kind(inputs, hidden).requires_grad_(False)
            for name, parameter in list(packed.named_parameters()):
                if parameter.dim() == 2:
                    del packed._parameters[name]
                    tensor = shared(tuple(parameter.shape), density, 16)
                    batch = sequences * STEPS if "_ih_" in name else sequences
                    packed.add_module(name, packed_weight(tensor, "float32", batch))
            stand_in_recurrent(packed)
            x = torch.randn(STEPS, sequences, inputs)
            for what, module in (("dense", dense), ("packed", packed)):
                row: Row = {"kind": kind.__name__, "columns": inputs, "rows": hidden}
                row |= {"vectors": sequences, "density": density}
                found.append({**row, "what": f"{kind.__name__} {what}", "seconds": seconds_of(module, x) / STEPS})
    return found


def work(instruction_set: str, threads: int) -> list[Row]:
    """All times with one instruction set and number of threads."""
    _core.force_instruction_set(instruction_set)
    torch.set_num_threads(threads)
    with torch.no_grad():
        return [*products(), *convolutions(), *look_ups(), *recurrent()]
