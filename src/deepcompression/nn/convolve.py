"""Convolutions and embeddings from packed weights of the form `tile`.

Where it pays, a sparse kernel computes from the survivors (core/packed/convolution/convolution.hpp).
Elsewhere some rows at a time are decoded into one small scratch, and torch computes from them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.packed.convolution import LANES, ConvolutionSettings, Piece
from deepcompression.packed.torch_reference import convolve_by_pieces

# Dense weights that each calling thread holds at a time. All layers share them.
SCRATCH_BYTES = 4 << 20

# Sparse kernels pay up to this density, times the part of computed outputs that are wanted: they compute a row of the
# output in whole vectors. A survivor takes them about twice as long as a weight takes dense kernels.
_MOST_WORK = 0.65
# With fewer rows in a group, sparse kernels spend too much time on the inputs.
_LEAST_ROWS = 32

_own = threading.local()


def convolve(
    x: Tensor, packed: Tensor, bias: Tensor | None, weight_shape: Sequence[int], settings: ConvolutionSettings
) -> Tensor:
    """The result of `torch.nn.functional.conv1d`, `conv2d` or `conv3d` for the dense weights, to float32 accuracy.

    x             float32 (batch, channels, ...) or (channels, ...), on the CPU
    packed        uint8: `packing.pack(weights, form="tile")`
    weight_shape  of the dense weights: 3 to 5 dimensions for conv1d to conv3d

    The result is contiguous and has no gradient. Raises TypeError or ValueError for arguments that do not fit.
    """
    shape = tuple(weight_shape)
    dimensions = len(shape) - 2
    facts = _check(x, packed, bias, shape, settings.groups)
    if x.dim() == dimensions + 1:
        return convolve(x[None], packed, bias, shape, settings)[0]
    if dimensions == 1:
        # as in torch: two dimensions, with height one
        x, shape, settings = x[:, :, None], (*shape[:2], 1, shape[2]), settings.with_height()
    # later calls overwrite the scratch, so no graph may keep it
    with torch.no_grad():
        x = x.contiguous()
        y = _sparse(x, packed, bias, shape, settings) if _pays(x, facts, shape, settings) else None
        if y is None:
            elements = SCRATCH_BYTES // 4
            y = convolve_by_pieces(x, bias, shape, settings, lambda piece: _decode(packed, piece, shape), elements)
    return y[:, :, 0] if dimensions == 1 else y


def embed(indices: Tensor, packed: Tensor, shape: Sequence[int]) -> Tensor:
    """The result of `torch.nn.functional.embedding` for the dense table: float32 (*indices.shape, columns).

    indices  int32 or int64 numbers of rows, any shape, on the CPU
    packed   uint8: `packing.pack(table, form="tile")`
    shape    of the dense table

    Raises IndexError for numbers out of range, TypeError or ValueError for arguments that do not fit.
    """
    if indices.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"indices are int32 or int64; found {indices.dtype}")
    _check_packed(packed, tuple(shape))
    numbers = indices.to(torch.int64).contiguous()
    out = torch.empty(*indices.shape, shape[1])
    given = packed.data_ptr(), packed.nbytes, numbers.data_ptr(), numbers.numel(), out.data_ptr()
    try:
        _core.gather_rows(*given, torch.get_num_threads())
    except IndexError:
        found = f"{int(indices.min())} to {int(indices.max())}"
        raise IndexError(f"indices lie within 0 to {shape[0] - 1}; found {found}") from None
    return out


def _pays(x: Tensor, facts: packing.Header, shape: tuple[int, ...], settings: ConvolutionSettings) -> bool:
    """Whether the sparse kernel is likely to be faster than decoding."""
    if len(shape) != 4 or not x.numel() or not facts.columns:
        return False
    outputs = settings.outputs(shape[2:], x.shape[2:])
    return has_kernel(shape, settings.stride, settings.groups, facts.survivors / (facts.rows * facts.columns), outputs)


def has_kernel(
    shape: Sequence[int], stride: Sequence[int], groups: int, density: float, outputs: Sequence[int]
) -> bool:
    """Whether a kernel computes a convolution from its survivors, for outputs of this height and width; or else rows
    are decoded.
    """
    if len(shape) != 4 or max(stride) != 1 or not _core.has_sparse_convolution():
        return False
    if min(outputs) < 1 or shape[0] // groups < _LEAST_ROWS:
        return False
    return density * lanes_of(outputs) / math.prod(outputs) <= _MOST_WORK


def lanes_of(outputs: Sequence[int]) -> int:
    """The positions that the sparse kernel computes for outputs of this height and width: rows in whole vectors."""
    return outputs[0] * math.ceil(outputs[1] / LANES) * LANES


def _sparse(
    x: Tensor, packed: Tensor, bias: Tensor | None, shape: tuple[int, ...], settings: ConvolutionSettings
) -> Tensor | None:
    """A convolution in two dimensions with stride 1; None if x is not finite."""
    batch, _, height, width = x.shape
    rows, channels, *kernel = shape
    y = x.new_empty(batch, rows, *settings.outputs(shape[2:], x.shape[2:]))
    top, left = (settings.edges(shape[2:], dimension)[0] for dimension in (0, 1))
    convolution = _core.ConvolutionShape(
        batch=batch,
        groups=settings.groups,
        channels=channels,
        height=height,
        width=width,
        kernel_height=kernel[0],
        kernel_width=kernel[1],
        padding_top=top,
        padding_left=left,
        dilation_height=settings.dilation[0],
        dilation_width=settings.dilation[1],
        out_height=y.shape[2],
        out_width=y.shape[3],
    )
    bias_at, threads = 0 if bias is None else bias.data_ptr(), torch.get_num_threads()
    done = _core.convolve_sparse(
        packed.data_ptr(), packed.nbytes, convolution, x.data_ptr(), bias_at, y.data_ptr(), threads
    )
    return y if done else None


def _decode(packed: Tensor, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    """The dense weights of a piece, in the scratch, until the next call."""
    columns = math.prod(shape[1:])
    scratch: Tensor | None = getattr(_own, "scratch", None)
    if scratch is None or scratch.numel() < piece.rows * columns:
        scratch = _own.scratch = torch.empty(max(SCRATCH_BYTES // 4, piece.rows * columns))
    weights = scratch[: piece.rows * columns]
    out = weights.view(piece.rows, columns).numpy()
    multiply.rows(packed.numpy(), piece.first, piece.rows, out, torch.get_num_threads())
    return weights.view(piece.rows, *shape[1:])


def _check(x: Tensor, packed: Tensor, bias: Tensor | None, shape: tuple[int, ...], groups: int) -> packing.Header:
    if len(shape) not in (3, 4, 5):
        raise ValueError(f"weights of a convolution have 3 to 5 dimensions; found shape {list(shape)}")
    if x.dtype != torch.float32 or x.device.type != "cpu":
        raise TypeError(f"x is float32 on the CPU; found {x.dtype} on {x.device}")
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"groups={groups} does not divide the {shape[0]} output channels")
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
            f"expected packed weights of the form tile, for the shape {list(shape)}; found {facts.rows} rows of "
            f"{facts.columns} columns in the form {facts.form}"
        )
    return facts
