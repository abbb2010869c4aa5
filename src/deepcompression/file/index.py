"""The head of a file <-> its entries and metadata (docs/format.md, "The file")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile

from deepcompression.coding.coders import CODERS
from deepcompression.common.binary import MAX_DIMENSIONS, Cursor, FormatError, checksum, text, varint
from deepcompression.tensors.dtypes import STORAGE, size_bytes
from deepcompression.tensors.entry import TensorEntry

MAGIC = b"\x89DCZ"

VERSION = 1

CHECKSUM_BYTES = 4

# of the index, and of all names written in full: as each name may repeat the one before, few bytes could claim many
MAX_INDEX_BYTES = 100_000_000

# of tensors, and of metadata: each takes far more bytes in memory than in the index
MAX_ENTRIES = 1 << 20

# the most bytes that magic, version and length of the index can take
HEADER_BYTES = len(MAGIC) + 1 + 9

_ALIAS = 0

_DTYPES = tuple(STORAGE)

_CODER_NAMES = {coder.number: name for name, coder in CODERS.items()}


@dataclass(frozen=True, kw_only=True)
class Entry(TensorEntry):
    """A tensor in the index.

    `length` and `checksum` are those of the payload. `offset` counts from the file's start, and is 0 until the entry is
    written. A tied tensor has coder, dtype, shape and place of the tensor named by `tied_to`.
    """

    coder: str
    length: int
    checksum: int
    offset: int = 0


def write_head(entries: Iterable[Entry], metadata: Mapping[str, str]) -> bytes:
    """Everything before the payloads. Offsets of entries are ignored: payloads follow one another.

    Raises ValueError for names and metadata that are too large or too many.
    """
    entries = list(entries)
    if max(len(entries), len(metadata)) > MAX_ENTRIES:
        raise ValueError(f"more than {MAX_ENTRIES} tensors or metadata entries cannot be stored")
    index = bytearray(varint(len(metadata)))
    for key, value in sorted(metadata.items(), key=lambda item: item[0].encode()):
        index += text(key) + text(value)
    index += varint(len(entries))
    numbers = {entry.name: number for number, entry in enumerate(entries)}
    previous = b""
    for entry in entries:
        name = entry.name.encode()
        shared = len(list(takewhile(lambda both: both[0] == both[1], zip(previous, name, strict=False))))
        previous = name
        index += varint(shared) + text(name[shared:])
        if entry.tied_to is not None:
            index += bytes([_ALIAS]) + varint(numbers[entry.tied_to])
            continue
        index += bytes([CODERS[entry.coder].number, _DTYPES.index(entry.dtype)])
        index += varint(len(entry.shape)) + b"".join(map(varint, entry.shape))
        index += varint(entry.length) + entry.checksum.to_bytes(CHECKSUM_BYTES, "little")
    if max(len(index), sum(len(entry.name.encode()) for entry in entries)) > MAX_INDEX_BYTES:
        raise ValueError(f"names and metadata take more than {MAX_INDEX_BYTES} bytes")
    head = MAGIC + bytes([VERSION]) + varint(len(index)) + bytes(index)
    return head + checksum(head).to_bytes(CHECKSUM_BYTES, "little")


def read_header(start: bytes | memoryview) -> tuple[int, int]:
    """The first `HEADER_BYTES` of a file -> offset and length of the index."""
    if start[: len(MAGIC)] != MAGIC:
        found = start[: len(MAGIC)].hex(" ") or "nothing"
        raise FormatError(f"not a .dcz file: it begins with {found}, expected {MAGIC.hex(' ')}")
    cursor = Cursor(start)
    cursor.take(len(MAGIC), "magic")
    version = cursor.u8("version")
    if version != VERSION:
        raise FormatError(f"version {version} is not known, only {VERSION}: a newer deepcompression may read it")
    length = cursor.varint("length of the index")
    if length > MAX_INDEX_BYTES:
        raise FormatError(f"the index takes {length} bytes, more than {MAX_INDEX_BYTES}")
    return cursor.at, length


def read_head(head: bytes | memoryview, start: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """Everything before the payloads, with the index at offset `start` -> entries by name, and metadata."""
    end = len(head) - CHECKSUM_BYTES
    expected = int.from_bytes(head[end:], "little")
    if (found := checksum(head[:end])) != expected:
        raise FormatError(f"the index is damaged: its checksum is {found:08x}, expected {expected:08x}")
    index = Cursor(memoryview(head)[start:end], start)
    metadata = _read_metadata(index)
    entries = _read_entries(index, len(head))
    index.end("the index")
    return entries, metadata


def _read_count(index: Cursor, what: str) -> int:
    at = index.offset
    count = index.varint(what)
    if count > MAX_ENTRIES:
        raise FormatError(f"{what} at offset {at} is {count}, at most {MAX_ENTRIES} are allowed")
    return count


def _read_metadata(index: Cursor) -> dict[str, str]:
    metadata: dict[str, str] = {}
    previous: bytes | None = None
    for _ in range(_read_count(index, "number of metadata entries")):
        at = index.offset
        key = index.text("metadata key")
        if previous is not None and key <= previous:
            raise FormatError(f"metadata keys do not ascend at offset {at}")
        previous = key
        metadata[_decode_text(key, at)] = _decode_text(index.text("metadata value"), at)
    return metadata


def _read_entries(index: Cursor, offset: int) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    ordered: list[Entry] = []
    previous = b""
    named_bytes = 0
    for _ in range(_read_count(index, "number of tensors")):
        at = index.offset
        shared = index.varint("length of the shared name")
        if shared > len(previous):
            raise FormatError(f"name at offset {at} shares {shared} bytes with a name of {len(previous)}")
        previous = previous[:shared] + index.text("name")
        named_bytes += len(previous)
        if named_bytes > MAX_INDEX_BYTES:
            raise FormatError(f"the names up to offset {at} take more than {MAX_INDEX_BYTES} bytes")
        name = _decode_text(previous, at)
        if name in entries:
            raise FormatError(f"tensor {name!r} is in the index twice, again at offset {at}")
        try:
            entry = _read_entry(index, name, offset, ordered)
        except FormatError as error:
            raise FormatError(f"tensor {name!r}: {error}") from None
        if entry.tied_to is None:
            offset += entry.length
        entries[name] = entry
        ordered.append(entry)
    return entries


def _read_entry(index: Cursor, name: str, offset: int, earlier: list[Entry]) -> Entry:
    number = index.u8("coder")
    if number == _ALIAS:
        target = index.varint("number of the tied tensor")
        if target >= len(earlier) or earlier[target].tied_to is not None:
            raise FormatError(f"it is tied to tensor number {target}, which is not an earlier one of its own")
        return replace(earlier[target], name=name, tied_to=earlier[target].name)
    if number not in _CODER_NAMES:
        known = ", ".join(f"{number} {name}" for number, name in _CODER_NAMES.items())
        raise FormatError(f"coder {number} is not known, only {known}: a newer deepcompression may read it")
    dtype = index.u8("dtype")
    if dtype >= len(_DTYPES):
        raise FormatError(
            f"dtype {dtype} is not known, only 0 to {len(_DTYPES) - 1}: a newer deepcompression may read it"
        )
    dimensions = index.varint("number of dimensions")
    if dimensions > MAX_DIMENSIONS:
        raise FormatError(f"{dimensions} dimensions are more than {MAX_DIMENSIONS}")
    shape = tuple(index.varint("dimension") for _ in range(dimensions))
    # empty axes count as 1: NumPy refuses a huge shape even without elements
    if size_bytes(_DTYPES[dtype], tuple(axis or 1 for axis in shape)) >= 1 << 63:
        raise FormatError(f"the shape {list(shape)} is too large")
    length, payload = index.varint("length of the payload"), index.u32("checksum")
    return Entry(
        name, _DTYPES[dtype], shape, coder=_CODER_NAMES[number], length=length, checksum=payload, offset=offset
    )


def _decode_text(data: bytes, at: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError(f"text at offset {at} is not UTF-8") from None
