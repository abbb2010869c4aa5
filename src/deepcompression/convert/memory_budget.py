"""Room for tensors that are worked on beside one another, within a bound of memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.entry import TensorEntry

# What tensors that are worked on together may take beyond twice the largest; what one takes beyond what grows with it.
_SPARE_BYTES = 128 << 20
_FIXED_BYTES = 48 << 20


class Budget:
    """Room for the tensors at work. The largest alone has always room."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._changed = threading.Condition()

    @classmethod
    def of(cls, entries: Iterable[TensorEntry]) -> Budget:
        """For the tensors of a checkpoint."""
        return cls(2 * max((entry.nbytes for entry in entries), default=0) + _SPARE_BYTES)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._changed:
            yield
            self._changed.notify_all()

    def take(self, size: int) -> None:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + size <= self._limit)
            self._used += size

    def give_back(self, size: int) -> None:
        with self._change():
            self._used -= size


class Need(NamedTuple):
    """Bytes that a tensor takes until it is pruned and shared, and from then on if it is shared."""

    first: int
    shared: int

    @classmethod
    def of(cls, entry: TensorEntry, positions: bool = False) -> Need:
        """`positions`: it is encoded by a coder that takes them, as those of the paper do."""
        size = entry.nbytes // max(STORAGE[entry.dtype].itemsize, 1)
        fixed = min(_FIXED_BYTES, 24 * entry.nbytes)
        # codes, what they are encoded to, and a copy; bitmaps
        shared = 7 * size // 2
        if positions:
            # of 8 bytes, if all survive; gaps, symbols, and which are fillers
            shared += 14 * size
        # or the elements, codes or a byte of each element encoded, and bitmaps
        return cls(max(entry.nbytes + 5 * size // 4, shared) + fixed, shared + fixed)
