"""Dense rows of packed weights of the forms `word` and `tile`."""

import triton
import triton.language as tl

from deepcompression.gpu.word_kernels import (
    reached,
    rounded,
    sections,
    skip_of,
    table_of,
    turns_of,
    weight_of,
    word_of,
)


@triton.jit(do_not_specialize=["rows", "columns", "units", "length", "first", "count"])
def word_rows(
    packed,
    numbers,
    out,
    rows,
    columns,
    units,
    length,
    first,
    count,
    code_bits: tl.constexpr,
    skip_bits: tl.constexpr,
    part_bits: tl.constexpr,
    many: tl.constexpr,
    wide: tl.constexpr,
    warps: tl.constexpr,
):
    """Writes the survivors of rows into `out`, (count, columns) of zeros. Each lane walks a part.

    numbers  the places of the rows in the form's order; None: from `first` on. Places that there are not are left out
    """
    codebook, _, starts, begins, words = sections(packed, units, code_bits, part_bits, many, wide)
    lane = tl.arange(0, 32)[None, :]
    part = (tl.program_id(0) * warps + tl.arange(0, warps)).to(tl.int64)[:, None] * 32 + lane
    here = part >> part_bits
    stored = here + first if numbers is None else tl.load(numbers + here, mask=here < count, other=0)
    there = (here < count) & (stored >= 0) & (stored < rows)
    block = stored >> (5 - part_bits)
    of_block = (stored & ((32 >> part_bits) - 1)) << part_bits | (part & ((1 << part_bits) - 1))
    turn, turns = turns_of(starts, block, there & (block < units), length)
    column = tl.load(begins + block * 32 + of_block, mask=there & (block < units), other=0).to(tl.uint32) - 1
    at = words + turn * 32 + of_block
    table = table_of(codebook, lane, warps, code_bits)
    to = out + here * columns
    for turn in range(0, tl.max(turns)):
        word = word_of(at, turn, turns)
        at += 32
        for pair in tl.static_range(32 // (code_bits + skip_bits)):
            skip = skip_of(word, pair, code_bits, skip_bits)
            column = reached(column, skip, skip_bits)
            survives = (skip != (1 << skip_bits) - 1) & (column < columns)
            tl.store(to + column, weight_of(codebook, table, word, pair, code_bits, skip_bits), mask=survives)


@triton.jit(do_not_specialize=["rows", "survivors"])
def tile_rows(packed, numbers, out, rows, columns, survivors, code_bits: tl.constexpr, width: tl.constexpr):
    """Writes the row of the form tile (core/packed/tile/tile.hpp) that each program's number names: (count, columns).

    numbers  those of the rows. Rows that there are not become NaN
    """
    to = out + tl.program_id(0).to(tl.int64) * columns
    row = tl.load(numbers + tl.program_id(0))
    there = (row >= 0) & (row < rows)
    row_bytes = (columns + 7) // 8
    starts_at = 64 + (4 << code_bits)
    bitmap_at = starts_at + rounded(4 * (rows.to(tl.int64) + 1))
    codes = packed + bitmap_at + rounded(rows.to(tl.int64) * row_bytes)
    bitmap = packed + bitmap_at + row * row_bytes
    before = tl.load((packed + starts_at).to(tl.pointer_type(tl.uint32)) + row, mask=there, other=0).to(tl.int64)
    of_row = tl.where(there, columns, 0)
    for first in range(0, columns, width):
        column = first + tl.arange(0, width)
        bits = tl.load(bitmap + column // 8, mask=column < of_row, other=0).to(tl.int32)
        survives = (bits >> (column & 7)) & 1
        number = tl.minimum(before + tl.cumsum(survives, 0) - 1, survivors - 1)
        before += tl.sum(survives)
        if code_bits == 4:
            byte = tl.load(codes + number // 2, mask=survives > 0, other=0).to(tl.int32)
            code = (byte >> (4 * (number & 1)).to(tl.int32)) & 15
        else:
            code = tl.load(codes + number, mask=survives > 0, other=0).to(tl.int32) & ((1 << code_bits) - 1)
        weight = tl.load((packed + 64).to(tl.pointer_type(tl.float32)) + code, mask=survives > 0, other=0.0)
        tl.store(to + column, tl.where(there, weight, float("nan")), mask=column < columns)
