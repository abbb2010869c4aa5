"""A bound on the memory of tensors that are compressed side by side."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import NamedTuple

from deepcompression.tensors.entry import TensorEntry

# the room for all tensors at work beyond twice the largest; the need of one tensor that does not grow with it
_SPARE_BYTES = 128 << 20
_FIXED_BYTES = 48 << 20


class Budget:
    """Room for the tensors at work. A single tensor always has room."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._changed = threading.Condition()

    @classmethod
    def of(cls, entries: Iterable[TensorEntry]) -> Budget:
        """The room for the tensors of a checkpoint."""
        return cls(2 * max((entry.nbytes for entry in entries), default=0) + _SPARE_BYTES)

    def take(self, size: int) -> None:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()


class Need(NamedTuple):
    """Bytes that a tensor needs: `first` until it is pruned and shared, `shared` afterwards if it is shared."""

    first: int
    shared: int

    @classmethod
    def of(cls, entry: TensorEntry, positions: bool = False) -> Need:
        """The need of one tensor. `positions`: its coder takes positions, as the paper's coders do."""
        size = math.prod(entry.shape)
        fixed = min(_FIXED_BYTES, 24 * entry.nbytes)
        # codes, their payload and a copy of it; bitmaps
        shared = 7 * size // 2
        if positions:
            # positions of 8 bytes, if all survive; gaps, symbols, flags of fillers
            shared += 14 * size
        # or the elements, with codes or a byte of payload for each, and bitmaps
        return cls(max(entry.nbytes + 5 * size // 4, shared) + fixed, shared + fixed)
