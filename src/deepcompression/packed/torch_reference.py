"""Packed weights of the form `tile` in plain torch operations, for devices without kernels.

Some rows at a time are decoded from the bytes that the core takes. The dense matrix never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcompression.packed.convolution import ConvolutionSettings, Piece, pieces
from deepcompression.packed.packing import Header

# The functions of torch by the number of dimensions.
CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# Elements that are decoded at once. A call needs about 12 bytes for each.
_CHUNK_ELEMENTS = 1 << 20

_HEADER_BYTES = _SECTION_BYTES = 64


def multiply(packed: Tensor, facts: Header, x: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + bias: float32 (..., rows).

    packed  uint8 of the form tile, on the device of x
    x       float32 (..., columns)
    bias    float32 (rows,)

    Raises ValueError for another form.
    """
    shape = (facts.rows, facts.columns)
    parts = [x @ _decode(packed, facts, piece).T for piece in pieces(shape, 1, _CHUNK_ELEMENTS)]
    y = torch.cat(parts, -1)
    return y if bias is None else y + bias


def convolve(
    packed: Tensor, facts: Header, x: Tensor, bias: Tensor | None, shape: tuple[int, ...], settings: ConvolutionSettings
) -> Tensor:
    """The result of torch's function for the dense weights, whose shape is `shape`."""

    def decode(piece: Piece) -> Tensor:
        return _decode(packed, facts, piece).view(piece.rows, *shape[1:])

    return convolve_by_pieces(x, bias, shape, settings, decode, _CHUNK_ELEMENTS)


def convolve_by_pieces(
    x: Tensor,
    bias: Tensor | None,
    shape: tuple[int, ...],
    settings: ConvolutionSettings,
    decode: Callable[[Piece], Tensor],
    elements: int,
) -> Tensor:
    """A convolution with weights that `decode` returns in pieces of about so many elements.

    No piece is used after the next one is decoded. Raises ValueError for a convolution without outputs.
    """
    channel, parts = x.dim() - len(shape) + 1, []
    for piece in pieces(shape, settings.groups, elements):
        inputs = x.narrow(channel, piece.group * shape[1], piece.groups * shape[1])
        part_of_bias = None if bias is None else bias[piece.first : piece.first + piece.rows]
        parts.append(
            CONVOLUTIONS[len(shape) - 2](inputs, decode(piece), part_of_bias, *settings._replace(groups=piece.groups))
        )
    if not parts:
        raise ValueError(f"a convolution has one output channel at least; its weights have the shape {[*shape]}")
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, channel)


def _decode(packed: Tensor, facts: Header, piece: Piece) -> Tensor:
    return decode_rows(packed, facts, torch.arange(piece.first, piece.first + piece.rows, device=packed.device))


def decode_rows(packed: Tensor, facts: Header, rows: Tensor) -> Tensor:
    """Dense rows of the form tile (core/packed/tile/tile.hpp): float32 (count, columns), on the device of packed.

    rows  int64 (count,): their numbers, on the device of packed

    Raises ValueError for another form.
    """
    if facts.form != "tile":
        raise ValueError(f"rows are decoded from the form tile; found weights packed in the form {facts.form}")
    centroids, row_bytes = 1 << facts.code_bits, -(-facts.columns // 8)
    sections = _sections(packed, [4 * centroids, 4 * (facts.rows + 1), facts.rows * row_bytes, len(packed)])
    codebook, starts = next(sections).view(torch.float32), next(sections).view(torch.int32)
    bitmap, codes = next(sections).view(facts.rows, row_bytes), next(sections)
    per_byte = 2 if facts.code_bits == 4 else 1
    out = packed.new_empty((len(rows), facts.columns), dtype=torch.float32)
    chunk = max(1, _CHUNK_ELEMENTS // max(1, facts.columns))
    bits_of_byte = torch.arange(8, dtype=torch.uint8, device=packed.device)
    for first in range(0, len(rows), chunk):
        here = rows[first : first + chunk]
        survives = (bitmap[here].unsqueeze(-1) >> bits_of_byte & 1).flatten(1)[:, : facts.columns].bool()
        number = starts[here].long().unsqueeze(1) + survives.cumsum(1) - 1
        number = number.clamp_(0, max(0, facts.survivors - 1))
        code = codes[number // per_byte]
        if per_byte == 2:
            code = code >> (4 * (number & 1)).to(torch.uint8) & 15
        out[first : first + chunk] = torch.where(survives, codebook[code.int()], 0.0)
    return out


def _sections(packed: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    """The sections after the header, in their order."""
    at = _HEADER_BYTES
    for size in sizes:
        yield packed[at : at + size]
        at += -(-size // _SECTION_BYTES) * _SECTION_BYTES
