"""The paper's own layout as coders: relative indices with fillers (its figure 2), and Huffman codes (its section 4)."""

from __future__ import annotations

import math

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account
from deepcompression.coding.gaps import Code, plan_positions, read_gaps, read_stream, read_table, write_positions
from deepcompression.common.binary import Cursor, FormatError, varint
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, nonzero_bits
from deepcompression.tensors.tensor import BitmapTensor, CompressedTensor, DenseTensor, Tensor


def encode_sparse(tensor: Tensor, gap_bits: int | None = None) -> bytes:
    elements = tensor.dense().elements.reshape(-1)
    positions = np.flatnonzero(nonzero_bits(elements)).astype(np.int64)
    if not len(positions):
        return varint(0)
    plan = plan_positions(positions, gap_bits, lambda fillers: fillers * elements.itemsize)
    written, filler = write_positions(positions, plan)
    values = np.zeros(len(filler), elements.dtype)
    values[~filler] = elements[positions]
    return written + values.tobytes()


def decode_sparse(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    size = math.prod(shape)
    gaps = read_gaps(cursor, size, STORAGE[dtype].itemsize)
    data = cursor.rest()
    storage = STORAGE[dtype]
    expected = len(gaps.values) * storage.itemsize
    if len(data) != expected:
        raise FormatError(f"{len(gaps.values)} entries of {dtype} take {expected} bytes; found {len(data)}")
    values = np.frombuffer(data, storage)
    survives = nonzero_bits(values)
    positions = _core.from_paper_gaps(gaps.values, ~survives, size)
    elements = np.zeros(size, storage)
    elements[positions] = values[survives]
    account = Account(gaps.parts | {"values": len(data)}, len(values), len(positions), 0, gaps.bits)
    return DenseTensor(dtype, elements.reshape(shape)), account


def encode_huffman(tensor: Tensor, gap_bits: int | None = None) -> bytes | None:
    """None for a tensor that is not shared."""
    if isinstance(tensor, DenseTensor):
        recognised = CompressedTensor.from_dense(tensor)
        if recognised is None:
            return None
        tensor = recognised
    tensor = tensor.canonical()
    if not len(tensor.positions):
        return varint(0)
    centroids = len(tensor.codebook)
    counts = _core.symbol_counts(tensor.codes.astype(np.uint16), centroids + 1)

    def code_for(fillers: int) -> Code:
        with_fillers = counts.copy()
        with_fillers[centroids] = fillers
        return Code.of(with_fillers)

    def code_bytes(fillers: int) -> int:
        code = code_for(fillers)
        return len(code.table) + code.stream_bytes

    plan = plan_positions(tensor.positions, gap_bits, code_bytes)
    written, filler = write_positions(tensor.positions, plan)
    symbols = np.full(len(filler), centroids, np.uint16)
    symbols[~filler] = tensor.codes
    code = code_for(plan.fillers)
    codebook = tensor.codebook.tobytes()
    return b"".join(
        (written, bytes([centroids - 1]), codebook, code.table, _core.encode_symbols(symbols, code.lengths))
    )


def decode_huffman(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    if dtype not in WEIGHT_DTYPES:
        raise FormatError(f"the coder huffman holds {', '.join(WEIGHT_DTYPES)}; found {dtype}")
    size = math.prod(shape)
    gaps = read_gaps(cursor, size, 0)
    storage = STORAGE[dtype]
    parts = dict(gaps.parts)
    if not len(gaps.values):
        empty = CompressedTensor(shape, np.zeros(0, np.int64), np.zeros(0, storage), np.zeros(0, np.uint8), dtype)
        return empty, Account(parts)
    centroids = cursor.u8("number of centroids") + 1
    parts["fields"] += 1
    codebook = np.frombuffer(cursor.take(centroids * storage.itemsize, "codebook"), storage)
    parts["codebook"] = codebook.nbytes
    start = cursor.at
    lengths = read_table(cursor, centroids + 1)
    parts["code table"] = cursor.at - start
    parts["codes"] = cursor.left
    symbols = read_stream(cursor, cursor.left, lengths, len(gaps.values))
    filler = symbols == centroids
    positions = _core.from_paper_gaps(gaps.values, filler, size)
    codes = symbols[~filler].astype(np.uint8)
    account = Account(parts, len(symbols), len(positions), centroids, gaps.bits)
    return CompressedTensor(shape, positions, codebook, codes, dtype), account


def decode_huffman_bitmap(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> BitmapTensor:
    """The tensor as a bitmap: its positions, which the gaps are summed up to, are not kept."""
    tensor, _ = decode_huffman(cursor, dtype, shape)
    assert isinstance(tensor, CompressedTensor)
    return BitmapTensor.of(tensor)
