"""Products of vectors with packed weights of the form `word`.

Each lane walks its part of a row. It decodes a pair once, for all vectors of a bundle: 1, 2, 4, 8 or 16 of them.
"""

import triton
import triton.language as tl

from deepcompression.gpu.word_kernels import reached, sections, skip_of, table_of, turns_of, weight_of, word_of


@triton.jit(do_not_specialize=["vectors"])
def turn(x, turned, spoilt, columns, vectors, bundle: tl.constexpr, tile: tl.constexpr):
    """Vectors -> bundles, so that a lane reads one column of a whole bundle at once.

    x       (vectors, columns)
    turned  float32 (bundles, columns, bundle), zeros behind the last vector
    spoilt  float32 (bundles, programs, bundle): how many numbers of each program's columns are not finite
    """
    program, programs, group = tl.program_id(0), tl.num_programs(0), tl.program_id(1)
    each = tl.arange(0, bundle)[None, :]
    vector = group * bundle + each
    found = tl.zeros((tile, bundle), tl.float32)
    for first in range(program * tile, columns, programs * tile):
        column = (first + tl.arange(0, tile))[:, None]
        known = (column < columns) & (vector < vectors)
        values = tl.load(x + vector.to(tl.int64) * columns + column, mask=known, other=0.0).to(tl.float32)
        found += tl.where(values * 0.0 == 0.0, 0.0, 1.0)
        to = turned + (group.to(tl.int64) * columns + column) * bundle + each
        tl.store(to, values, mask=column < columns)
    to = spoilt + (group * programs + program) * bundle + tl.arange(0, bundle)
    tl.store(to, tl.sum(found, axis=0))


@triton.jit
def zero_or_nan(x, columns, width: tl.constexpr):
    """Zero if all numbers of a vector are finite, else NaN."""
    found = tl.zeros((width,), tl.float32)
    for first in range(0, columns, width):
        column = first + tl.arange(0, width)
        found += tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32) * 0.0
    return tl.sum(found)


@triton.jit
def not_finite(x, columns, width: tl.constexpr):
    """How many numbers of a vector are not finite."""
    found = tl.zeros((width,), tl.float32)
    for first in range(0, columns, width):
        column = first + tl.arange(0, width)
        values = tl.load(x + column, mask=column < columns, other=0.0).to(tl.float32)
        found += tl.where(values * 0.0 == 0.0, 0.0, 1.0)
    return tl.sum(found)


@triton.jit
def walk(
    x,
    at,
    begin,
    codebook,
    count,
    columns,
    marks: tl.constexpr,
    code_bits: tl.constexpr,
    skip_bits: tl.constexpr,
    part_bits: tl.constexpr,
    bundle: tl.constexpr,
    warps: tl.constexpr,
    unrolled: tl.constexpr,
):
    """The sums of rows: a tuple of float32 (rows, at most 4), each for some vectors of the bundle.

    at     pointers to the first words of all parts, (warps, 32)
    begin  the columns before theirs
    count  the turns of each block, (warps, 1)
    marks  counts the numbers that are not finite and meet survivors, instead of adding up products
    """
    each: tl.constexpr = min(bundle, 4)
    fours: tl.constexpr = bundle // each
    last = (columns - 1).to(tl.uint32)
    table = table_of(codebook, tl.arange(0, 32)[None, :], warps, code_bits)
    column = begin
    sums = ()
    for _ in tl.static_range(fours):
        sums += (tl.zeros((warps, 32, each), tl.float32),)
    words = ()
    for ahead in tl.static_range(unrolled):
        words += (word_of(at + 32 * ahead, ahead, count),)
    for first in range(0, tl.max(count), unrolled):
        # those of the next turns are on their way while these are multiplied
        at += 32 * unrolled
        following = ()
        for ahead in tl.static_range(unrolled):
            following += (word_of(at + 32 * ahead, first + unrolled + ahead, count),)
        for ahead in tl.static_range(unrolled):
            word = words[ahead]
            for pair in tl.static_range(32 // (code_bits + skip_bits)):
                skip = skip_of(word, pair, code_bits, skip_bits)
                column = reached(column, skip, skip_bits)
                survives = (skip != (1 << skip_bits) - 1)[:, :, None]
                weight = weight_of(codebook, table, word, pair, code_bits, skip_bits)[:, :, None]
                from_x = x + tl.minimum(column, last)[:, :, None] * bundle + tl.arange(0, each)[None, None, :]
                added = ()
                for four in tl.static_range(fours):
                    value = tl.load(from_x + 4 * four).to(tl.float32)
                    term = tl.where(value * 0.0 == 0.0, 0.0, 1.0) if marks else value * weight
                    added += (tl.where(survives, sums[four] + term, sums[four]),)
                sums = added
        words = following
    of_rows = ()
    for four in tl.static_range(fours):
        of_parts = tl.reshape(sums[four], ((32 * warps) >> part_bits, 1 << part_bits, each))
        of_rows += (tl.sum(of_parts, axis=1),)
    return of_rows


@triton.jit(do_not_specialize=["rows", "columns", "units", "length", "vectors"])
def product(
    x,
    spoilt,
    packed,
    bias,
    y,
    rows,
    columns,
    units,
    length,
    vectors,
    code_bits: tl.constexpr,
    skip_bits: tl.constexpr,
    part_bits: tl.constexpr,
    many: tl.constexpr,
    wide: tl.constexpr,
    bundle: tl.constexpr,
    programs: tl.constexpr,
    warps: tl.constexpr,
    unrolled: tl.constexpr,
):
    """y = x W^T + bias for the rows of `warps` blocks and one bundle of vectors.

    x       (vectors, columns) for bundles of one vector, else as `turn` writes it
    spoilt  None for bundles of one vector, else as `turn` writes it, by so many `programs`
    y       (vectors, rows)
    """
    each: tl.constexpr = min(bundle, 4)
    fours: tl.constexpr = bundle // each
    stored_rows: tl.constexpr = (32 * warps) >> part_bits
    program, group = tl.program_id(0), tl.program_id(1)
    codebook, order, starts, begins, words = sections(packed, units, code_bits, part_bits, many, wide)
    lane = tl.arange(0, 32)[None, :]
    block = (program * warps + tl.arange(0, warps))[:, None]
    known = block < units
    first, count = turns_of(starts, block, known, length)
    at = words + first * 32 + lane
    begin = tl.load(begins + (block.to(tl.int64) * 32 + lane), mask=known, other=0).to(tl.uint32) - 1
    x += group.to(tl.int64) * columns * bundle
    if bundle == 1:
        zero = zero_or_nan(x, columns, 128 * warps)
        is_spoilt = zero != zero
    else:
        spoilt += group * programs * bundle
        by_program = tl.arange(0, programs)[:, None] * bundle
        is_spoilt = tl.max(tl.load(spoilt + by_program + tl.arange(0, bundle)[None, :])) > 0.0
    sums = walk(x, at, begin, codebook, count, columns, 0, code_bits, skip_bits, part_bits, bundle, warps, unrolled)
    # a number that is not finite times a pruned weight, which is zero, is NaN
    spoils = ()
    for _ in tl.static_range(fours):
        spoils += (tl.zeros((stored_rows, each), tl.float32),)
    if is_spoilt:
        met = walk(x, at, begin, codebook, count, columns, 1, code_bits, skip_bits, part_bits, bundle, warps, 1)
        found = ()
        for four in tl.static_range(fours):
            if bundle == 1:
                there = not_finite(x, columns, 128 * warps)
            else:
                there = tl.sum(tl.load(spoilt + by_program + (4 * four + tl.arange(0, each))[None, :]), axis=0)[None, :]
            found += (tl.where(met[four] == there, 0.0, float("nan")),)
        spoils = found
    stored = program * stored_rows + tl.arange(0, stored_rows)
    row = tl.load(order + stored, mask=(stored >> (5 - part_bits)) < units, other=rows).to(tl.int64)
    named = (row >= 0) & (row < rows)
    for four in tl.static_range(fours):
        sum = sums[four] + spoils[four]
        if bias is not None:
            sum += tl.load(bias + row, mask=named, other=0.0).to(tl.float32)[:, None]
        vector = (group * bundle + 4 * four + tl.arange(0, each))[None, :]
        tl.store(y + vector.to(tl.int64) * rows + row[:, None], sum, mask=named[:, None] & (vector < vectors))
