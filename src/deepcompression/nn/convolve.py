"""Convolutions and embeddings from packed weights of the form `tile`.

Where it pays, the survivors are computed with as they are (core/packed/convolution/convolution.hpp).
Elsewhere some rows at a time are decoded into one small scratch, just before torch computes from them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from deepcompression import _core
from deepcompression.packed import multiply, packing

# The dense weights that are held at a time, by each thread that calls: shared by all layers.
SCRATCH_BYTES = 4 << 20

# Floats in a vector of the CPU.
_LANES = 16

# Sparse kernels compute whole vectors of a row of the output, and a survivor takes them about twice as long as a
# weight takes dense ones: they pay up to this part of survivors, times what the vectors have too much.
_MOST_WORK = 0.65
# Rows of a group below which they lose too much time with the inputs.
_LEAST_ROWS = 32

_CONVOLUTIONS = {2: functional.conv2d, 3: functional.conv3d}

_own = threading.local()


class Piece(NamedTuple):
    """Rows that are decoded together: of whole groups, or a part of one."""

    first: int
    rows: int
    group: int
    groups: int


class Convolution(NamedTuple):
    """What it is besides its weights: of two or three dimensions, with a number for each of them."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int

    def edges(self, dimension: int) -> tuple[int, int]:
        """The zeros before and behind."""
        if isinstance(self.padding, tuple):
            return self.padding[dimension], self.padding[dimension]
        whole = self.dilation[dimension] * (self.shape[2 + dimension] - 1) if self.padding == "same" else 0
        return whole // 2, whole - whole // 2

    def size(self, dimension: int, inputs: int) -> int:
        """Of the output, where that of the input is `inputs`."""
        reach = self.dilation[dimension] * (self.shape[2 + dimension] - 1) + 1
        return (inputs + sum(self.edges(dimension)) - reach) // self.stride[dimension] + 1


def convolve(
    x: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    weight_shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """What `torch.nn.functional.conv1d`, `conv2d` or `conv3d` gives for the dense weights, to float32 accuracy.

    x             float32 (batch, channels, ...) or (channels, ...), on the CPU
    packed        uint8: `packing.pack(weights, form="tile")`
    weight_shape  of the dense weights; its length says how many dimensions the convolution has
    padding       numbers, "same" or "valid"

    The result is contiguous, and has no gradient. Raises TypeError or ValueError for what does not fit.
    """
    shape = tuple(weight_shape)
    dimensions = len(shape) - 2
    facts = _check(x, packed, bias, shape, groups)
    if x.dim() == dimensions + 1:
        return convolve(x[None], packed, bias, shape, stride, padding, dilation, groups)[0]
    steps, holes = _each(stride, dimensions), _each(dilation, dimensions)
    edges = padding if isinstance(padding, str) else _each(padding, dimensions)
    if dimensions == 1:
        # as torch does it: of a height of one
        x, shape, steps, holes = x[:, :, None], (*shape[:2], 1, shape[2]), (1, *steps), (1, *holes)
        edges = edges if isinstance(edges, str) else (0, *edges)
    what = Convolution(shape, steps, edges, holes, groups)
    # The scratch is overwritten by what follows: no graph may keep it.
    with torch.no_grad():
        x = x.contiguous()
        y = _sparse(x, packed, bias, what) if _pays(x, facts, what) else None
        y = _dense(x, packed, bias, what) if y is None else y
    return y[:, :, 0] if dimensions == 1 else y


def embed(indices: Tensor, packed: Tensor, shape: Sequence[int]) -> Tensor:
    """What `torch.nn.functional.embedding` gives for the dense table: float32 (*indices.shape, columns).

    indices  int32 or int64 numbers of rows, any shape, on the CPU
    packed   uint8: `packing.pack(table, form="tile")`
    shape    of the dense table

    Raises IndexError for numbers of no row, TypeError or ValueError for what does not fit.
    """
    if indices.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"indices are int32 or int64; found {indices.dtype}")
    _check_packed(packed, tuple(shape))
    return torch.from_numpy(multiply.gather(packed.numpy(), indices.numpy(), torch.get_num_threads()))


def _pays(x: Tensor, facts: packing.Header, what: Convolution) -> bool:
    """Whether the sparse kernel is likely to be the faster one."""
    if len(what.shape) != 4 or max(what.stride) != 1 or not x.numel() or not _core.has_sparse_convolution():
        return False
    width = what.size(1, x.shape[3])
    if width < 1 or what.size(0, x.shape[2]) < 1 or not facts.columns or facts.rows // what.groups < _LEAST_ROWS:
        return False
    computed = math.ceil(width / _LANES) * _LANES / width
    return facts.survivors / (facts.rows * facts.columns) * computed <= _MOST_WORK


def _sparse(x: Tensor, packed: Tensor, bias: Tensor | None, what: Convolution) -> Tensor | None:
    """In two dimensions, of stride 1; None if x is not finite."""
    batch, _, height, width = x.shape
    rows, channels, *kernel = what.shape
    y = x.new_empty(batch, rows, what.size(0, height), what.size(1, width))
    shape = _core.ConvolutionShape(
        batch=batch,
        groups=what.groups,
        channels=channels,
        height=height,
        width=width,
        kernel_height=kernel[0],
        kernel_width=kernel[1],
        padding_top=what.edges(0)[0],
        padding_left=what.edges(1)[0],
        dilation_height=what.dilation[0],
        dilation_width=what.dilation[1],
        out_height=y.shape[2],
        out_width=y.shape[3],
    )
    done = _core.convolve_sparse(
        packed.data_ptr(),
        packed.nbytes,
        shape,
        x.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        y.data_ptr(),
        torch.get_num_threads(),
    )
    return y if done else None


def _dense(x: Tensor, packed: Tensor, bias: Tensor | None, what: Convolution) -> Tensor:
    """By torch, from a piece of the weights after the other."""
    channels = what.shape[1]
    parts = []
    for piece in _pieces(what.shape, what.groups):
        parts.append(
            _CONVOLUTIONS[len(what.shape) - 2](
                x.narrow(1, piece.group * channels, piece.groups * channels),
                _decode(packed, piece, what.shape),
                None if bias is None else bias[piece.first : piece.first + piece.rows],
                what.stride,
                what.padding,
                what.dilation,
                piece.groups,
            )
        )
    if not parts:
        raise ValueError(f"a convolution has one output channel at least; its weights have the shape {[*what.shape]}")
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, 1)


def _pieces(shape: tuple[int, ...], groups: int) -> Iterator[Piece]:
    """As many rows at a time as the scratch holds: several groups, or a group in pieces of about the same size."""
    most = max(1, SCRATCH_BYTES // (4 * max(1, math.prod(shape[1:]))))
    rows = shape[0] // groups
    if rows <= most:
        step = most // max(1, rows)
        for group in range(0, groups, step):
            count = min(step, groups - group)
            yield Piece(group * rows, count * rows, group, count)
        return
    even = math.ceil(rows / math.ceil(rows / most))
    step = min(most, math.ceil(even / _LANES) * _LANES)
    for group in range(groups):
        for first in range(0, rows, step):
            yield Piece(group * rows + first, min(step, rows - first), group, 1)


def _decode(packed: Tensor, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    """The dense weights of a piece, in the scratch: they hold until the next call."""
    columns = math.prod(shape[1:])
    scratch: Tensor | None = getattr(_own, "scratch", None)
    if scratch is None or scratch.numel() < piece.rows * columns:
        scratch = _own.scratch = torch.empty(max(SCRATCH_BYTES // 4, piece.rows * columns))
    weights = scratch[: piece.rows * columns]
    multiply.rows(
        packed.numpy(),
        piece.first,
        piece.rows,
        weights.view(piece.rows, columns).numpy(),
        torch.get_num_threads(),
    )
    return weights.view(piece.rows, *shape[1:])


def _each(numbers: Sequence[int], dimensions: int) -> tuple[int, ...]:
    found = tuple(numbers)
    if len(found) == 1:
        return found * dimensions
    if len(found) != dimensions:
        raise ValueError(f"stride, padding and dilation have {dimensions} numbers or one; found {list(found)}")
    return found


def _check(x: Tensor, packed: Tensor, bias: Tensor | None, shape: tuple[int, ...], groups: int) -> packing.Header:
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"weights of a convolution have 3 to 5 dimensions; found shape {list(shape)}")
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise TypeError(f"x is float32 on the CPU; found {x.dtype} on {x.device}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"{shape[0]} output channels do not make {groups} groups")
    channels = groups * shape[1]
    if x.dim() not in (len(shape) - 1, len(shape)) or x.shape[1 - len(shape)] != channels:
        raise ValueError(f"x has {channels} channels and {len(shape) - 2} dimensions; found shape {list(x.shape)}")
    if bias is not None and (bias.shape != shape[:1] or bias.dtype != torch.float32 or not bias.is_contiguous()):
        raise ValueError(f"bias is float32, contiguous, [{shape[0]}]; found {bias.dtype}, {list(bias.shape)}")
    return _check_packed(packed, shape)


def _check_packed(packed: Tensor, shape: tuple[int, ...]) -> packing.Header:
    if packed.dtype != torch.uint8 or packed.device.type != "cpu" or not packed.is_contiguous():
        raise TypeError(f"packed weights are uint8, contiguous, on the CPU; found {packed.dtype} on {packed.device}")
    facts = packing.header(packed.numpy())
    if (facts.form, facts.rows, facts.columns) != ("tile", shape[0], math.prod(shape[1:])):
        raise ValueError(
            f"packed weights of the form tile, for the shape {list(shape)}, are expected; found {facts.rows} rows of "
            f"{facts.columns} columns in the form {facts.form}"
        )
    return facts
