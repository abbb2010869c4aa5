"""Products with packed weights in plain torch operations, for every device: from the same bytes as the core's kernels,
a bounded number of survivors at a time, never the dense matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from deepcompression.packing import Header

_GROUP_ROWS, _STEP_SLOTS, _BLOCK_COLUMNS, _BLOCK_ELEMENTS = 16, 64, 63, 64
_HEADER_BYTES = _SECTION_BYTES = 64

# Products held at once: bounds the memory of a call at about 12 bytes each.
_CHUNK_PRODUCTS = 1 << 20

# As in core/multiply.cpp: beyond so many columns, or below this magnitude, int8 activations are computed as floats.
_INTEGER_COLUMNS = 65536
_LEAST_INTEGER = torch.finfo(torch.float32).tiny * 2.0**24

_forced = False


@contextmanager
def plain_operations() -> Iterator[None]:
    """Within it, CPU tensors too are computed by this module, not by the core: for tests, and to compare."""
    global _forced
    before, _forced = _forced, True
    try:
        yield
    finally:
        _forced = before


def forced() -> bool:
    return _forced


class _Window(NamedTuple):
    """The sections of core/window.hpp as tensors that share the packed bytes."""

    codebook: Tensor  # float32 (1 << code_bits,)
    digits: Tensor  # int8 (1 << code_bits,), of the plane 0
    ends: Tensor  # int32 (groups,)
    order: Tensor  # int32 (16 * groups,)
    starts: Tensor  # int32 (2 * pairs,)
    stream: Tensor  # uint8 (pairs, bytes of a pair)


def _sections(packed: Tensor, facts: Header) -> _Window:
    groups, pairs, centroids = facts.units, facts.length, 1 << facts.code_bits
    planes = 3 if facts.grid_bits == 16 else 1
    pair_bytes = 256 if facts.code_bits == 8 else 192
    at = _HEADER_BYTES
    found = []
    sizes = (4 * centroids, planes * centroids, 4 * groups, 64 * groups, 64 * groups * planes, 4 * pairs)
    for size in (*sizes, pair_bytes * pairs):
        found.append(packed[at : at + size])
        at += _round_up(size)
    codebook, digits, ends, order, _, starts, stream = found
    return _Window(
        codebook.view(torch.float32),
        digits[:centroids].view(torch.int8),
        ends.view(torch.int32),
        order.view(torch.int32),
        # no column of a window lies behind 2^16 blocks
        starts.view(torch.int16).to(torch.int32) & 0xFFFF,
        stream.view(pairs, pair_bytes),
    )


def _blocks(facts: Header) -> int:
    """Blocks of a vector, the last of them empty."""
    return max(1, -(-facts.columns // _BLOCK_COLUMNS)) + 1


def _in_blocks(x: Tensor, facts: Header) -> Tensor:
    """(vectors, columns) -> (vectors, 64 * blocks): a zero after every 63 columns, and zeros at the end."""
    filled = _blocks(facts) - 1
    x = torch.nn.functional.pad(x, (0, filled * _BLOCK_COLUMNS - facts.columns))
    x = torch.nn.functional.pad(x.view(len(x), filled, _BLOCK_COLUMNS), (0, 1))
    return torch.nn.functional.pad(x.view(len(x), filled * _BLOCK_ELEMENTS), (0, _BLOCK_ELEMENTS))


def _slots(window: _Window, facts: Header, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Of the pairs from first to last: where each slot's column stands in the blocks, and its code, both int32
    (pairs, 128), by step, lane and slot.
    """
    stream = window.stream[first:last].to(torch.int32)
    bytes_ = stream[:, : 2 * _STEP_SLOTS].view(-1, 2, _STEP_SLOTS)
    places = bytes_ & 127
    if facts.by_slot:
        places = places.view(-1, 2, 4, 4, 4).transpose(-1, -2).reshape(-1, 2, _STEP_SLOTS)
    starts = window.starts[2 * first : 2 * last].view(-1, 2, 1)
    codes = stream[:, 2 * _STEP_SLOTS :]
    if facts.code_bits != 8:
        codes = torch.stack((codes & 15, codes >> 4), 1)
    codes = codes.view(-1, 2, _STEP_SLOTS)
    if facts.code_bits == 5:
        codes = codes | (bytes_ >> 7) << 4
    return (places + starts * _BLOCK_ELEMENTS).view(-1, 2 * _STEP_SLOTS), codes.reshape(-1, 2 * _STEP_SLOTS)


def _window_sums(window: _Window, facts: Header, x: Tensor, weights: Tensor) -> Tensor:
    """(vectors, rows): sums over survivors of x, (vectors, columns), times the weight of its code, in x's dtype."""
    vectors = len(x)
    blocks = _in_blocks(x, facts)
    lanes = x.new_zeros(vectors, facts.units, _GROUP_ROWS)
    chunk = max(1, _CHUNK_PRODUCTS // max(1, vectors * 2 * _STEP_SLOTS))
    for first in range(0, facts.length, chunk):
        last = min(first + chunk, facts.length)
        places, codes = _slots(window, facts, first, last)
        products = blocks[:, places.long()] * weights[codes.long()]
        sums = products.view(vectors, last - first, 2, _GROUP_ROWS, 4).sum((2, 4), dtype=x.dtype)
        pairs = torch.arange(first, last, dtype=torch.int32, device=x.device)
        lanes.index_add_(1, torch.searchsorted(window.ends, pairs, right=True), sums)
    rows = window.order[: facts.rows].long()
    return x.new_empty(vectors, facts.rows).index_copy_(1, rows, lanes.view(vectors, -1)[:, : facts.rows])


def decode_rows(packed: Tensor, facts: Header, rows: Tensor) -> Tensor:
    """Dense rows of the form tile (core/tile.hpp), by their numbers, int64 (count,) on the device of packed: float32
    (count, columns), as they lie there.
    """
    if facts.form != "tile":
        raise NotImplementedError(f"rows of packed weights of the form {facts.form} cannot be decoded")
    centroids, row_bytes = 1 << facts.code_bits, -(-facts.columns // 8)
    starts_at = _HEADER_BYTES + _round_up(4 * centroids)
    bitmap_at = starts_at + _round_up(4 * (facts.rows + 1))
    codes_at = bitmap_at + _round_up(facts.rows * row_bytes)
    codebook = packed[_HEADER_BYTES : _HEADER_BYTES + 4 * centroids].view(torch.float32)
    starts = packed[starts_at : starts_at + 4 * facts.rows].view(torch.int32)
    bitmap = packed[bitmap_at : bitmap_at + facts.rows * row_bytes].view(facts.rows, row_bytes)
    codes, per_byte = packed[codes_at:], 2 if facts.code_bits == 4 else 1
    out = packed.new_empty((len(rows), facts.columns), dtype=torch.float32)
    chunk = max(1, _CHUNK_PRODUCTS // max(1, facts.columns))
    bits_of_byte = torch.arange(8, dtype=torch.uint8, device=packed.device)
    for first in range(0, len(rows), chunk):
        here = rows[first : first + chunk]
        survives = (bitmap[here].unsqueeze(-1) >> bits_of_byte & 1).view(len(here), -1)[:, : facts.columns].bool()
        number = starts[here].long().unsqueeze(1) + survives.cumsum(1) - 1
        number = number.clamp_(0, max(0, facts.survivors - 1))
        code = codes[number // per_byte]
        if per_byte == 2:
            code = code >> (4 * (number & 1)).to(torch.uint8) & 15
        out[first : first + chunk] = torch.where(survives, codebook[code.int()], 0.0)
    return out


def _round_up(size: int) -> int:
    return -(-size // _SECTION_BYTES) * _SECTION_BYTES


def _integers(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in 255 steps, int32 (vectors, columns), and the step of each vector, (vectors, 1)."""
    step = x.abs().amax(1, keepdim=True) / 127
    return torch.round(x * (1 / step)).to(torch.int32), step


def multiply(packed: Tensor, facts: Header, x: Tensor, bias: Tensor | None, activations: str) -> Tensor:
    """x W^T + bias as `packing.matmul`.

    packed  uint8, on the device of x
    x       float32 (vectors, columns)
    bias    float32 (rows,)

    Gives float32 (vectors, rows). Raises NotImplementedError for a form that it does not know.
    """
    if facts.form != "window":
        raise NotImplementedError(f"packed weights of the form {facts.form} cannot be multiplied by on {x.device}")
    if not x.numel() or not facts.rows:
        nothing = x.new_zeros(len(x), facts.rows)
        return nothing if bias is None else nothing + bias
    window = _sections(packed, facts)
    y: Tensor
    finite = x.isfinite()
    good = finite.all(1, keepdim=True)
    whole = bool(good.all())
    if activations == "int8" and facts.columns <= _INTEGER_COLUMNS:
        exact = good & (x.abs().amax(1, keepdim=True) >= _LEAST_INTEGER)
        digits, step = _integers(torch.where(exact, x, 1.0))
        y = _window_sums(window, facts, digits, window.digits.to(torch.int32)) * (step * facts.scale8)
        if not bool(exact.all()):
            y = torch.where(exact, y, _window_sums(window, facts, x, window.codebook))
    else:
        y = _window_sums(window, facts, x, window.codebook)
    if not whole:
        # as a dense layer would: what is not finite meets pruned weights too, and times zero it is NaN
        marks = (~finite).to(x.dtype)
        met = _window_sums(window, facts, marks, torch.ones_like(window.codebook))
        y = torch.where(met == marks.sum(1, keepdim=True), y, math.nan)
    return y if bias is None else y + bias
