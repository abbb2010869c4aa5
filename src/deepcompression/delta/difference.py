"""Elements that changed a little: the operation `difference`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepcompression.common.binary import varint
from deepcompression.delta.huffman import Code, Stream, entries, in_symbols
from deepcompression.delta.operations import DIFFERENCE, Change
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array, ordered_bits

_ORDERED, _ZEROS, _RUNS = 16, 32, 64


def differences(dtype: str, old: bytes | memoryview, new: bytes | memoryview) -> list[Change]:
    """Operations, each of which makes the elements `new` of as many elements `old`; `dtype` is that of a row."""
    storage = STORAGE[dtype]
    befores, afters = (np.frombuffer(data, storage) for data in (old, new))
    steps = _steps(befores, afters, dtype)
    options = storage.itemsize | (_ORDERED if dtype in WEIGHT_DTYPES else 0)
    coded = steps
    zero = befores.view(f"u{storage.itemsize}") == 0
    if zero.any() and not steps[zero].any():
        options |= _ZEROS
        coded = steps[~zero]
    tried = (_write(coded, storage.itemsize, options | runs) for runs in (0, _RUNS))
    return [Change(b"", DIFFERENCE, len(befores), befores.nbytes, rest, used) for rest, used in tried]


def _steps(old: Array, new: Array, dtype: str) -> NDArray[np.uint64]:
    """The steps 0, -1, 1, -2 ... from each element to its successor, as 0, 1, 2, 3 ..."""
    width = 8 * old.itemsize
    if dtype in WEIGHT_DTYPES:
        before, after = ordered_bits(old, dtype), ordered_bits(new, dtype)
    else:
        before, after = (each.view(f"u{old.itemsize}").astype(np.uint64) for each in (old, new))
    unused = np.uint64(64 - width)
    step = ((after - before) << unused).view(np.int64)
    # the sign reaches every bit; the elements' own bits count
    return ((step << 1) ^ (step >> 63)).view(np.uint64) >> unused


def _write(steps: NDArray[np.uint64], width: int, options: int) -> tuple[bytes, int]:
    """The operation behind its places, and the entries of its tables."""
    rest = bytes([options])
    places = np.arange(len(steps), dtype=np.int64)
    stream, used = Stream(), 0
    if options & _RUNS:
        places = np.flatnonzero(steps)
        runs = np.diff(places, prepend=-1) - 1
        counts = np.bincount(in_symbols(runs)[0], minlength=1)
        code, used = Code.of(counts), entries(counts)
        rest += varint(len(places)) + code.table
        stream.add_numbers(places * (width + 1), runs, code)
    keys = places * (width + 1)
    for plane in range(width):
        symbols = (steps[places] >> np.uint64(8 * (width - 1 - plane))).astype(np.uint8)
        counts = np.bincount(symbols, minlength=1)
        code, used = Code.of(counts), used + entries(counts)
        rest += code.table
        stream.add(keys, code.words[symbols], code.lengths[symbols], 1 + plane)
    return rest + stream.pack(), used
