"""The coders of the paper's layout: relative indices with fillers (its figure 2), Huffman codes (its section 4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.gaps import Code, plan_positions, read_gaps, read_stream, write_positions
from deepcompression.common.binary import Cursor, FormatError, varint
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Shape, nonzero_bits
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


def encode_sparse(tensor: Tensor, gap_bits: int | None) -> Iterator[Part]:
    elements = tensor.dense().elements.reshape(-1)
    positions = np.flatnonzero(nonzero_bits(elements)).astype(np.int64)
    if not len(positions):
        yield varint(0)
        return
    plan = plan_positions(positions, gap_bits, lambda fillers: fillers * elements.itemsize)
    written, filler = write_positions(positions, plan)
    values = np.zeros(len(filler), elements.dtype)
    values[~filler] = elements[positions]
    yield written
    yield values.tobytes()


def decode_sparse(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[DenseTensor, Account]:
    size, storage = math.prod(shape), STORAGE[dtype]
    gaps = read_gaps(cursor, size, storage.itemsize)
    data = cursor.rest()
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


def encode_huffman(tensor: Tensor, gap_bits: int | None) -> Iterable[Part] | None:
    """None for a tensor that is not shared."""
    shared = CompressedTensor.from_dense(tensor) if isinstance(tensor, DenseTensor) else tensor.canonical()
    return None if shared is None else _encode_shared(shared, gap_bits)


def _encode_shared(tensor: CompressedTensor, gap_bits: int | None) -> Iterator[Part]:
    positions = tensor.positions
    if not len(positions):
        yield varint(0)
        return
    centroids = len(tensor.codebook)
    counts = _core.symbol_counts(tensor.codes.astype(np.uint16), centroids + 1)

    def code_for(fillers: int) -> Code:
        with_fillers = counts.copy()
        with_fillers[centroids] = fillers
        return Code.of(with_fillers)

    def code_bytes(fillers: int) -> int:
        code = code_for(fillers)
        return len(code.table) + code.stream_bytes

    plan = plan_positions(positions, gap_bits, code_bytes)
    written, filler = write_positions(positions, plan)
    symbols = np.full(len(filler), centroids, np.uint16)
    symbols[~filler] = tensor.codes
    code = code_for(plan.fillers)
    yield written + bytes([centroids - 1]) + tensor.codebook.tobytes() + code.table
    yield _core.encode_symbols(symbols, code.lengths)


def decode_huffman(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[CompressedTensor, Account]:
    if dtype not in WEIGHT_DTYPES:
        raise FormatError(f"the coder huffman holds {', '.join(WEIGHT_DTYPES)}; found {dtype}")
    size, storage = math.prod(shape), STORAGE[dtype]
    gaps = read_gaps(cursor, size, 0)
    parts = dict(gaps.parts)
    if not len(gaps.values):
        empty = CompressedTensor(shape, np.zeros(0, np.int64), np.zeros(0, storage), np.zeros(0, np.uint8), dtype)
        return empty, Account(parts)
    centroids = cursor.u8("number of centroids") + 1
    parts["fields"] += 1
    codebook = np.frombuffer(cursor.take(centroids * storage.itemsize, "codebook"), storage)
    parts["codebook"] = codebook.nbytes
    start = cursor.at
    lengths = cursor.core(_core.unpack_table, centroids + 1)
    parts["code table"] = cursor.at - start
    parts["codes"] = cursor.left
    symbols = read_stream(cursor, cursor.left, lengths, len(gaps.values))
    filler = symbols == centroids
    positions = _core.from_paper_gaps(gaps.values, filler, size)
    codes = symbols[~filler].astype(np.uint8)
    account = Account(parts, len(symbols), len(positions), centroids, gaps.bits)
    return CompressedTensor(shape, positions, codebook, codes, dtype), account
