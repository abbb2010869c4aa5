"""Blocks in lanes, decoded on a GPU: a program a segment, 64 lanes side by side (docs/format.md, "Lanes").

A reader on the CPU parses a block's head: its table, its exceptions, and where its segments begin.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from deepcompression import _core
from deepcompression.tensors.dtypes import Array

_LANES = 64
_LONGEST = {8: 7, 4: 14}  # by the turn: the bits of the longest code


def decode(data: Array, offset: int, count: int, alphabet: int, device: torch.device) -> Tensor:
    """The `count` symbols of the block at `offset`: uint8 (count,) on the device, as the core decodes them.

    data      uint8, on the CPU: it holds the block
    alphabet  every symbol is below it

    A block in another layout is decoded by the core, since such blocks are small or stored as they are. Raises
    FormatError for a bad block.
    """
    found = _core.lane_block(data, offset, count, alphabet)
    if found is None:
        return torch.from_numpy(_core.decode_block(data, offset, count, alphabet)[0]).to(device)
    turn, table, begins, firsts, places, rare = found
    start, end = int(begins[0]), int(begins[-1])
    # whole words and one behind them, so that every window is two aligned loads
    words = np.zeros((end - start) // 8 + 2, np.int64)
    words.view(np.uint8)[: end - start] = data[start:end]
    segments = len(begins) - 1
    symbols = torch.empty(-(-count // 8) * 8 + _LANES * turn, dtype=torch.uint8, device=device)
    exact = torch.empty(segments, dtype=torch.int32, device=device)

    def on_device(numbers: Array, dtype: str) -> Tensor:
        return torch.from_numpy(numbers.astype(dtype, copy=False)).to(device)

    _decode_segments[(segments,)](
        on_device(words, "int64"),
        len(words) - 2,
        on_device(begins - begins[0], "int64"),
        on_device(firsts, "int64"),
        on_device(table, "int32"),
        symbols.view(torch.int64 if turn == 8 else torch.int32),
        exact,
        TURN=turn,
        LONGEST=_LONGEST[turn],
        num_warps=1,
    )
    wrong = (exact == 0).nonzero().flatten().tolist()
    if wrong:
        raise _core.FormatError(
            f"block at byte {offset} has {len(wrong)} segments, the first with the number {wrong[0]}, whose bytes are "
            "not those of their symbols"
        )
    if len(places):
        symbols[on_device(places, "int64")] = on_device(rare, "uint8")
    return symbols[:count]


@triton.jit
def _decode_segments(words, last_word, begins, firsts, table, symbols, exact, TURN: tl.constexpr, LONGEST: tl.constexpr):
    """One segment: its symbols, and whether its bytes are exactly those of them. Every read is clamped to the words."""
    segment = tl.program_id(0)
    begin, end = tl.load(begins + segment), tl.load(begins + segment + 1)
    first, last = tl.load(firsts + segment), tl.load(firsts + segment + 1)
    lane = tl.arange(0, 64)
    unused = _eight_bytes(words, last_word, begin + 8 * lane)
    used = tl.zeros((64,), tl.uint64)
    following = begin + 512
    for place in range(first, last, 64 * TURN):
        # the whole bytes that a lane used up leave its window; as many slide in, lane after lane
        slides = (used >> 3).to(tl.int64)
        before = tl.cumsum(slides, 0) - slides
        kept = ~(tl.full((64,), 0xFFFFFFFFFFFFFFFF, tl.uint64) << (used & 56))
        fresh = _eight_bytes(words, last_word, following + before) & kept
        unused = unused | (fresh << ((64 - used) & 63))
        following += tl.sum(slides, 0)
        used = used & 7
        turn = tl.zeros((64,), tl.uint64)
        here = last - place - lane * TURN
        for i in tl.static_range(TURN):
            entry = tl.load(table + (unused & ((1 << LONGEST) - 1)).to(tl.int32))
            live = here > i
            turn = turn | (tl.where(live, entry >> 8, 0).to(tl.uint64) << (8 * i))
            length = tl.where(live, entry & 255, 0).to(tl.uint64)
            unused = unused >> length
            used = used + length
        # a turn is one word of the symbols, since segments begin with whole rounds
        at = place // TURN + lane
        if TURN == 8:
            tl.store(symbols + at, turn.to(tl.int64))
        else:
            tl.store(symbols + at, turn.to(tl.int32))
    rest = tl.max((unused != 0).to(tl.int32), 0)
    tl.store(exact + segment, ((following == end) & (rest == 0)).to(tl.int32))


@triton.jit
def _eight_bytes(words, last_word, at):
    """The eight bytes at each place, the first one lowest."""
    word = tl.minimum(at >> 3, last_word)
    shift = (8 * (at & 7)).to(tl.uint64)
    low = tl.load(words + word).to(tl.uint64, bitcast=True) >> shift
    high = tl.load(words + word + 1).to(tl.uint64, bitcast=True)
    # in two steps, since a shift by 64 is undefined
    return low | ((high << 1) << (63 - shift))
