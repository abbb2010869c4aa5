"""Tensors of a file, read and decoded in the background before they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from deepcompression.file.reader import DczFile
from deepcompression.tensors.tensor import Tensor

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Of all tensors when they are dense: below that, threads cost more than they save.
LEAST_BYTES = 4 << 20
# About so many are held by tensors that wait to be taken.
MOST_BYTES = 64 << 20


class ReadAhead:
    """Tensors as they are stored, in an expected order; reading begins at once.

    names    the order; some may be left out, and others may be read at any time
    threads  decode a tensor that is waited for, or so many tensors in the background
    """

    def __init__(self, file: DczFile, names: Iterable[str], threads: int) -> None:
        self._file, self._threads = file, threads
        self._left = list(dict.fromkeys(names))
        self._reading: dict[str, Future[Tensor]] = {}
        self._pool: ThreadPoolExecutor | None = None
        if threads > 1 and sum(file.entries[name].nbytes for name in self._left) >= LEAST_BYTES:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(threads)
            self._read_more(self._pool)

    def read(self, name: str) -> Tensor:
        """As `DczFile.read`, with its errors."""
        begun = self._reading.pop(name, None)
        if name in self._left:
            # those before it were left out
            del self._left[: self._left.index(name) + 1]
        if self._pool is not None:
            self._read_more(self._pool)
        return self._file.read(name, self._threads) if begun is None else begun.result()

    def _read_more(self, pool: ThreadPoolExecutor) -> None:
        waiting = sum(map(self._size, self._reading))
        while self._left and (waiting := waiting + self._size(self._left[0])) <= MOST_BYTES:
            name = self._left.pop(0)
            self._reading[name] = pool.submit(self._file.read, name)

    def _size(self, name: str) -> int:
        """The bytes that it will hold, about: a bit an element and a byte a survivor, or dense."""
        entry = self._file.entries[name]
        return min(entry.nbytes, math.prod(entry.shape) // 8 + 8 * entry.length)

    def close(self) -> None:
        """Ends the reading; waits for what has begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
