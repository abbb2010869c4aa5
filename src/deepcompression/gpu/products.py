"""Products with packed weights of the form `word`, on the GPU that holds them.

Nothing here waits for the GPU. The sizes of a launch follow from the header alone.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from deepcompression.gpu.launch import Launch, power_of_two, word_constants
from deepcompression.gpu.rows import decode_stored, order_of
from deepcompression.packed.packing import Header

# Blocks of a program. More would read x less often to see whether it is finite; fewer would spread small layers
# over more of a GPU.
WARPS = 8

# Turns whose words are loaded while those before are multiplied. Parts have 8 turns or more; those that fill the last
# step are lost.
UNROLLED = 2

# The most programs that turn a bundle's vectors, and the columns of one step.
_TURN_PROGRAMS, _TURN_COLUMNS = 128, 64

# Vectors that a lane multiplies at once. With 16 a thread takes 72 registers, and a GPU holds 24 warps of 64 it could.
MOST_BUNDLE = 16

# From so many products for each weight on, rows are decoded and torch multiplies. A survivor takes some 16 bytes of the
# L1 cache and 2 instructions for each vector of a bundle, a decoded weight 6 to 8 bytes of the L2 cache for all
# vectors and the tensor cores' time. By these counts both ways are equal at about 6; this was not measured.
_DECODED_FROM = 6.0

# A decoded piece has so many weights at most: 16 MB in float16.
_PIECE_WEIGHTS = 1 << 23

# Columns times vectors of a bundle that kernels number with 32 bits.
_MOST_NUMBERED = 1 << 31

# Vectors of a launch. Of its second dimension, which has their bundles, CUDA takes 65,535 at most.
_MOST_VECTORS = 1 << 15

# Plans that are remembered: for each weight one for each small number of vectors that was met.
_MOST_PLANS = 4096


def linear(x: Tensor, packed: Tensor, facts: Header, bias: Tensor | None = None) -> Tensor:
    """x W^T + bias: (..., rows), of the dtype of x. Sums are float32 and rounded once.

    x       (..., columns), float32, bfloat16 or float16, on a GPU
    packed  uint8 of the form word, on the same GPU
    facts   the header of `packed`
    bias    (rows,), of any float dtype, on the same GPU

    From 17 vectors on, rows may be decoded in pieces, in the dtype of x, and multiplied by torch.

    Raises ValueError for another form and for vectors that do not fit.
    """
    if facts.form != "word":
        raise ValueError(f"GPUs multiply by the form word; found weights packed in the form {facts.form}")
    if x.shape[-1] != facts.columns:
        raise ValueError(f"x has {facts.columns} columns; found shape {list(x.shape)}")
    y = x.new_empty((*x.shape[:-1], facts.rows))
    size = y.numel()
    if not size:
        return y
    if not facts.columns:
        return y.copy_(bias) if bias is not None else y.zero_()
    vectors, x = size // facts.rows, x.contiguous()
    bias = None if bias is None else bias.contiguous()
    many = vectors > MOST_BUNDLE and vectors * facts.survivors > _DECODED_FROM * facts.rows * facts.columns
    if vectors <= _MOST_VECTORS and not many:
        _walked(x, vectors, packed, facts, bias, y)
        return y
    flat, out = x.view(vectors, facts.columns), y.view(vectors, facts.rows)
    if many:
        _decoded(flat, packed, facts, bias, out)
        return y
    for some, of_some in zip(torch.split(flat, _MOST_VECTORS), torch.split(out, _MOST_VECTORS), strict=True):
        _walked(some, len(some), packed, facts, bias, of_some)
    return y


class _Plan(NamedTuple):
    """How kernels multiply few vectors, or many of them in bundles, by one weight.

    turn      None for bundles of one vector
    programs  those of `turn` for a bundle; 1 without it
    blocks    groups of them, each for one program of `product`
    """

    bundle: int
    turn: Launch | None
    programs: int
    product: Launch
    blocks: int


@functools.lru_cache(_MOST_PLANS)
def _plan(facts: Header, vectors: int) -> _Plan:
    from deepcompression.gpu import product_kernels as kernels

    bundle, turn, programs = bundle_for(vectors, facts.columns), None, 1
    if bundle > 1:
        programs = min(_TURN_PROGRAMS, power_of_two(-(-facts.columns // _TURN_COLUMNS)))
        turn = Launch(kernels.turn, {"bundle": bundle, "tile": _TURN_COLUMNS})
    sizes = {"bundle": bundle, "programs": programs, "warps": WARPS, "unrolled": UNROLLED}
    product = Launch(kernels.product, word_constants(facts) | sizes, num_warps=WARPS)
    return _Plan(bundle, turn, programs, product, -(-facts.units // WARPS))


def bundle_for(vectors: int, columns: int) -> int:
    """The vectors of a bundle."""
    bundle = power_of_two(min(vectors, MOST_BUNDLE))
    return bundle if columns * bundle < _MOST_NUMBERED else 1


def _walked(x: Tensor, vectors: int, packed: Tensor, facts: Header, bias: Tensor | None, y: Tensor) -> None:
    """By kernels that compute from the survivors."""
    columns, spoilt = facts.columns, None
    bundle, turn, programs, product, blocks = _plan(facts, min(vectors, MOST_BUNDLE))
    bundles = -(-vectors // bundle)
    if turn is not None:
        turned = x.new_empty(bundles * columns * bundle, dtype=torch.float32)
        spoilt = x.new_empty(bundles * programs * bundle, dtype=torch.float32)
        turn((programs, bundles, 1), (x, turned, spoilt), columns, vectors)
        x = turned
    tensors = x, spoilt, packed, bias, y
    product((blocks, bundles, 1), tensors, facts.rows, columns, facts.units, facts.length, vectors)


def _decoded(x: Tensor, packed: Tensor, facts: Header, bias: Tensor | None, y: Tensor) -> None:
    """By torch, from pieces of decoded rows in one scratch."""
    count = min(facts.rows, max(1, _PIECE_WEIGHTS // facts.columns))
    scratch = x.new_empty(count, facts.columns)
    order = order_of(packed, facts)
    for first in range(0, facts.rows, count):
        here = order[first : first + count]
        weight = decode_stored(packed, facts, first, scratch[: len(here)])
        part = x @ weight.T if bias is None else torch.addmm(bias[here].to(x.dtype), x, weight.T)
        y.index_copy_(1, here, part)
