"""Products with packed weights in plain torch operations, for every device: from the same bytes as the core's kernels,
a bounded number of survivors at a time, never the dense matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcompression.packed.packing import FORMS, LAYOUTS, Header
from deepcompression.packed.torch_reference_segments import Panel, Quad, sections, unsigned16

_STEP_ROWS, _STEP_SLOTS, _BLOCK_COLUMNS, _BLOCK_ELEMENTS = 16, 64, 63, 64

# Products held at once: bounds the memory of a call at about 12 bytes each.
_CHUNK_PRODUCTS = 1 << 20

# As in core/packed/activations.hpp: beyond so many columns, or below this magnitude, int8 activations are computed as
# floats.
_INTEGER_COLUMNS = 65536
_LEAST_INTEGER = torch.finfo(torch.float32).tiny * 2.0**24

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}

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
    """The sections of the form window (core/packed/window/window.hpp): tensors that share the packed bytes."""

    codebook: Tensor  # float32 (1 << code_bits,)
    digits: Tensor  # int8 (1 << code_bits,), of the plane 0
    ends: Tensor  # int32 (groups,)
    order: Tensor  # int32 (rows of a group * groups,)
    starts: Tensor  # int32 (pairs, windows of a pair)
    fifths: Tensor  # uint8 (16 * pairs,) in the layout one_window with 5 bits a code
    stream: Tensor  # uint8 (pairs, bytes of a pair)


def _windows(facts: Header) -> int:
    """Of a pair of steps; with one, each step is of rows of its own."""
    return 1 if facts.layout == LAYOUTS.index("one_window") else 2


def _group_rows(facts: Header) -> int:
    return 2 * _STEP_ROWS // _windows(facts)


def _window(packed: Tensor, facts: Header) -> _Window:
    groups, pairs, centroids = facts.units, facts.length, 1 << facts.code_bits
    pair_bytes, windows = 256 if facts.code_bits == 8 else 192, _windows(facts)
    planes = 4 if facts.layout == LAYOUTS.index("digits24") else 3 if facts.grid_bits == 16 and windows == 2 else 1
    lanes = groups * _group_rows(facts)
    sizes = [4 * centroids, planes * centroids, 4 * groups, 4 * lanes, 4 * lanes * planes, 2 * windows * pairs]
    sizes += [16 * pairs if windows == 1 and facts.code_bits == 5 else 0, pair_bytes * pairs]
    codebook, digits, ends, order, _, starts, fifths, stream = sections(packed, sizes)
    return _Window(
        codebook.view(torch.float32),
        digits[:centroids].view(torch.int8),
        ends.view(torch.int32),
        order.view(torch.int32),
        unsigned16(starts).view(pairs, windows),
        fifths,
        stream.view(pairs, pair_bytes),
    )


def _blocks(facts: Header) -> int:
    """Blocks of a vector, the last of them empty."""
    return max(4 // _windows(facts), -(-facts.columns // _BLOCK_COLUMNS)) + 1


def _in_blocks(x: Tensor, facts: Header) -> Tensor:
    """(vectors, columns) -> (vectors, 64 * blocks): a zero after every 63 columns, and zeros at the end."""
    filled = _blocks(facts) - 1
    x = F.pad(x, (0, filled * _BLOCK_COLUMNS - facts.columns))
    x = F.pad(x.view(len(x), filled, _BLOCK_COLUMNS), (0, 1))
    return F.pad(x.view(len(x), filled * _BLOCK_ELEMENTS), (0, _BLOCK_ELEMENTS))


def _slots(window: _Window, facts: Header, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Of the pairs from first to last: where each slot's column stands in the blocks, and its code, both int32
    (pairs, 128), by step, lane and slot.
    """
    stream = window.stream[first:last].to(torch.int32)
    bytes_ = stream[:, : 2 * _STEP_SLOTS].view(-1, 2, _STEP_SLOTS)
    places = bytes_ & (255 if _windows(facts) == 1 else 127)
    if facts.layout == LAYOUTS.index("by_slot"):
        places = places.view(-1, 2, 4, 4, 4).transpose(-1, -2).reshape(-1, 2, _STEP_SLOTS)
    starts = window.starts[first:last].unsqueeze(-1)
    codes = stream[:, 2 * _STEP_SLOTS :]
    if facts.code_bits != 8:
        codes = torch.stack((codes & 15, codes >> 4), 1)
    codes = codes.view(-1, 2, _STEP_SLOTS)
    if facts.code_bits == 5:
        codes = codes | (bytes_ >> 7 if _windows(facts) == 2 else _fifths(window, first, last)) << 4
    return (places + starts * _BLOCK_ELEMENTS).view(-1, 2 * _STEP_SLOTS), codes.reshape(-1, 2 * _STEP_SLOTS)


def _fifths(window: _Window, first: int, last: int) -> Tensor:
    """The fifth bit of each code, int32 (pairs, 2, 64)."""
    fifths = window.fifths[16 * first : 16 * last].to(torch.int32)
    bits = fifths.unsqueeze(-1) >> torch.arange(8, dtype=torch.int32, device=fifths.device) & 1
    return bits.view(-1, 2, _STEP_SLOTS)


def _window_sums(window: _Window, facts: Header, x: Tensor, weights: Tensor) -> Tensor:
    """(vectors, rows): sums over survivors of x, (vectors, columns), times the weight of its code, in x's dtype."""
    vectors = len(x)
    blocks = _in_blocks(x, facts)
    lanes = x.new_zeros(vectors, facts.units, _group_rows(facts))
    chunk = max(1, _CHUNK_PRODUCTS // max(1, vectors * 2 * _STEP_SLOTS))
    for first in range(0, facts.length, chunk):
        last = min(first + chunk, facts.length)
        places, codes = _slots(window, facts, first, last)
        products = blocks[:, places.long()] * weights[codes.long()]
        sums = products.view(vectors, last - first, 2, _STEP_ROWS, 4).sum(4, dtype=x.dtype)
        sums = sums.sum(2, dtype=x.dtype) if _windows(facts) == 2 else sums.flatten(2)
        pairs = torch.arange(first, last, dtype=torch.int32, device=x.device)
        lanes.index_add_(1, torch.searchsorted(window.ends, pairs, right=True), sums)
    rows = window.order[: facts.rows].long()
    return x.new_empty(vectors, facts.rows).index_copy_(1, rows, lanes.view(vectors, -1)[:, : facts.rows])


def decode_rows(packed: Tensor, facts: Header, rows: Tensor) -> Tensor:
    """Dense rows of the form tile (core/packed/tile/tile.hpp), by their numbers.

    The numbers are int64 (count,) on the device of packed. The rows are float32 (count, columns) on it.
    """
    if facts.form != "tile":
        raise ValueError(f"rows of packed weights of the form {facts.form} cannot be decoded")
    centroids, row_bytes = 1 << facts.code_bits, -(-facts.columns // 8)
    sizes = [4 * centroids, 4 * (facts.rows + 1), facts.rows * row_bytes, len(packed)]
    floats, numbers, bitmap, codes = sections(packed, sizes)
    codebook, starts = floats.view(torch.float32), numbers.view(torch.int32)
    bitmap, per_byte = bitmap.view(facts.rows, row_bytes), 2 if facts.code_bits == 4 else 1
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


def _integers(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in 255 steps, int32 (vectors, columns), and the step of each vector, (vectors, 1)."""
    step = x.abs().amax(1, keepdim=True) / 127
    return torch.round(x * (1 / step)).to(torch.int32), step


def multiply(packed: Tensor, facts: Header, x: Tensor, bias: Tensor | None, activations: str) -> Tensor:
    """x W^T + bias as `packing.matmul`.

    packed  uint8, on the device of x
    x       float32 (vectors, columns)
    bias    float32 (rows,)

    Gives float32 (vectors, rows). Raises ValueError for a form that does not multiply.
    """
    if facts.form == "tile" or facts.form not in FORMS:
        raise ValueError(f"packed weights of the form {facts.form} cannot be multiplied by")
    if not x.numel() or not facts.rows:
        nothing = x.new_zeros(len(x), facts.rows)
        return nothing if bias is None else nothing + bias
    take, weights, digits = _taker(packed, facts)
    finite = x.isfinite()
    good = finite.all(1, keepdim=True)
    y: Tensor
    if activations == "int8" and digits is not None and facts.columns <= _INTEGER_COLUMNS:
        exact = good & (x.abs().amax(1, keepdim=True) >= _LEAST_INTEGER)
        steps, step = _integers(torch.where(exact, x, 1.0))
        y = take(steps, digits) * (step * facts.scale8)
        if not bool(exact.all()):
            y = torch.where(exact, y, take(x, weights))
    else:
        y = take(x, weights)
    if not bool(good.all()):
        # as a dense layer would: what is not finite meets pruned weights too, and times zero it is NaN
        marks = (~finite).to(x.dtype)
        met = take(marks, torch.ones_like(weights))
        y = torch.where(met == marks.sum(1, keepdim=True), y, math.nan)
    return y if bias is None else y + bias


def _taker(packed: Tensor, facts: Header) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor | None]:
    """A function from x, (vectors, columns), and a weight for each code to their sums, (vectors, rows), in the dtype of
    x; the codebook; and the digits of the codes, int32, if x may be integers.
    """
    if facts.form in ("panel", "factored"):
        panel = Panel.of(packed, facts)
        return lambda x, weights: panel.sums(facts, x, weights, _CHUNK_PRODUCTS), panel.codebook, None
    if facts.form == "quad":
        quad = Quad.of(packed, facts)
        digits = quad.digits.to(torch.int32)
        return lambda x, weights: quad.sums(facts, x, weights, _CHUNK_PRODUCTS), quad.codebook, digits
    window = _window(packed, facts)
    digits = window.digits.to(torch.int32)
    return lambda x, weights: _window_sums(window, facts, x, weights), window.codebook, digits


def convolve(
    packed: Tensor,
    facts: Header,
    x: Tensor,
    bias: Tensor | None,
    shape: tuple[int, ...],
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """As `convolve.convolve`, on any device, with a bounded number of dense rows at a time."""
    convolution = _CONVOLUTIONS[len(shape)]
    channel, each = x.dim() - len(shape) + 1, shape[0] // groups
    rows_at_once = max(1, _CHUNK_PRODUCTS // max(1, math.prod(shape[1:])))
    # whole groups together, or parts of one
    groups_at_once = max(1, rows_at_once // max(1, each))
    parts = []
    for group in range(0, groups, groups_at_once):
        count = min(groups_at_once, groups - group)
        inputs = x.narrow(channel, group * shape[1], count * shape[1])
        for first in range(group * each, (group + count) * each, count * each if count > 1 else rows_at_once):
            last = min((group + count) * each, first + (count * each if count > 1 else rows_at_once))
            rows = decode_rows(packed, facts, torch.arange(first, last, device=packed.device))
            weight = rows.view(last - first, *shape[1:])
            part_of_bias = None if bias is None else bias[first:last]
            parts.append(convolution(inputs, weight, part_of_bias, stride, padding, dilation, count))
    return torch.cat(parts, channel)
