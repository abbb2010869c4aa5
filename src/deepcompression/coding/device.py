"""The coder `device`: rows in groups that a small CPU decodes one by one, by Huffman codes of at most 12 bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression import _core
from deepcompression.coding.coder import Account, Part
from deepcompression.coding.device_codes import CODE_BITS, NO_GAPS, Code, Gaps, bits_of
from deepcompression.common.binary import Cursor, FormatError, varint
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, Array, Shape, ordered_bits, row_of, unordered_bits
from deepcompression.tensors.slices import Bits, spans, stored_bits
from deepcompression.tensors.tensor import MAX_CENTROIDS, CompressedTensor, DenseTensor, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NOTHING, _GROUPS = range(2)

_MOST_BYTES = (1 << 31) - 1

# A group costs its length, the padding and the way to its end: some 3.5 bytes, some 0.05 % of so many.
_GROUP_BYTES = 8000

_ALL = np.zeros(0, np.uint8)


class _Entries(NamedTuple):
    """What the groups hold: places, as a bitmap or all elements, with the symbol of each. `pruned` is the symbol of an
    element that is zero; as large as the alphabet if there is none.
    """

    bits: Bits
    symbols: NDArray[np.uint8]
    alphabet: int
    pruned: int

    def counts(self) -> NDArray[np.uint64]:
        return _counts(self.symbols, self.alphabet)

    def filled(self, size: int) -> _Entries:
        """The same with an entry for each element."""
        symbols = np.full(size, self.pruned, np.uint8)
        symbols[np.unpackbits(self.bits, count=size, bitorder="little").view(np.bool_)] = self.symbols
        return self._replace(bits=_ALL, symbols=symbols)


def _counts(symbols: NDArray[np.uint8], alphabet: int) -> NDArray[np.uint64]:
    counts = np.zeros(alphabet, np.uint64)
    for span in spans(len(symbols)):
        counts += _core.symbol_counts(symbols[span].astype(np.uint16), alphabet)
    return counts


def _rows(shape: Shape) -> tuple[int, int]:
    """Rows and columns of docs/format.md, "device"."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def encode_device(tensor: Tensor, gap_bits: int | None) -> Iterator[Part] | None:
    """The payload of docs/format.md, "device", in parts. None for weights of more than 256 values, for other dtypes
    whose elements have more than a byte, and for elements of 2^31 bytes or more.
    """
    item_bytes = STORAGE[tensor.dtype].itemsize
    if math.prod(tensor.shape) * item_bytes > _MOST_BYTES:
        return None
    if tensor.dtype in WEIGHT_DTYPES:
        found = CompressedTensor.from_dense(tensor) if isinstance(tensor, DenseTensor) else tensor.canonical()
        return None if found is None else _encode(found.shape, *_shared(found))
    if item_bytes > 1:
        return None
    elements = tensor.dense().elements.reshape(-1)
    symbols = elements.view(np.uint8)
    return _encode(tensor.shape, b"", _Entries(stored_bits(elements), symbols[symbols != 0], 256, 0))


def _shared(tensor: CompressedTensor) -> tuple[bytes, _Entries]:
    """The bytes of the codebook, and the entries."""
    count, ordered = len(tensor.codebook), ordered_bits(tensor.codebook, tensor.dtype)
    packed = bytes([count - 1]) + _core.pack_ascending(ordered, 8 * tensor.codebook.itemsize) if count else b""
    return packed, _Entries(tensor.bits, tensor.codes, min(count + 1, MAX_CENTROIDS), count)


def _encode(shape: Shape, codebook: bytes, entries: _Entries) -> Iterator[Part]:
    if not len(entries.symbols):
        yield bytes([_NOTHING])
        return
    size, (rows, columns) = math.prod(shape), _rows(shape)
    counts = entries.counts()
    codes, gaps = Code.of(counts), Gaps.of(entries.bits, size, size).best_code()
    if entries.pruned < entries.alphabet and len(entries.symbols) < size:
        counts[entries.pruned] += np.uint64(size - len(entries.symbols))
        if (every := Code.of(counts)).stored_bytes < codes.stored_bytes + gaps.stored_bytes:
            entries, codes, gaps = entries.filled(size), every, NO_GAPS
    group = min(rows, -(-8 * _GROUP_BYTES * rows // max(codes.bits + gaps.bits, 1)))
    # gaps begin anew in each group
    gaps = Gaps.of(entries.bits, size, group * columns).code(gaps.last)
    coded, lengths = _core.encode_groups(
        entries.bits, size, group * columns, entries.symbols, gaps.lengths, codes.lengths
    )
    head = bytes([_GROUPS]) + varint(group) + codebook + bytes([gaps.last]) + gaps.table + codes.table
    yield head + b"".join(varint(length) for length in lengths.tolist())
    yield coded


class _Head(NamedTuple):
    """A payload up to its groups; without codes if no element survives."""

    codebook: Array
    code_lengths: NDArray[np.uint8]
    parts: dict[str, int]

    @property
    def has_groups(self) -> bool:
        return len(self.code_lengths) > 0


def _read_head(cursor: Cursor, dtype: str, shape: Shape) -> _Head:
    codebook = np.zeros(0, STORAGE[dtype])
    if (size := math.prod(shape) * codebook.itemsize) > _MOST_BYTES:
        raise FormatError(f"the coder device holds elements of fewer than 2^31 bytes; found {size}")
    kind = cursor.u8("kind of content")
    if kind == _NOTHING:
        cursor.end("a tensor without survivors")
        return _Head(codebook, _ALL, {"fields": 1})
    if kind != _GROUPS:
        raise FormatError(f"the kind of content at offset {cursor.offset - 1} is 0 or 1; found {kind}")
    rows, columns = _rows(shape)
    group = cursor.varint("rows of a group")
    if not 1 <= group <= rows or columns == 0:
        raise FormatError(f"a group has 1 to {rows} rows of some elements; found {group} rows of {columns}")
    marks = [cursor.at]
    if dtype in WEIGHT_DTYPES:
        centroids = cursor.u8("number of centroids") + 1
        codebook = unordered_bits(cursor.core(_core.unpack_ascending, centroids, 8 * codebook.itemsize), dtype)
    elif codebook.itemsize > 1:
        raise FormatError(f"the coder device holds {', '.join(WEIGHT_DTYPES)} and dtypes of a byte; found {dtype}")
    marks.append(cursor.at)
    escape = cursor.u8("escape")
    if escape < 1:
        raise FormatError(f"the escape at offset {cursor.offset - 1} is from 1 to 255; found 0")
    _read_code(cursor, escape + 1)
    marks.append(cursor.at)
    code_lengths = _read_code(cursor, min(len(codebook) + 1, MAX_CENTROIDS) if len(codebook) else 256)
    marks.append(cursor.at)
    total = sum(cursor.varint("length of a group") for _ in range(0, rows, group))
    if total != cursor.left:
        raise FormatError(f"the groups take {total} bytes, {cursor.left} are left at offset {cursor.offset}")
    parts = {
        **{"fields": marks[0] + 1 + cursor.at - marks[3], "codebook": marks[1] - marks[0]},
        **{"gap table": marks[2] - marks[1] - 1, "code table": marks[3] - marks[2]},
    }
    return _Head(codebook, code_lengths, parts)


def _read_code(cursor: Cursor, alphabet: int) -> NDArray[np.uint8]:
    start = cursor.offset
    lengths: NDArray[np.uint8] = cursor.core(_core.unpack_table, alphabet)
    if (longest := int(lengths.max())) > CODE_BITS:
        raise FormatError(f"the code table at offset {start} has a code of {longest} bits, at most {CODE_BITS} fit")
    return lengths


def _by_core(cursor: Cursor, decode: Callable[..., Any], dtype: str, shape: Shape, *arguments: Any) -> Any:
    """Calls a decoder of the core for the whole payload."""
    storage, data = STORAGE[dtype], cursor.data
    try:
        return decode(data, list(STORAGE).index(dtype), storage.itemsize, *_rows(shape), *arguments)
    except FormatError as error:
        raise FormatError(f"in the payload at offset {cursor.base}: {error}") from None


def decode_device(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[Tensor, Account]:
    """The shared tensor; a dense one of a dtype without codebooks."""
    head, size = _read_head(cursor, dtype, shape), math.prod(shape)
    pruned = len(head.codebook)
    bits, symbols, fillers = np.zeros(-(-size // 8), np.uint8), _ALL, 0
    if head.has_groups:
        bits, symbols, fillers = _by_core(cursor, _core.decode_entries, dtype, shape, pruned)
    groups = len(cursor.rest())
    parts = dict(head.parts)
    if head.has_groups:
        counts = _counts(symbols, len(head.code_lengths))
        counts[pruned % len(counts)] += np.uint64(fillers)
        parts["codes"] = (bits_of(counts, head.code_lengths) + 7) // 8
        parts["mask"] = groups - parts["codes"]
    account = Account(parts, len(symbols), len(symbols), len(head.codebook))
    if dtype in WEIGHT_DTYPES:
        return CompressedTensor.from_bits(shape, bits, head.codebook, symbols, dtype), account
    elements = np.zeros(size, STORAGE[dtype])
    if head.has_groups:  # elements of one byte
        elements.view(np.uint8)[np.unpackbits(bits, count=size, bitorder="little").view(np.bool_)] = symbols
    return DenseTensor(dtype, elements.reshape(shape)), account


def decode_device_dense(cursor: Cursor, dtype: str, shape: Shape, threads: int) -> DenseTensor:
    """The dense tensor, decoded row by row in place."""
    head = _read_head(cursor, dtype, shape)
    if head.has_groups:
        # refuses elements without bytes before they take memory
        _by_core(cursor, _core.device_sizes, dtype, shape)
    elements = np.zeros(math.prod(shape), STORAGE[dtype])
    if head.has_groups:
        _by_core(cursor, _core.decode_rows, dtype, shape, elements.view(np.uint8))
    cursor.rest()
    return DenseTensor(dtype, elements.reshape(shape))


def work_bytes(payload: bytes | memoryview, dtype: str, shape: Shape) -> int:
    """The bytes of the work buffer that a device needs for a payload of the coder `device`."""
    if len(payload) == 1:  # no element survives
        return 0
    dtype, shape = row_of(dtype, shape)
    return int(_by_core(Cursor(payload), _core.device_sizes, dtype, shape)[1])
