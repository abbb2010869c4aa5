"""Stage 3: tensors <-> payload bytes, by the coders of docs/format.md (the paper's section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deepcompression import _core
from deepcompression.positions import (
    GAP_BITS,
    Code,
    plan_positions,
    read_gaps,
    read_stream,
    read_table,
    write_positions,
)
from deepcompression.tensor import (
    STORAGE,
    WEIGHT_DTYPES,
    CompressedTensor,
    DenseTensor,
    Tensor,
    nonzero_bits,
    size_bytes,
)
from deepcompression.wire import Cursor, FormatError, varint


@dataclass(frozen=True)
class Account:
    """Where the bytes of one payload went, and the counts behind the paper's tables 2 and 3.

    `parts` maps a part's name to its bytes; they add up to the payload. `entries` are survivors and fillers together.
    """

    parts: dict[str, int]
    entries: int = 0
    survivors: int = 0
    centroids: int = 0
    gap_bits: int = 0

    @property
    def fillers(self) -> int:
        return self.entries - self.survivors


def _encode_raw(tensor: Tensor, gap_bits: int | None) -> bytes:
    return tensor.dense().elements.tobytes()


def _decode_raw(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    data = cursor.rest()
    expected = math.prod(shape) * STORAGE[dtype].itemsize
    if len(data) != expected:
        raise FormatError(f"{len(data)} bytes are stored for shape {list(shape)} of {dtype}, which takes {expected}")
    elements = np.frombuffer(data, STORAGE[dtype]).reshape(shape)
    return DenseTensor(dtype, elements), Account({"values": len(data)})


def _encode_sparse(tensor: Tensor, gap_bits: int | None) -> bytes:
    elements = tensor.dense().elements.reshape(-1)
    positions = np.flatnonzero(nonzero_bits(elements)).astype(np.int64)
    if not len(positions):
        return varint(0)
    plan = plan_positions(positions, gap_bits, lambda fillers: fillers * elements.itemsize)
    written, filler = write_positions(positions, plan)
    values = np.zeros(len(filler), elements.dtype)
    values[~filler] = elements[positions]
    return written + values.tobytes()


def _surviving_bytes(tensor: Tensor) -> int:
    if isinstance(tensor, CompressedTensor):
        # a centroid may be zero
        survivors = np.count_nonzero(nonzero_bits(tensor.codebook)[tensor.codes])
    else:
        survivors = np.count_nonzero(nonzero_bits(tensor.elements))
    return int(survivors) * STORAGE[tensor.dtype].itemsize


def _decode_sparse(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    size = math.prod(shape)
    gaps = read_gaps(cursor, size, STORAGE[dtype].itemsize)
    data = cursor.rest()
    storage = STORAGE[dtype]
    expected = len(gaps.values) * storage.itemsize
    if len(data) != expected:
        raise FormatError(f"{len(gaps.values)} entries of {dtype} take {expected} bytes; found {len(data)}")
    values = np.frombuffer(data, storage)
    survives = nonzero_bits(values)
    positions = _core.to_positions(gaps.values, ~survives, size)
    elements = np.zeros(size, storage)
    elements[positions] = values[survives]
    account = Account(gaps.parts | {"values": len(data)}, len(values), len(positions), 0, gaps.bits)
    return DenseTensor(dtype, elements.reshape(shape)), account


def _encode_huffman(tensor: Tensor, gap_bits: int | None) -> bytes | None:
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


def _decode_huffman(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
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
    positions = _core.to_positions(gaps.values, filler, size)
    codes = symbols[~filler].astype(np.uint8)
    account = Account(parts, len(symbols), len(positions), centroids, gaps.bits)
    return CompressedTensor(shape, positions, codebook, codes, dtype), account


class Coder(NamedTuple):
    """A way to store a tensor. `encode` gives None where it cannot hold the tensor; `decode` raises FormatError.

    `at_least` tells cheaply how many bytes the payload cannot fall below, to spare trying a coder that cannot win.
    """

    number: int
    encode: Callable[[Tensor, int | None], bytes | None]
    decode: Callable[[Cursor, str, tuple[int, ...]], tuple[Tensor, Account]]
    at_least: Callable[[Tensor], int]


CODERS: dict[str, Coder] = {
    "raw": Coder(1, _encode_raw, _decode_raw, lambda tensor: size_bytes(tensor.dtype, tensor.shape)),
    "sparse": Coder(2, _encode_sparse, _decode_sparse, _surviving_bytes),
    "huffman": Coder(3, _encode_huffman, _decode_huffman, lambda tensor: 0),
}


def encode(tensor: Tensor, coder: str | None = None, gap_bits: int | None = None) -> tuple[str, bytes]:
    """The coder's name and the payload: the smallest over all coders (the first of equals), or the one demanded.

    `gap_bits`, 2 to 16, fixes the width of the gap field. Raises ValueError if it is another, or if `coder` is unknown
    or cannot hold the tensor.
    """
    if coder is not None and coder not in CODERS:
        raise ValueError(f"unknown coder {coder!r}; known are {', '.join(CODERS)}")
    if gap_bits is not None and gap_bits not in GAP_BITS:
        raise ValueError(f"gap_bits is from {GAP_BITS[0]} to {GAP_BITS[-1]}; found {gap_bits}")
    names = list(CODERS) if coder is None else [coder]
    bounds = sorted((CODERS[name].at_least(tensor), number) for number, name in enumerate(names))
    best: tuple[int, int, bytes] | None = None
    for bound, number in bounds:
        if best is not None and (bound, number) > best[:2]:
            continue
        payload = CODERS[names[number]].encode(tensor, gap_bits)
        if payload is not None and (best is None or (len(payload), number) < best[:2]):
            best = (len(payload), number, payload)
    if best is None:
        raise ValueError(f"the coder {coder} cannot hold a {tensor.dtype} tensor of shape {list(tensor.shape)}")
    return names[best[1]], best[2]


def decode(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    """Payload -> the tensor and where its bytes went. Raises FormatError for malformed bytes."""
    tensor, account = CODERS[coder].decode(payload, dtype, shape)
    payload.end("the payload")
    return tensor, account
