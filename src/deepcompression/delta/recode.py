"""A tensor of the coder `device` whose survivors or codes changed: the operation `recode`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.coding.coders import decode
from deepcompression.common.binary import Cursor, varint
from deepcompression.delta.huffman import Code, Stream, entries, in_symbols
from deepcompression.delta.operations import RECODE, Change
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Shape
from deepcompression.tensors.tensor import CompressedTensor

# more elements are not counted by small readers
MAX_ELEMENTS = 1 << 28

_BY_CODE, _RUNS, _ONE_BYTE = 1, 2, 4


class Coded(NamedTuple):
    """A payload of the coder `device`.

    rows, columns    of the tensor
    head             its bytes before the groups
    codebook_bytes   of the head
    alphabet         codes are below
    entries          of the tables of its head
    positions, codes of the survivors
    """

    rows: int
    columns: int
    size_bytes: int
    head: bytes
    codebook_bytes: int
    alphabet: int
    entries: int
    positions: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def read(cls, payload: bytes | memoryview, dtype: str, shape: Shape) -> Coded | None:
        """None for a tensor without survivors, and for one that is too large for small readers."""
        rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
        if payload[0] == 0 or rows * columns > MAX_ELEMENTS:
            return None
        cursor = Cursor(payload)
        cursor.u8("kind of content")
        group = cursor.varint("rows of a group")
        start = end = symbols = 0
        if dtype in WEIGHT_DTYPES:
            symbols = cursor.u8("number of centroids") + 2
            start = cursor.at
            cursor.core(_core.unpack_ascending, symbols - 1, 8 * STORAGE[dtype].itemsize)
            end = cursor.at
        gaps = cursor.core(_core.unpack_table, cursor.u8("escape") + 1)
        codes = cursor.core(_core.unpack_table, min(symbols, 256) or 256)
        used = int(np.count_nonzero(gaps) + np.count_nonzero(codes))
        for _ in range(-(-rows // group)):
            cursor.varint("length of a group")
        tensor = decode("device", Cursor(payload), dtype, shape)[0]
        if isinstance(tensor, CompressedTensor):
            alphabet, positions, codes = len(tensor.codebook), tensor.positions, tensor.codes
        else:
            elements = tensor.elements.reshape(-1).view(np.uint8)
            positions = np.flatnonzero(elements)
            alphabet, codes = 256, elements[positions]
        head = bytes(payload[: cursor.at])
        return cls(rows, columns, len(payload), head, end - start, alphabet, used, positions, codes.astype(np.int64))


def recodings(dtype: str, old: Coded, new: Coded) -> list[Change]:
    """Operations, each of which makes the payload `new` of `old`; none if their rows differ in length."""
    if old.columns != new.columns:
        return []
    edits = _Edits(old, new)
    tried = (_write(dtype, old, new, edits, options) for options in range(4))
    return [Change(new.head, RECODE, len(new.head), old.size_bytes, rest, used) for rest, used in tried]


class _Edits:
    """What becomes of each survivor of OLD, and the survivors that NEW has besides.

    steps     (survivors of OLD,): the step to the new code, 0 for the same one; `alphabet` if it is pruned
    inserted  (n,): indices of NEW's other survivors
    """

    def __init__(self, old: Coded, new: Coded) -> None:
        self.alphabet = max(old.alphabet, new.alphabet)
        places = np.searchsorted(new.positions, old.positions)
        kept = np.zeros(len(places), bool)
        within = places < len(new.positions)
        kept[within] = new.positions[places[within]] == old.positions[within]
        forward = (new.codes[places[kept]] - old.codes[kept]) % self.alphabet
        self.steps = np.full(len(places), self.alphabet)
        self.steps[kept] = np.where(2 * forward < self.alphabet, 2 * forward, 2 * (self.alphabet - forward) - 1)
        other = np.ones(len(new.positions), bool)
        other[places[kept]] = False
        self.inserted = np.flatnonzero(other)


def _write(dtype: str, old: Coded, new: Coded, edits: _Edits, options: int) -> tuple[bytes, int]:
    """The operation behind its places, and the entries of its tables."""
    stream = Stream()
    rest = bytes([options | (0 if dtype in WEIGHT_DTYPES else _ONE_BYTE)])
    for value in (old.codebook_bytes, new.codebook_bytes, old.rows, new.rows, old.columns):
        rest += varint(value)
    used = old.entries + new.entries
    # Three keys for each position: an inserted survivor and the number behind it, or an edit and the run behind it. The
    # first run and the first number come before all.
    changed = np.arange(len(old.positions))
    if options & _RUNS:
        changed = np.flatnonzero(edits.steps)
        runs = np.diff(changed, prepend=-1) - 1
        keys = np.concatenate([[-2], 3 * old.positions[changed] + 2])[: len(runs)]
        code, used = _numbers(runs, used)
        rest += varint(len(runs)) + code.table
        stream.add_numbers(keys, runs, code)
    rest += varint(len(edits.inserted))
    if len(edits.inserted):
        positions, codes = new.positions[edits.inserted], new.codes[edits.inserted]
        gaps = np.diff(positions, prepend=-1) - 1
        code, used = _numbers(gaps, used)
        rest += code.table
        stream.add_numbers(np.concatenate([[-1], 3 * positions + 1])[:-1], gaps, code)
        counts = np.bincount(codes, minlength=1)
        code, used = Code.of(counts), used + entries(counts)
        rest += code.table
        stream.add(3 * positions, code.words[codes], code.lengths[codes])
    steps, keys = edits.steps[changed], 3 * old.positions[changed]
    contexts = old.codes[changed] if options & _BY_CODE else np.zeros(len(changed), np.int64)
    tables = old.alphabet if options & _BY_CODE else 1
    used += tables + 1
    counts = np.bincount(contexts * (edits.alphabet + 1) + steps, minlength=tables * (edits.alphabet + 1))
    words, lengths = [], []
    for each in counts.reshape(tables, -1):
        code, used = Code.of(each), used + entries(each)
        rest += code.table
        words.append(code.words)
        lengths.append(code.lengths)
    stream.add(keys, np.stack(words)[contexts, steps], np.stack(lengths)[contexts, steps])
    return rest + stream.pack(), used


def _numbers(numbers: NDArray[np.int64], used: int) -> tuple[Code, int]:
    counts = np.bincount(in_symbols(numbers)[0], minlength=1)
    return Code.of(counts), used + entries(counts)
