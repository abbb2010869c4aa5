"""Dense rows of packed weights, on the GPU that holds them: for embeddings, convolutions and products."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from deepcompression.gpu.launch import Launch, power_of_two, word_constants
from deepcompression.packed.packing import Header
from deepcompression.packed.word import word_shape

# Blocks of the form word, and columns of the form tile, that a program decodes at once.
_WARPS, _TILE_COLUMNS = 4, 1024

# Weights whose kernels are remembered.
_MOST_LAUNCHES = 4096


def decode_rows(packed: Tensor, facts: Header, numbers: Tensor, dtype: torch.dtype) -> Tensor:
    """Dense rows by their numbers: (count, columns) of a float dtype.

    packed   uint8 of the form word or tile, on a GPU
    facts    the header of `packed`
    numbers  int64 (count,), on the same GPU. A row that there is not becomes NaN, as no error can be raised

    Raises ValueError for another form.
    """
    out = packed.new_empty((len(numbers), facts.columns), dtype=dtype)
    if facts.form == "word":
        stored = torch.empty(facts.rows, dtype=torch.int64, device=packed.device)
        stored[order_of(packed, facts)] = torch.arange(facts.rows, device=packed.device)
        known = (numbers >= 0) & (numbers < facts.rows)
        if facts.rows:
            numbers = torch.where(known, stored[numbers.clamp(0, facts.rows - 1)], -1)
        _decode_word(packed, facts, 0, out, numbers)
        return out.masked_fill_(~known.unsqueeze(1), float("nan"))
    if facts.form != "tile":
        raise ValueError(f"GPUs decode rows of the forms word and tile; found weights packed in the form {facts.form}")
    if out.numel():
        tensors = packed, numbers.contiguous(), out
        _launch(facts)((len(numbers), 1, 1), tensors, facts.rows, facts.columns, facts.survivors)
    return out


@functools.lru_cache(_MOST_LAUNCHES)
def _launch(facts: Header) -> Launch:
    """The kernel for the rows of one weight."""
    from deepcompression.gpu import row_kernels

    if facts.form == "word":
        return Launch(row_kernels.word_rows, word_constants(facts) | {"warps": _WARPS}, num_warps=_WARPS)
    width = min(_TILE_COLUMNS, max(32, power_of_two(facts.columns)))
    return Launch(row_kernels.tile_rows, {"code_bits": facts.code_bits, "width": width})


def order_of(packed: Tensor, facts: Header) -> Tensor:
    """The rows of the matrix in the order in which the form word stores them: int64 (rows,)."""
    shape = word_shape(facts)
    order = packed[shape.order : shape.order + shape.row_bytes * facts.rows]
    # torch reads 16-bit numbers with a sign
    return order.view(torch.int16).long() & 0xFFFF if shape.row_bytes == 2 else order.view(torch.int32).long()


def decode_stored(packed: Tensor, facts: Header, first: int, out: Tensor) -> Tensor:
    """Fills `out`, float (count, columns) and contiguous, with the rows that the form word stores from `first` on."""
    _decode_word(packed, facts, first, out, None)
    return out


def _decode_word(packed: Tensor, facts: Header, first: int, out: Tensor, stored: Tensor | None) -> None:
    """By their places in the order of the form word: `stored`, or from `first` on. Rows at no place become zero."""
    out.zero_()
    if not out.numel() or not facts.survivors:
        return
    parts = len(out) << (facts.layout >> 4)
    numbers = facts.rows, facts.columns, facts.units, facts.length, first, len(out)
    _launch(facts)((-(-parts // (32 * _WARPS)), 1, 1), (packed, stored, out), *numbers)
