"""The form word read from its bytes as core/packed/word/word.hpp describes: slow and obvious."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<4sBBBBQQQIIQffQ")
LANES = 32


def sections(packed: NDArray[np.uint8]) -> SimpleNamespace:
    """The parts of packed bytes, and what follows from the header."""
    data = packed.tobytes()
    magic, number, code_bits, grid, layout, rows, columns, survivors, centroids, blocks, turns, _, _, size = (
        HEADER.unpack_from(data)
    )
    assert (magic, number, grid, size) == (b"dcp1", 6, 0, len(data))
    skip_bits, parts = layout % 16, 2 ** (layout // 16)
    found = SimpleNamespace(rows=rows, columns=columns, survivors=survivors, centroids=centroids, turns=turns)
    found.skip_bits, found.pair_bits, found.parts = skip_bits, skip_bits + code_bits, parts
    found.word_pairs, found.block_rows, found.blocks = 32 // found.pair_bits, LANES // parts, blocks
    assert blocks == -(-rows // found.block_rows)
    at = 64

    def take(name: str, kind: str, *shape: int) -> None:
        nonlocal at
        setattr(found, name, np.frombuffer(data, kind, int(np.prod(shape)), at).reshape(shape))
        at += -(-getattr(found, name).nbytes // 64) * 64

    take("codebook", "<f4", 2**code_bits)
    take("order", "<u2" if rows <= 65535 else "<u4", blocks, found.block_rows)
    take("starts", "<u4", blocks + 1)
    take("part_columns", "<u2" if columns <= 65535 else "<u4", blocks, found.block_rows, parts)
    take("words", "<u4", turns, found.block_rows, parts)
    assert at == len(data)
    return found


def pairs_of(found: SimpleNamespace, block: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The skips and codes of a block's parts (block_rows, parts), the first pairs of all, then the second ones."""
    for words in found.words[found.starts[block] : found.starts[block + 1]].astype(np.int64):
        assert not (words >> (found.word_pairs * found.pair_bits)).any()
        for number in range(found.word_pairs):
            pairs = words >> (number * found.pair_bits) & (1 << found.pair_bits) - 1
            yield pairs & (1 << found.skip_bits) - 1, pairs >> found.skip_bits


def codes_of(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The code of each element, -1 where nothing survives."""
    found = sections(packed)
    codes = np.full((found.rows, found.columns), -1, np.int64)
    for block in range(found.blocks):
        columns = found.part_columns[block].astype(np.int64)
        rows = np.broadcast_to(found.order[block][:, None], columns.shape)
        for skips, coded in pairs_of(found, block):
            survives = skips < 2**found.skip_bits - 1
            columns += skips
            at = rows[survives], columns[survives]
            assert (codes[at] == -1).all()
            codes[at] = coded[survives]
            columns += survives
            assert not coded[~survives].any()
    assert (codes >= 0).sum() == found.survivors
    return codes


def weights_of(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The dense matrix."""
    weights: NDArray[Any] = np.append(sections(packed).codebook, np.float32(0))[codes_of(packed)]
    return weights
