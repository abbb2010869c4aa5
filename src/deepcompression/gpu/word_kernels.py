"""How kernels read the form `word` (core/packed/word/word.hpp): sections, blocks and pairs. Whatever the bytes are, no
access lies outside of them.
"""

import triton
import triton.language as tl


@triton.jit
def rounded(size):
    """The bytes of a section, to the begin of the next one."""
    return (size + 63) // 64 * 64


@triton.jit
def sections(packed, units, code_bits: tl.constexpr, part_bits: tl.constexpr, many: tl.constexpr, wide: tl.constexpr):
    """Pointers to codebook, order, starts, columns and words."""
    blocks = units.to(tl.int64)
    order_at = 64 + (4 << code_bits)
    starts_at = order_at + rounded(((128 if many else 64) >> part_bits) * blocks)
    columns_at = starts_at + rounded(4 * blocks + 4)
    words_at = columns_at + rounded((128 if wide else 64) * blocks)
    return (
        (packed + 64).to(tl.pointer_type(tl.float32)),
        (packed + order_at).to(tl.pointer_type(tl.uint32 if many else tl.uint16)),
        (packed + starts_at).to(tl.pointer_type(tl.uint32)),
        (packed + columns_at).to(tl.pointer_type(tl.uint32 if wide else tl.uint16)),
        (packed + words_at).to(tl.pointer_type(tl.uint32)),
    )


@triton.jit
def turns_of(starts, block, known, length):
    """The first turn of each block, and how many it has: none unless `known`. `length` is that of all."""
    first = tl.minimum(tl.load(starts + block, mask=known, other=0).to(tl.int64), length)
    last = tl.minimum(tl.load(starts + block + 1, mask=known, other=0).to(tl.int64), length)
    # with 64 bits ptxas would take the bound of a loop over turns for one that differs among lanes
    return first, (last - first).to(tl.int32)


@triton.jit
def word_of(at, turn, count):
    """The words of a turn; fillers where it is not below `count`."""
    return tl.load(at, mask=turn < count, other=0xFFFFFFFF)


@triton.jit
def skip_of(word, pair: tl.constexpr, code_bits: tl.constexpr, skip_bits: tl.constexpr):
    """The skip of a pair; 2^skip_bits - 1 makes it a filler."""
    return (word >> (pair * (code_bits + skip_bits))) & ((1 << skip_bits) - 1)


@triton.jit
def reached(column, skip, skip_bits: tl.constexpr):
    """The last column that a pair covers, a survivor's own. `column` is that of the pair before."""
    return column + tl.minimum(skip + 1, (1 << skip_bits) - 1)


@triton.jit
def table_of(codebook, lane, warps: tl.constexpr, code_bits: tl.constexpr):
    """Centroids for `weight_of`, one in each lane of each warp. `lane` is (1, 32)."""
    return tl.broadcast_to(tl.load(codebook + (lane & ((1 << min(code_bits, 5)) - 1))), (warps, 32))


@triton.jit
def weight_of(codebook, table, word, pair: tl.constexpr, code_bits: tl.constexpr, skip_bits: tl.constexpr):
    """The centroid of a pair's code."""
    code = word >> (pair * (code_bits + skip_bits) + skip_bits)
    # the lanes of a warp hand each other up to 32 centroids; with 16 of them the fifth bit of a lane changes nothing
    if code_bits <= 5:
        weight = tl.gather(table, (code & 31).to(tl.int32), 1)
    else:
        weight = tl.load(codebook + (code & ((1 << code_bits) - 1)))
    return weight
