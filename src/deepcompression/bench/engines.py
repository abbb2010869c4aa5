"""The engines of a layer, dense and compressed, without torch; and whether it is there."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from deepcompression.bench.results import Settings
from deepcompression.runtime.convolution import BoundConv, Conv, Conv1d, Conv2d, Conv3d
from deepcompression.runtime.layers import BoundLinear, Step
from deepcompression.runtime.weights import DenseWeight, SharedWeight, Weight, matrix_weight, tile_weight
from deepcompression.tensors.dtypes import Floats, Shape
from deepcompression.tensors.tensor import CompressedTensor

# by the dimensions of the weight
CONVOLUTIONS: dict[int, type[Conv]] = {3: Conv1d, 4: Conv2d, 5: Conv3d}

Call = Callable[[], object]


class Pair(NamedTuple):
    """Two computations of a layer for the same input: a product, look-ups of rows, or a convolution of stride 1 that
    keeps the extent.

    weight  in its compressed form
    kernel  the name of what computes from that
    out     the shape of the output
    finish  returns when all calls are done: a device goes on after a call returns
    """

    weight: SharedWeight
    kernel: str
    out: Shape
    dense: Call
    compressed: Call
    finish: Call = lambda: None


def with_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def name() -> str:
    """The engine of dense layers."""
    if with_torch():
        import torch

        return f"torch {torch.__version__}"
    return f"NumPy {np.__version__}"


def pair(tensor: CompressedTensor, x: Floats, settings: Settings) -> Pair:
    """Both computations of a layer for `x` (batch, inputs, *extents), by NumPy and by the runtime."""
    shape = tensor.shape
    padding = tuple((k - 1) // 2 for k in shape[2:])

    def step(weight: Weight) -> Step:
        if not padding:
            return BoundLinear(weight, None)
        return BoundConv(weight, None, CONVOLUTIONS[len(shape)]("measured", padding=padding))

    dense = np.ascontiguousarray(tensor.numpy(), np.float32)
    if padding:
        weight = tile_weight(tensor, settings.threads)
    else:
        weight = matrix_weight(tensor, settings.activations, settings.batch, settings.threads)
    compressed = step(weight)
    out = compressed.shape(x.shape)
    whole = step(DenseWeight(shape, dense.reshape(shape[0], math.prod(shape[1:]))))
    return Pair(weight, weight.kernel, out, lambda: whole(x), lambda: compressed(x))


@contextmanager
def ready(threads: int) -> Iterator[None]:
    """Within it torch and NumPy's BLAS have so many threads, and torch keeps no gradients."""
    with ExitStack() as stack:
        if with_torch():
            import torch

            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
            stack.enter_context(torch.inference_mode())
        stack.enter_context(threadpool_limits(threads))
        yield
