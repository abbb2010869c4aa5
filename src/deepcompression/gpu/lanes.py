"""Blocks in lanes, decoded on a GPU: a program a segment, 64 lanes side by side (docs/format.md, "Lanes").

A reader on the CPU parses a block's head: its table, its exceptions, and where its segments begin.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepcompression import _core
from deepcompression.gpu.launch import Launch
from deepcompression.tensors.dtypes import Array

_LANES = 64
_LONGEST = {8: 7, 4: 14}  # by the turn: the bits of the longest code


def decode(data: bytes | memoryview, offset: int, count: int, alphabet: int, device: torch.device) -> Tensor:
    """The `count` symbols of the block at `offset`: uint8 (count,) on the device, as the core decodes them.

    data      bytes on the CPU, which hold the block
    alphabet  every symbol is below it

    A block in another layout is decoded by the core, since such blocks are small or stored as they are. Raises
    FormatError for a bad block.
    """
    from deepcompression.gpu.lane_kernels import decode_segments

    found = _core.lane_block(data, offset, count, alphabet)
    if found is None:
        return torch.from_numpy(_core.decode_block(data, offset, count, alphabet)[0]).to(device)
    turn, table, begins, firsts, places, rare = found
    start, end = int(begins[0]), int(begins[-1])
    # whole words and one behind them, so that every window is two aligned loads
    words = np.zeros((end - start) // 8 + 2, np.int64)
    words.view(np.uint8)[: end - start] = np.frombuffer(data, np.uint8)[start:end]
    segments = len(begins) - 1
    symbols = torch.empty(-(-count // 8) * 8 + _LANES * turn, dtype=torch.uint8, device=device)
    exact = torch.empty(segments, dtype=torch.int32, device=device)

    def on_device(numbers: Array, dtype: str) -> Tensor:
        return torch.from_numpy(numbers.astype(dtype, copy=False)).to(device)

    tensors = (
        on_device(words, "int64"),
        on_device(begins - begins[0], "int64"),
        on_device(firsts, "int64"),
        on_device(table, "int32"),
        symbols.view(torch.int64 if turn == 8 else torch.int32),
        exact,
    )
    launch = Launch(decode_segments, {"turn": turn, "longest": _LONGEST[turn]}, num_warps=1)
    launch((segments, 1, 1), tensors, len(words) - 2)
    wrong = (exact == 0).nonzero().flatten().tolist()
    if wrong:
        raise _core.FormatError(
            f"block at byte {offset} has {len(wrong)} segments, the first with the number {wrong[0]}, whose bytes are "
            "not those of their symbols"
        )
    if len(places):
        symbols[on_device(places, "int64")] = on_device(rare, "uint8")
    return symbols[:count]
