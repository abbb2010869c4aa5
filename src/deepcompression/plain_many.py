"""The forms in segments, `panel`, `factored` and `quad`, as tensors of any device, and sums from them in plain torch
operations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcompression.packing import Header

HEADER_BYTES = _SECTION_BYTES = 64


def _round_up(size: int) -> int:
    return -(-size // _SECTION_BYTES) * _SECTION_BYTES


def sections(packed: Tensor, sizes: list[int]) -> list[Tensor]:
    """The sections behind the header, one after the other."""
    found, at = [], HEADER_BYTES
    for size in sizes:
        found.append(packed[at : at + size])
        at += _round_up(size)
    return found


def unsigned16(section: Tensor) -> Tensor:
    return section.view(torch.int16).to(torch.int32) & 0xFFFF


def _in_blocks_of(x: Tensor, blocks: int, columns: int) -> Tensor:
    """(vectors, columns) -> (vectors, blocks * (columns + 1)): a zero after each block."""
    padded = F.pad(x, (0, blocks * columns - x.shape[1]))
    return F.pad(padded.view(len(x), blocks, columns), (0, 1)).view(len(x), -1)


class Panel(NamedTuple):
    """The sections of core/packed/panel/panel.hpp, or of core/packed/factored/factored.hpp.

    The entries of the latter are four columns and a code.
    """

    block_columns: int
    rows_each: int
    codebook: Tensor  # float32 (1 << code_bits,)
    segment_ends: Tensor  # int32 (panels * blocks,), in quartets
    rows: Tensor  # int32 (quartets, 4)
    turn_ends: Tensor  # int32 (quartets,), in turns
    columns: Tensor  # int32 (turns, 4, each), within a block
    codes: Tensor  # uint8 (turns, 4, 1)

    @classmethod
    def of(cls, packed: Tensor, facts: Header) -> Panel:
        block_columns, rows_each, quartets, _ = packed[HEADER_BYTES : HEADER_BYTES + 16].view(torch.int32).tolist()
        blocks, centroids = -(-facts.columns // block_columns), 1 << facts.code_bits
        each = 4 if facts.form == "factored" else 1
        sizes = [16, 4 * centroids, 8 * facts.units * blocks, 8 * quartets, 2 * quartets, 8 * each * facts.length]
        _, codebook, ends, rows, turns, stored, behind = sections(packed, [*sizes, 4 * facts.length])
        entries = unsigned16(stored).view(-1, 4, each)
        columns, codes = (entries >> 8, entries.to(torch.uint8)) if each == 1 else (entries, behind.view(-1, 4, 1))
        return cls(
            block_columns,
            rows_each,
            codebook.view(torch.float32),
            ends.view(torch.int32).view(-1, 2)[:, 0].contiguous(),
            unsigned16(rows).view(-1, 4),
            unsigned16(turns).cumsum(0, dtype=torch.int32),
            columns,
            codes,
        )

    def sums(self, facts: Header, x: Tensor, weights: Tensor, products: int) -> Tensor:
        """(vectors, rows): sums over survivors of x, (vectors, columns), times the weight of its code, in x's dtype;
        about so many products at once.
        """
        blocks = -(-facts.columns // self.block_columns)
        padded = _in_blocks_of(x, blocks, self.block_columns)
        nobody = facts.units * self.rows_each
        sums = x.new_zeros(len(x), nobody + 1)
        chunk = max(1, products // max(1, 4 * self.columns.shape[2] * len(x)))
        for first in range(0, facts.length, chunk):
            last = min(first + chunk, facts.length)
            turns = torch.arange(first, last, dtype=torch.int32, device=x.device)
            quartets = torch.searchsorted(self.turn_ends, turns, right=True)
            segments = torch.searchsorted(self.segment_ends, quartets.int(), right=True)
            rows = self.rows[quartets]
            columns = (segments % blocks * (self.block_columns + 1)).view(-1, 1, 1) + self.columns[first:last]
            lanes = torch.where(
                rows == self.rows_each, nobody, (segments // blocks * self.rows_each).unsqueeze(1) + rows
            )
            found = padded[:, columns] * weights[self.codes[first:last].long()]
            sums.index_add_(1, lanes.view(-1), found.sum(3, dtype=x.dtype).view(len(x), -1))
        return sums[:, : facts.rows]


class Quad(NamedTuple):
    """The sections of core/packed/quad/quad.hpp."""

    block_columns: int
    rows_each: int
    codebook: Tensor  # float32 (1 << code_bits,)
    digits: Tensor  # int8 (1 << code_bits,)
    segment_ends: Tensor  # int32 (panels * blocks,), in runs
    rows: Tensor  # int32 (runs,)
    run_ends: Tensor  # int32 (runs,), in fours
    entries: Tensor  # int32 (fours, 4)

    @classmethod
    def of(cls, packed: Tensor, facts: Header) -> Quad:
        block_columns, rows_each, runs, _ = packed[HEADER_BYTES : HEADER_BYTES + 16].view(torch.int32).tolist()
        blocks, centroids = -(-facts.columns // block_columns), 1 << facts.code_bits
        sizes = [16, 4 * centroids, centroids, 4 * facts.rows, 8 * facts.units * blocks, 2 * runs, 2 * runs]
        _, codebook, digits, _, ends, rows, fours, entries = sections(packed, [*sizes, 8 * facts.length])
        return cls(
            block_columns,
            rows_each,
            codebook.view(torch.float32),
            digits.view(torch.int8),
            ends.view(torch.int32).view(-1, 2)[:, 0].contiguous(),
            unsigned16(rows),
            unsigned16(fours).cumsum(0, dtype=torch.int32),
            unsigned16(entries).view(-1, 4),
        )

    def sums(self, facts: Header, x: Tensor, weights: Tensor, products: int) -> Tensor:
        """As of `Panel`."""
        blocks = -(-facts.columns // self.block_columns)
        padded = _in_blocks_of(x, blocks, self.block_columns)
        sums = x.new_zeros(len(x), facts.units * self.rows_each)
        chunk = max(1, products // max(1, 4 * len(x)))
        for first in range(0, facts.length, chunk):
            last = min(first + chunk, facts.length)
            fours = torch.arange(first, last, dtype=torch.int32, device=x.device)
            runs = torch.searchsorted(self.run_ends, fours, right=True)
            segments = torch.searchsorted(self.segment_ends, runs.int(), right=True)
            entries = self.entries[first:last]
            columns = (segments % blocks * (self.block_columns + 1)).unsqueeze(1) + (entries >> facts.code_bits)
            rows = segments // blocks * self.rows_each + self.rows[runs]
            found = padded[:, columns.view(-1)] * weights[(entries & (1 << facts.code_bits) - 1).view(-1)]
            sums.index_add_(1, rows, found.view(len(x), -1, 4).sum(2, dtype=x.dtype))
        return sums[:, : facts.rows]
