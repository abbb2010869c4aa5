"""The form `word`: what its header says of pairs, parts and sections, for kernels outside of the core."""

from __future__ import annotations

from typing import NamedTuple

from deepcompression.packed.packing import Header

BLOCK_PARTS = 32
_HEADER_BYTES = _SECTION_BYTES = 64
_MOST_NARROW = 0xFFFF


class WordShape(NamedTuple):
    """How core/packed/word/word.hpp lays these packed weights out.

    skip_bits     of a pair, below its code
    pair_bits     of a pair
    word_pairs    pairs of a word
    parts         of a row: 1, 2, 4, 8, 16 or 32
    block_rows    stored rows of a block: 32 / parts
    blocks        their number
    row_bytes     2 or 4: of the row of the matrix that a stored row is
    column_bytes  2 or 4: of the column where a part begins
    codebook, order, starts, columns, words  bytes in front of each section; `bytes` are all
    """

    skip_bits: int
    pair_bits: int
    word_pairs: int
    parts: int
    block_rows: int
    blocks: int
    row_bytes: int
    column_bytes: int
    codebook: int
    order: int
    starts: int
    columns: int
    words: int
    bytes: int


def word_shape(facts: Header) -> WordShape:
    """Raises ValueError for another form."""
    if facts.form != "word":
        raise ValueError(f"pairs and parts are those of the form word; found weights packed in the form {facts.form}")
    skip_bits, parts = facts.layout & 15, 1 << (facts.layout >> 4)
    pair_bits, block_rows = skip_bits + facts.code_bits, BLOCK_PARTS // parts
    row_bytes, column_bytes = (2 if count <= _MOST_NARROW else 4 for count in (facts.rows, facts.columns))
    lanes = BLOCK_PARTS * facts.units
    sizes = (4 << facts.code_bits, row_bytes * block_rows * facts.units, 4 * (facts.units + 1), column_bytes * lanes)
    begins = [_HEADER_BYTES]
    for size in (*sizes, 4 * BLOCK_PARTS * facts.length):
        begins.append(begins[-1] + -(-size // _SECTION_BYTES) * _SECTION_BYTES)
    numbers = (skip_bits, pair_bits, 32 // pair_bits, parts, block_rows, facts.units, row_bytes, column_bytes)
    return WordShape(*numbers, *begins)
