"""Tensors of a file, read and decoded in the background before they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from deepcompression.file.reader import DczFile
from deepcompression.tensors.tensor import Tensor

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Dense bytes: of all tensors, below which threads cost more than they save, and of those that wait to be taken.
LEAST_BYTES, MOST_BYTES = 4 << 20, 64 << 20


class ReadAhead:
    """Tensors as they are stored, in an expected order.

    names    the order; some may be left out, and others may be read at any time
    threads  decode a tensor that is waited for, or so many tensors in the background
    """

    def __init__(self, file: DczFile, names: Iterable[str], threads: int) -> None:
        self._file, self._threads = file, threads
        self._left = list(dict.fromkeys(names))
        self._reading: dict[str, Future[Tensor]] = {}
        self._pool: ThreadPoolExecutor | None = None
        if threads > 1 and sum(map(self._size, self._left)) >= LEAST_BYTES:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(threads)

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
        return self._file.entries[name].nbytes

    def close(self) -> None:
        """Ends the reading; waits for what has begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
