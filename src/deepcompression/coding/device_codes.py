"""The Huffman codes of the coder `device`, and the choice of its escape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression import _core
from deepcompression.tensors.slices import Bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODE_BITS = 12

Counts = np.ndarray[Any, np.dtype[np.uint64]]

_ESCAPES = tuple((1 << bits) - 1 for bits in range(1, 9))


def bits_of(counts: Counts, lengths: NDArray[np.uint8]) -> int:
    """The bits of all symbols; a lone symbol takes none."""
    return int(counts @ lengths.astype(np.uint64)) if np.count_nonzero(lengths) > 1 else 0


class Code(NamedTuple):
    """A Huffman code, its table, and the bits of all symbols. Of gaps, `last` is the escape."""

    lengths: NDArray[np.uint8]
    table: bytes
    bits: int

    @classmethod
    def of(cls, counts: Counts, likely: Counts | None = None) -> Code:
        """The best code for the counts that are `likely`; by default for the counts themselves."""
        lengths = _core.code_lengths(counts if likely is None else likely, CODE_BITS)
        return cls(lengths, _core.pack_table(lengths), bits_of(counts, lengths))

    @property
    def last(self) -> int:
        return len(self.lengths) - 1

    @property
    def stored_bytes(self) -> float:
        return len(self.table) + self.bits / 8


# of gaps that are all zero
NO_GAPS = Code.of(np.array([1, 0], np.uint64))


class Gaps(NamedTuple):
    """The gaps between the entries of a tensor's groups, and how often each occurs."""

    gaps: Counts
    counts: Counts

    @classmethod
    def of(cls, bits: Bits, size: int, group: int) -> Gaps:
        """Of the survivors in groups of `group` elements; without bits, of all elements."""
        return cls(*_core.gap_counts(bits, size, group))

    def symbols(self, escape: int) -> Counts:
        """How often each symbol from 0 to `escape` occurs."""
        step = np.uint64(escape)
        counts = np.zeros(escape + 1, np.uint64)
        np.add.at(counts, (self.gaps % step).astype(np.int64), self.counts)
        counts[escape] += (self.gaps // step) @ self.counts
        return counts

    def code(self, escape: int) -> Code:
        """The best code, or that of smoothed counts: its table is shorter, as no longer gap has a shorter code."""
        counts = self.symbols(escape)
        best, gaps = Code.of(counts), np.flatnonzero(counts[:-1])
        if len(gaps) < 2:
            return best
        likely = counts << np.uint64(16)
        likely[: gaps[-1] + 1] = descending(likely[: gaps[-1] + 1])
        return min(best, Code.of(counts, likely), key=lambda code: code.stored_bytes)

    def best_code(self) -> Code:
        """The code of the best escape."""
        best = min(map(self.code, _ESCAPES), key=self._cost)
        step = best.last // 4
        while step > 0:
            near = (min(best.last + step, _ESCAPES[-1]), best.last - step)
            best = min(best, *map(self.code, near), key=self._cost)
            step //= 2
        return best

    def _cost(self, code: Code) -> float:
        """The bytes, with what escapes cost a decoder: an eighth of a bit each."""
        return code.stored_bytes + int((self.gaps // np.uint64(code.last)) @ self.counts) / 64


def descending(counts: Counts) -> Counts:
    """The nearest counts that do not ascend: where they would, they are the mean. None is zero."""
    runs: list[list[int]] = []  # sum and length
    for count in counts.tolist():
        runs.append([count, 1])
        while len(runs) > 1 and runs[-2][0] * runs[-1][1] < runs[-1][0] * runs[-2][1]:
            total, length = runs.pop()
            runs[-1][0] += total
            runs[-1][1] += length
    means = [max(total // length, 1) for total, length in runs]
    return np.repeat(np.array(means, np.uint64), [length for _, length in runs])
