"""Stage 3: tensors <-> payload bytes, by the coders of docs/format.md (the paper's section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.tensor import STORAGE, WEIGHT_DTYPES, CompressedTensor, DenseTensor, Tensor, nonzero_bits
from deepcompression.wire import Cursor, FormatError, varint

GAP_BITS = range(2, 17)


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


class _Code(NamedTuple):
    """A Huffman code for the counts of some symbols, with the bytes that it will take."""

    lengths: NDArray[np.uint8]
    table: bytes
    stream_bytes: int

    @classmethod
    def of(cls, counts: NDArray[np.uint64]) -> _Code:
        lengths = _core.code_lengths(counts)
        # a lone symbol takes no bits
        bits = int(counts @ lengths.astype(np.uint64)) if np.count_nonzero(counts) > 1 else 0
        return cls(lengths, _core.pack_table(lengths), (bits + 7) // 8)


class _Positions(NamedTuple):
    """The positions of survivors, ready to be written with one gap width."""

    gap_bits: int
    fillers: int
    code: _Code

    @property
    def stored_bytes(self) -> int:
        return len(self.code.table) + len(varint(self.code.stream_bytes)) + self.code.stream_bytes


def _best_positions(positions: NDArray[np.int64], gap_bits: int | None, rest_bytes: Callable[[int], int]) -> _Positions:
    """The gap width that gives the smallest payload (the narrowest of equals), or the one demanded.

    `rest_bytes` tells what the remainder of the payload takes for a number of fillers.
    """
    best: _Positions | None = None
    best_bytes = 0
    for width in GAP_BITS if gap_bits is None else (gap_bits,):
        counts, fillers = _core.gap_counts(positions, width)
        candidate = _Positions(width, fillers, _Code.of(counts))
        entries = len(positions) + fillers
        total = len(varint(entries)) + candidate.stored_bytes + rest_bytes(fillers)
        if best is None or total < best_bytes:
            best, best_bytes = candidate, total
        if fillers == 0:
            break  # a wider field changes nothing more
    assert best is not None
    return best


def _write_positions(positions: NDArray[np.int64], plan: _Positions) -> tuple[bytes, NDArray[np.bool_]]:
    """The positions part of a payload, and which entries are fillers."""
    gaps, filler = _core.to_gaps(positions, plan.gap_bits)
    stream = _core.encode_symbols(gaps, plan.code.lengths)
    parts = (varint(len(gaps)), bytes([plan.gap_bits]), plan.code.table, varint(len(stream)), stream)
    return b"".join(parts), filler


class _Gaps(NamedTuple):
    """The positions part as it was read; which entries are fillers is told by what follows it."""

    values: NDArray[np.uint16]
    bits: int
    parts: dict[str, int]


def _read_gaps(cursor: Cursor, size: int, entry_bytes: int) -> _Gaps:
    """`entry_bytes` is the least that each entry takes behind the gaps: known before memory is asked for them."""
    entries = cursor.varint("number of entries")
    if entries > size:
        raise FormatError(f"{entries} entries are claimed for a tensor of {size} elements")
    if entries == 0:
        cursor.end("a tensor without entries")
        return _Gaps(np.zeros(0, np.uint16), 0, {"fields": cursor.at})
    bits = cursor.u8("gap bits")
    if bits not in GAP_BITS:
        raise FormatError(f"gap bits at offset {cursor.offset - 1} are from 2 to 16; found {bits}")
    start = cursor.at
    lengths = _read_table(cursor, 1 << bits)
    table_bytes = cursor.at - start
    length = cursor.varint("length of the gap stream")
    if entries * entry_bytes > cursor.left - length:
        raise FormatError(f"{entries} entries do not fit the {cursor.left} bytes behind offset {cursor.offset}")
    values = _read_stream(cursor, length, lengths, entries)
    fields = cursor.at - table_bytes - length
    return _Gaps(values, bits, {"fields": fields, "gap table": table_bytes, "gaps": length})


def _read_table(cursor: Cursor, alphabet: int) -> NDArray[np.uint8]:
    try:
        lengths, cursor.at = _core.unpack_table(cursor.data, cursor.at, alphabet)
    except FormatError as error:
        raise FormatError(f"in the payload at offset {cursor.base}: {error}") from None
    return lengths


def _read_stream(cursor: Cursor, length: int, lengths: NDArray[np.uint8], count: int) -> NDArray[np.uint16]:
    start = cursor.at
    cursor.take(length, "a coded stream")
    if count > 8 * length and np.count_nonzero(lengths) > 1:
        raise FormatError(f"the stream at offset {cursor.base + start} has {length} bytes, too few for {count} symbols")
    try:
        return _core.decode_symbols(cursor.data, start, length, lengths, count)
    except FormatError as error:
        raise FormatError(f"in the payload at offset {cursor.base}: {error}") from None


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
    plan = _best_positions(positions, gap_bits, lambda fillers: fillers * elements.itemsize)
    written, filler = _write_positions(positions, plan)
    values = np.zeros(len(filler), elements.dtype)
    values[~filler] = elements[positions]
    return written + values.tobytes()


def _decode_sparse(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    size = math.prod(shape)
    gaps = _read_gaps(cursor, size, STORAGE[dtype].itemsize)
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

    def code_for(fillers: int) -> _Code:
        with_fillers = counts.copy()
        with_fillers[centroids] = fillers
        return _Code.of(with_fillers)

    def code_bytes(fillers: int) -> int:
        code = code_for(fillers)
        return len(code.table) + code.stream_bytes

    plan = _best_positions(tensor.positions, gap_bits, code_bytes)
    written, filler = _write_positions(tensor.positions, plan)
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
    gaps = _read_gaps(cursor, size, 0)
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
    lengths = _read_table(cursor, centroids + 1)
    parts["code table"] = cursor.at - start
    parts["codes"] = cursor.left
    symbols = _read_stream(cursor, cursor.left, lengths, len(gaps.values))
    filler = symbols == centroids
    positions = _core.to_positions(gaps.values, filler, size)
    codes = symbols[~filler].astype(np.uint8)
    account = Account(parts, len(symbols), len(positions), centroids, gaps.bits)
    return CompressedTensor(shape, positions, codebook, codes, dtype), account


class Coder(NamedTuple):
    """A way to store a tensor. `encode` gives None where it cannot hold the tensor; `decode` raises FormatError."""

    number: int
    encode: Callable[[Tensor, int | None], bytes | None]
    decode: Callable[[Cursor, str, tuple[int, ...]], tuple[Tensor, Account]]


CODERS: dict[str, Coder] = {
    "raw": Coder(1, _encode_raw, _decode_raw),
    "sparse": Coder(2, _encode_sparse, _decode_sparse),
    "huffman": Coder(3, _encode_huffman, _decode_huffman),
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
    candidates = []
    for name in CODERS if coder is None else (coder,):
        payload = CODERS[name].encode(tensor, gap_bits)
        if payload is not None:
            candidates.append((name, payload))
    if not candidates:
        raise ValueError(f"the coder {coder} cannot hold a {tensor.dtype} tensor of shape {list(tensor.shape)}")
    return min(candidates, key=lambda candidate: len(candidate[1]))


def decode(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    """Payload -> the tensor and where its bytes went. Raises FormatError for malformed bytes."""
    tensor, account = CODERS[coder].decode(payload, dtype, shape)
    payload.end("the payload")
    return tensor, account
