"""A `.dcz` file and a patch -> the new file."""

from __future__ import annotations

import os
from pathlib import Path

from deepcompression import _core
from deepcompression.common.binary import LIMIT_BYTES, FormatError, checksum
from deepcompression.common.files import atomic_path
from deepcompression.delta.operations import MAGIC, RECODING_MAGIC, Fields
from deepcompression.delta.plain import Plain, Recoded, Recoding
from deepcompression.file.index import CHECKSUM_BYTES, HEADER_BYTES, Entry, read_head, read_header
from deepcompression.file.index import MAGIC as DCZ_MAGIC
from deepcompression.file.names import check_name

# a writer's choices may change
_WHY = ": another version of deepcompression made the patch, or it is hostile; get the whole file"


def apply_patch(
    old: str | os.PathLike[str],
    patch: str | os.PathLike[str],
    path: str | os.PathLike[str],
    limit_bytes: int = LIMIT_BYTES,
) -> None:
    """Writes the `.dcz` file that `patch` makes of the `.dcz` file `old`, bit for bit the one that `make_patch` got.

    The new file appears when it is complete and its checksums are right. Raises ValueError if the patch was made for
    another file than `old`, FormatError for a damaged patch, OSError if writing fails.
    """
    check_name(path)
    new = applied(Path(old).read_bytes(), Path(patch).read_bytes(), str(old), str(patch), limit_bytes)
    with atomic_path(path) as partial:
        partial.write_bytes(new)


def applied(
    old: bytes | memoryview,
    patch: bytes,
    old_name: str,
    patch_name: str,
    limit_bytes: int = LIMIT_BYTES,
) -> bytes | memoryview:
    """`apply_patch` in memory. Names are those of messages."""
    if bytes(old[: len(MAGIC)]) in (MAGIC, RECODING_MAGIC):
        raise ValueError(f"{old_name} is a patch itself: the old file comes first, then the patch")
    try:
        if patch.startswith(MAGIC):
            fields = Fields.read(patch)
            _check_old(old, fields.old_size, fields.old_checksum, old_name, patch_name)
            return _made(patch, old, limit_bytes)
        if patch.startswith(RECODING_MAGIC):
            recoding, inner = Recoding.read(patch)
            _check_old(old, recoding.old_size, recoding.old_checksum, old_name, patch_name)
            return _recoded(old, recoding, bytes(inner), limit_bytes)
        if patch.startswith(DCZ_MAGIC):
            return _assembled(patch, {}, limit_bytes)
        raise FormatError(f"not a patch: it begins with {patch[: len(MAGIC)].hex(' ') or 'nothing'}")
    except FormatError as error:
        raise FormatError(f"{patch_name}: {error}") from None


def _check_old(old: bytes | memoryview, size: int, expected: int, old_name: str, patch_name: str) -> None:
    if len(old) != size or (found := checksum(old)) != expected:
        found_text = f"{len(old)} bytes" if len(old) != size else f"the checksum {found:08x}"
        expected_text = f"{size} bytes" if len(old) != size else f"{expected:08x}"
        raise ValueError(
            f"{old_name} is not the file that {patch_name} was made for: it has {found_text}, expected {expected_text}"
        )


def _recoded(old: bytes | memoryview, recoding: Recoding, patch: bytes, limit_bytes: int) -> bytes:
    """OLD and plain payloads of some tensors -> NEW with plain payloads of some -> NEW."""
    before, _ = _index(old)
    source, left = bytearray(old), limit_bytes
    for number in recoding.decoded:
        if number >= len(before) or before[number].tied_to is not None:
            raise FormatError(f"tensor number {number} of the old file is none of its own")
        entry = before[number]
        left = _within(left, entry)
        source += Plain.of(entry, memoryview(old)[entry.offset : entry.offset + entry.length]).payload
    target = _made(patch, source, limit_bytes)
    return _assembled(target, {each.number: each for each in recoding.recoded}, left)


def _made(patch: bytes, old: bytes | bytearray | memoryview, limit_bytes: int) -> memoryview:
    """What a plain patch makes of OLD. Raises FormatError for more than the limit, before any memory is taken."""
    if (size := Fields.read(patch).new_size) > limit_bytes:
        raise FormatError(f"the new file has {size} bytes, the limit is {limit_bytes}")
    made: memoryview = _core.apply_patch(patch, old, 1)[0].data
    return made


def _within(limit_bytes: int, entry: Entry) -> int:
    """The rest of the limit. Raises FormatError if the tensor takes more."""
    if entry.nbytes > limit_bytes:
        raise FormatError(
            f"tensor {entry.name!r} takes {entry.nbytes} bytes when decoded, the limit leaves {limit_bytes}"
        )
    return limit_bytes - entry.nbytes


def _index(data: bytes | memoryview) -> tuple[list[Entry], int]:
    """The entries of a `.dcz` file, and the bytes before its payloads."""
    start, length = read_header(data[:HEADER_BYTES])
    head = data[: start + length + CHECKSUM_BYTES]
    if len(head) < start + length + CHECKSUM_BYTES:
        raise FormatError(f"the index ends at {start + length + CHECKSUM_BYTES}, the file at {len(data)}")
    return list(read_head(head, start)[0].values()), len(head)


def _assembled(data: bytes | memoryview, recoded: dict[int, Recoded], limit_bytes: int) -> bytes:
    """NEW, of which `data` has some payloads plain. Every checksum of NEW was compared."""
    entries, at = _index(data)
    for number in recoded:
        if number >= len(entries) or entries[number].tied_to is not None:
            raise FormatError(f"tensor number {number} of the new file is none of its own")
    parts = [bytes(data[:at])]
    for number, entry in enumerate(entries):
        if entry.tied_to is not None:
            continue
        plain = recoded.get(number)
        length = entry.length if plain is None else plain.length
        payload = bytes(data[at : at + length])
        at += length
        if plain is not None:
            limit_bytes = _within(limit_bytes, entry)
            payload = Plain(plain.coder, payload, plain.gap_bits).encoded(entry)
        if len(payload) != entry.length or checksum(payload) != entry.checksum:
            raise FormatError(f"tensor {entry.name!r} of the new file comes out damaged{_WHY if plain else ''}")
        parts.append(payload)
    if at != len(data):
        raise FormatError(f"the payloads of the new file end at {at}, its bytes at {len(data)}")
    return b"".join(parts)
