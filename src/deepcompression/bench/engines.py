"""The engine of a layer, dense and compressed: torch where it is installed, else NumPy."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from deepcompression.bench.results import Settings
from deepcompression.runtime.convolution import BoundConv, Conv, Conv1d, Conv2d, Conv3d
from deepcompression.runtime.layers import BoundLinear, Step
from deepcompression.runtime.weights import DenseWeight, Floats, Shape, SharedWeight, matrix_weight, tile_weight
from deepcompression.tensors.tensor import CompressedTensor

# by the dimensions of the weight
CONVOLUTIONS: dict[int, type[Conv]] = {3: Conv1d, 4: Conv2d, 5: Conv3d}

Call = Callable[[], object]


class Pair(NamedTuple):
    """A layer that is computed twice, for the same input: a matrix multiplied by, or a convolution of stride 1 whose
    padding keeps the extent.

    weight  as it is held compressed
    kernel  what computes from that
    out     the shape of what comes out
    """

    weight: SharedWeight
    kernel: str
    out: Shape
    dense: Call
    compressed: Call


def with_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def name() -> str:
    """The engine of dense layers."""
    if with_torch():
        import torch

        return f"torch {torch.__version__}"
    return f"NumPy {np.__version__}"


def pair(tensor: CompressedTensor, x: Floats, settings: Settings) -> Pair:
    """Both ways to compute a layer for `x` (batch, inputs, *extents)."""
    shape = tensor.shape
    padding = tuple((k - 1) // 2 for k in shape[2:])
    dense = np.ascontiguousarray(tensor.numpy(), np.float32)
    if not padding:
        weight = matrix_weight(tensor, settings.activations, settings.batch, settings.threads)
        step: Step = BoundLinear(weight, None)
    else:
        weight = tile_weight(tensor, settings.threads)
        step = BoundConv(weight, None, _convolution(shape, padding))
    out = step.shape(x.shape)
    if with_torch():
        kernel = "tile, sparse or torch" if padding else weight.kernel
        compressed = _torch_tiles(weight, x, padding) if padding else lambda: step(x)
        return Pair(weight, kernel, out, _torch_dense(dense, x, padding), compressed)
    whole = DenseWeight(shape, dense.reshape(shape[0], math.prod(shape[1:])))
    other: Step = BoundConv(whole, None, _convolution(shape, padding)) if padding else BoundLinear(whole, None)
    return Pair(weight, weight.kernel, out, lambda: other(x), lambda: step(x))


def _convolution(shape: Shape, padding: Shape) -> Conv:
    return CONVOLUTIONS[len(shape)]("measured", padding=padding)


def _torch_dense(dense: Floats, x: Floats, padding: Shape) -> Call:
    import torch
    from torch.nn import functional as F

    weight, given = torch.from_numpy(dense), torch.from_numpy(x)
    if not padding:
        return lambda: F.linear(given, weight)
    convolve: Any = getattr(F, f"conv{len(padding)}d")
    return lambda: convolve(given, weight, padding=padding)


def _torch_tiles(weight: SharedWeight, x: Floats, padding: Shape) -> Call:
    import torch

    from deepcompression.nn.convolve import convolve
    from deepcompression.packed.convolution import ConvolutionSettings

    packed, given = torch.from_numpy(weight.packed), torch.from_numpy(x)
    settings = ConvolutionSettings.of(len(padding), padding=padding)
    return lambda: convolve(given, packed, None, weight.shape, settings)


def without_gradients() -> AbstractContextManager[object]:
    """Within it torch is as fast as it is for inference."""
    if not with_torch():
        return nullcontext()
    import torch

    return torch.inference_mode()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within it torch and NumPy's BLAS have so many threads."""
    with threadpool_limits(count):
        if not with_torch():
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
