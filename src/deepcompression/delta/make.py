"""Two `.dcz` files -> the patch that makes the second of the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from deepcompression import _core
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.files import ByteFile, atomic_path
from deepcompression.delta.apply import applied
from deepcompression.delta.difference import difference
from deepcompression.delta.match import add_matches
from deepcompression.delta.operations import MAX_BYTES, Change, Fields, Operations
from deepcompression.delta.plain import PLAIN_CODERS, Plain, Recoded, Recoding
from deepcompression.delta.recode import Coded, recode
from deepcompression.file.index import Entry
from deepcompression.file.reader import DczFile
from deepcompression.tensors.dtypes import row_of

# tensors of OLD that are tried for one of NEW, and the part of a payload that is good enough to try no more
_TRIED = 4
_GOOD = 0.6

# a payload that no tensor gives is searched for pieces of OLD's up to this size
_MATCHED_BYTES = 1 << 18

# of flash memory, for which `PatchSizes` says what a patch needs
PAGE_BYTES = 4096


@dataclass(frozen=True)
class PatchSizes:
    """What a patch takes.

    kind            `plain`; `recoding`, which boards cannot apply; or `whole`, the new file itself
    old_bytes       of the old file
    new_bytes       of the new file
    patch_bytes     of the patch, never more than `new_bytes`
    work_bytes      of the work buffer of a board that applies it
    in_place_bytes  of a board's flash memory, in pages of 4,096 bytes, where the new file replaces the old one; the log
                    is apart. None for a recoding patch
    """

    kind: str
    old_bytes: int
    new_bytes: int
    patch_bytes: int
    work_bytes: int
    in_place_bytes: int | None


def make_patch(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    path: str | os.PathLike[str],
    limit_bytes: int = LIMIT_BYTES,
) -> PatchSizes:
    """Writes the patch that makes the `.dcz` file `new` of the `.dcz` file `old`, bit for bit.

    Both files are held in memory, their tensors decoded one by one. The patch is tried before it is written. Raises
    FormatError for a damaged file, OSError if writing fails.
    """
    before, after = _File.read(old, limit_bytes), _File.read(new, limit_bytes)
    patches = [("whole", bytes(after.data))]
    if max(len(before.data), len(after.data)) <= MAX_BYTES:
        if not (before.is_plain and after.is_plain):
            patches.append(("recoding", _Making(before, after, recoding=True).patch()))
        patches.append(("plain", _Making(before, after, recoding=False).patch()))
    # of equal ones the last: most readers can apply it
    kind, patch = min(reversed(patches), key=lambda each: len(each[1]))
    assert applied(before.data, patch, "OLD", "PATCH") == after.data
    with atomic_path(path) as partial:
        partial.write_bytes(patch)
    sizes = len(before.data), len(after.data), len(patch)
    if kind != "plain":
        return PatchSizes(kind, *sizes, 0, _in_pages(len(after.data)) if kind == "whole" else None)
    _, _, shift = _core.apply_patch(patch, before.data, PAGE_BYTES)
    room = max(_in_pages(len(before.data)) + _in_pages(shift), _in_pages(len(after.data)))
    return PatchSizes(kind, *sizes, Fields.read(patch).work_bytes, room)


def _in_pages(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES


class _Own(NamedTuple):
    """A tensor of its own: its number in the index, its entry, its payload."""

    number: int
    entry: Entry
    payload: memoryview

    @property
    def size_bytes(self) -> int:
        return len(self.payload)


class _File(NamedTuple):
    """A file in memory; `names` maps each name to the one that it is tied to, or itself."""

    data: memoryview
    head: memoryview
    own: dict[str, _Own]
    names: dict[str, str]

    @classmethod
    def read(cls, path: str | os.PathLike[str], limit_bytes: int) -> _File:
        with DczFile(path, limit_bytes) as file:
            source = ByteFile(path)
            try:
                data = source.read(0, file.size_bytes).data
            finally:
                source.close()
            own, names = {}, {}
            for number, (name, entry) in enumerate(file.all_entries.items()):
                names[name] = entry.tied_to or name
                if entry.tied_to is None:
                    file.check(name)
                    own[name] = _Own(number, entry, data[entry.offset : entry.offset + entry.length])
            return cls(data, data[: file.head_bytes], own, names)

    @property
    def is_plain(self) -> bool:
        return all(own.entry.coder in PLAIN_CODERS for own in self.own.values())


class _Making:
    """A patch in the making. Only a recoding one changes payloads that are not plain."""

    def __init__(self, old: _File, new: _File, recoding: bool) -> None:
        self._old, self._new, self._recoding = old, new, recoding
        self._same = {(own.entry.checksum, own.size_bytes): own for own in reversed(old.own.values())}
        self._operations = Operations()
        self._source, self._target = bytearray(old.data), bytearray(new.head)
        self._decoded: dict[int, int] = {}
        self._recoded: list[Recoded] = []

    def patch(self) -> bytes:
        add_matches(self._operations, bytes(self._old.head), 0, bytes(self._new.head))
        for own in self._new.own.values():
            self._add(own)
        patch = self._operations.patch(self._source, self._target)
        if not self._recoding:
            return patch
        return Recoding.of(self._old.data, list(self._decoded), self._recoded).write() + patch

    def _add(self, own: _Own) -> None:
        same = self._same.get((own.entry.checksum, own.size_bytes))
        if same is not None and same.payload == own.payload:
            self._operations.copy(same.entry.offset, same.size_bytes)
            self._target += own.payload
        elif not self._changed(own):
            before = self._old.own.get(self._old.names.get(own.entry.name, ""))
            if before is not None and max(before.size_bytes, own.size_bytes) <= _MATCHED_BYTES:
                add_matches(self._operations, bytes(before.payload), before.entry.offset, bytes(own.payload))
            else:
                self._operations.literal(own.payload)
            self._target += own.payload

    def _changed(self, own: _Own) -> bool:
        """Adds the change of a tensor of OLD that gives the tensor in the fewest bytes, if there is one."""
        if not self._recoding and own.entry.coder not in PLAIN_CODERS:
            return False
        plain = Plain.of_new(own.entry, own.payload)
        if plain is None:
            return False
        best: tuple[Change, _Own, Plain] | None = None
        size = own.size_bytes
        for before in self._candidates(own):
            old_plain = Plain.of(before.entry, before.payload)
            change = _change(before.entry, old_plain, own.entry, plain)
            if change is not None and change.size_bytes < size:
                best, size = (change, before, old_plain), change.size_bytes
                if size <= _GOOD * own.size_bytes:
                    break
        if best is None:
            return False
        change, before, old_plain = best
        self._operations.change(change.at(self._offset(before, old_plain)))
        if own.entry.coder not in PLAIN_CODERS:
            self._recoded.append(Recoded(own.number, plain.coder, plain.gap_bits, len(plain.payload)))
        self._target += plain.payload
        return True

    def _candidates(self, own: _Own) -> Iterator[_Own]:
        """The tensor of the same name, then some of the same shape."""
        name = self._old.names.get(own.entry.name)
        shape = own.entry.dtype, own.entry.shape
        found = [] if name is None else [self._old.own[name]]
        found += [each for each in self._old.own.values() if (each.entry.dtype, each.entry.shape) == shape]
        for each in {each.number: each for each in found[: 1 + _TRIED]}.values():
            if self._recoding or each.entry.coder in PLAIN_CODERS:
                yield each

    def _offset(self, own: _Own, plain: Plain) -> int:
        """Where the plain payload of a tensor of OLD lies: within OLD, or behind."""
        if own.entry.coder in PLAIN_CODERS:
            return own.entry.offset
        if own.number not in self._decoded:
            self._decoded[own.number] = len(self._source)
            self._source += plain.payload
        return self._decoded[own.number]


def _change(before: Entry, old: Plain, after: Entry, new: Plain) -> Change | None:
    """The operation that makes one plain payload of another at offset 0; None if none does."""
    dtype, shape = row_of(after.dtype, after.shape)
    if before.dtype != after.dtype or old.coder != new.coder:
        return None
    if old.coder == "raw":
        return difference(dtype, old.payload, new.payload) if 0 < len(old.payload) == len(new.payload) else None
    coded_old = Coded.read(old.payload, *row_of(before.dtype, before.shape))
    coded_new = Coded.read(new.payload, dtype, shape)
    return None if coded_old is None or coded_new is None else recode(dtype, coded_old, coded_new)
