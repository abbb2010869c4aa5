"""The engines of a layer, dense and compressed: torch where it is installed, else NumPy."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
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
    """Both computations of a layer for `x` (batch, inputs, *extents)."""
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
    if not with_torch():
        whole = step(DenseWeight(shape, dense.reshape(shape[0], math.prod(shape[1:]))))
        return Pair(weight, weight.kernel, out, lambda: whole(x), lambda: compressed(x))
    import torch
    from torch.nn import functional as F

    from deepcompression.nn.convolve import convolve
    from deepcompression.packed.convolution import ConvolutionSettings
    from deepcompression.packed.torch_reference import CONVOLUTIONS as FUNCTIONS

    given, matrix = torch.from_numpy(x), torch.from_numpy(dense)
    if not padding:
        return Pair(weight, weight.kernel, out, lambda: F.linear(given, matrix), lambda: compressed(x))
    function, packed = FUNCTIONS[len(padding)], torch.from_numpy(weight.packed)
    chosen = ConvolutionSettings.of(len(padding), padding=padding)
    calls = (lambda: function(given, matrix, padding=padding)), (lambda: convolve(given, packed, None, shape, chosen))
    return Pair(weight, "tile, sparse or torch", out, *calls)


def look_ups(tensor: CompressedTensor, rows: NDArray[np.int64], settings: Settings) -> Pair:
    """Both ways to look up rows (batch,) of an embedding table. Needs torch."""
    import torch
    from torch.nn import functional as F

    from deepcompression.nn.convolve import embed

    weight = tile_weight(tensor, settings.threads)
    given, matrix = torch.from_numpy(rows), torch.from_numpy(np.ascontiguousarray(tensor.numpy(), np.float32))
    packed, shape = torch.from_numpy(weight.packed), list(tensor.shape)
    out = (len(rows), tensor.shape[1])
    return Pair(
        weight, "tile, rows looked up", out, lambda: F.embedding(given, matrix), lambda: embed(given, packed, shape)
    )


def verdict(tensor: CompressedTensor, settings: Settings) -> str:
    """How `run` would hold the weight of a layer for this batch: `compressed`, or `dense` with the reason.

    Empty without torch.
    """
    if not with_torch():
        return ""
    import torch
    from torch import nn

    from deepcompression.nn.what_pays import Rule

    rows, inputs, *kernel = tensor.shape
    modules: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    with torch.device("meta"):
        module: nn.Module = modules[len(kernel)](inputs, rows, kernel) if kernel else nn.Linear(inputs, rows)
    rule = Rule("time", settings.activations, settings.batch, [])
    use: Literal["convolution", "linear"] = "convolution" if kernel else "linear"
    found = rule.verdict(use, (module, "weight"), tensor.shape, len(tensor.codes))
    return "compressed" if found.pays else f"dense: {found.why}"


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
