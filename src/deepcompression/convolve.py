"""Convolutions and embeddings from packed weights of the form `tile`, decoded piece by piece into one small scratch.

Dense convolutions win against sparse ones at the densities that convolutions are pruned to, and torch's are good: so
the weights stay compressed in memory, and what torch computes from is decoded just before, into a cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from deepcompression import packing

# The dense weights that are held at a time, by each thread that calls: shared by all layers.
SCRATCH_BYTES = 4 << 20

# Rows of a piece are a multiple of what a vector of the CPU holds.
_LANES = 16

_CONVOLUTIONS = {2: functional.conv2d, 3: functional.conv3d}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}

_own = threading.local()

# The dense weights of a piece, valid until the next is asked for.
Decode = Callable[["Piece"], Tensor]


class Piece(NamedTuple):
    """Rows that are decoded together: of whole groups, or a part of one."""

    first: int
    count: int
    group: int
    groups: int


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

    The result lies in memory with its channels last, where that takes two or three dimensions, and has no gradient.
    Raises TypeError or ValueError for what does not fit.
    """
    shape = tuple(weight_shape)
    _check(x, packed, shape, groups)
    return convolve_by(lambda piece: _decode(packed, piece, shape), x, bias, shape, stride, padding, dilation, groups)


def convolve_by(
    decode: Decode,
    x: Tensor,
    bias: Tensor | None,
    shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """The same on any device, with the weights of whoever decodes them."""
    dimensions = len(shape) - 2
    if x.dim() == dimensions + 1:
        return convolve_by(decode, x[None], bias, shape, stride, padding, dilation, groups)[0]
    steps, holes = _each(stride, dimensions), _each(dilation, dimensions)
    edges = padding if isinstance(padding, str) else _each(padding, dimensions)
    if dimensions == 1:
        # as torch does it: of a height of one
        edges = edges if isinstance(edges, str) else (0, *edges)
        flat = (*shape[:2], 1, shape[2])

        def decode_flat(piece: Piece) -> Tensor:
            return decode(piece).unsqueeze(2)

        return _convolve(decode_flat, x[:, :, None], bias, flat, (1, *steps), edges, (1, *holes), groups)[:, :, 0]
    return _convolve(decode, x, bias, shape, steps, edges, holes, groups)


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
    return torch.from_numpy(packing.gather(packed.numpy(), indices.numpy(), torch.get_num_threads()))


def _convolve(
    decode: Decode,
    x: Tensor,
    bias: Tensor | None,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """In two or three dimensions, and a batch."""
    dimensions = len(shape) - 2
    convolution, channels_last = _CONVOLUTIONS[dimensions], _CHANNELS_LAST[dimensions]
    pieces = list(_pieces(shape, groups))
    whole: Tensor | None = None
    # The scratch is overwritten by the next piece: no graph may keep it.
    with torch.no_grad():
        x = x.contiguous(memory_format=channels_last)
        for piece in pieces:
            weights = decode(piece)
            inputs = x.narrow(1, piece.group * shape[1], piece.groups * shape[1])
            part_of_bias = None if bias is None else bias[piece.first : piece.first + piece.count]
            part = convolution(inputs, weights, part_of_bias, stride, padding, dilation, piece.groups)
            if len(pieces) == 1:
                return part
            if whole is None:
                size = (x.shape[0], shape[0], *part.shape[2:])
                whole = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=channels_last)
            whole.narrow(1, piece.first, piece.count).copy_(part)
    if whole is None:
        raise ValueError(f"a convolution has one output channel at least; its weights have the shape {list(shape)}")
    return whole


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
    if scratch is None or scratch.numel() < piece.count * columns:
        scratch = _own.scratch = torch.empty(max(SCRATCH_BYTES // 4, piece.count * columns))
    weights = scratch[: piece.count * columns]
    packing.rows(
        packed.numpy(),
        piece.first,
        piece.count,
        weights.view(piece.count, columns).numpy(),
        torch.get_num_threads(),
    )
    return weights.view(piece.count, *shape[2:], shape[1]).movedim(-1, 1)


def _each(numbers: Sequence[int], dimensions: int) -> tuple[int, ...]:
    found = tuple(numbers)
    if len(found) == 1:
        return found * dimensions
    if len(found) != dimensions:
        raise ValueError(f"stride, padding and dilation have {dimensions} numbers or one; found {list(found)}")
    return found


def _check(x: Tensor, packed: Tensor, shape: tuple[int, ...], groups: int) -> None:
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"weights of a convolution have 3 to 5 dimensions; found shape {list(shape)}")
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise TypeError(f"x is float32 on the CPU; found {x.dtype} on {x.device}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"{shape[0]} output channels do not make {groups} groups")
    channels = groups * shape[1]
    if x.dim() not in (len(shape) - 1, len(shape)) or x.shape[1 - len(shape)] != channels:
        raise ValueError(f"x has {channels} channels and {len(shape) - 2} dimensions; found shape {list(x.shape)}")
    _check_packed(packed, shape)


def _check_packed(packed: Tensor, shape: tuple[int, ...]) -> None:
    if packed.dtype != torch.uint8 or packed.device.type != "cpu":
        raise TypeError(f"packed weights are uint8 on the CPU; found {packed.dtype} on {packed.device}")
    facts: Any = packing.header(packed.numpy())
    expected = ("tile", shape[0], math.prod(shape[1:]), max(1, math.prod(shape[2:])))
    if (facts.form, facts.rows, facts.columns, facts.length) != expected:
        raise ValueError(
            f"packed weights of the form tile, for the shape {list(shape)}, are expected; found {facts.rows} rows of "
            f"{facts.columns} columns with {facts.length} taps, form {facts.form}"
        )
