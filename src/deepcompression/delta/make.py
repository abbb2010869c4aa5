"""Two `.dcz` files -> the patch that makes the second of the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from deepcompression import _core
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.files import ByteFile, atomic_path
from deepcompression.common.units import number
from deepcompression.delta.apply import applied
from deepcompression.delta.difference import differences
from deepcompression.delta.match import Pieces, pieces_of
from deepcompression.delta.operations import MAX_BYTES, MAX_WORK_BYTES, Change, Fields, Operations
from deepcompression.delta.plain import PLAIN_CODERS, Plain, Recoded, Recoding
from deepcompression.delta.recode import Coded, recodings
from deepcompression.file.index import Entry
from deepcompression.file.reader import DczFile
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, row_of

# tensors of OLD that are tried for one of NEW, and the part of a payload that is good enough to try no more
_TRIED = 4
_GOOD = 0.6

# a payload that no tensor gives is searched for pieces of OLD's up to this size
_MATCHED_BYTES = 1 << 17

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
    work_bytes: int = MAX_WORK_BYTES,
) -> PatchSizes:
    """Writes the patch that makes the `.dcz` file `new` of the `.dcz` file `old`, bit for bit.

    A board needs at most `work_bytes` of memory for the tables of a plain patch; little memory can cost bytes. Both
    files are held in memory, their tensors decoded one by one. The patch is tried before it is written. Raises
    FormatError for a damaged file, ValueError for negative `work_bytes`, OSError if writing fails.
    """
    if not number("work_bytes", work_bytes) >= 0:
        raise ValueError(f"work_bytes is a number of bytes, at least 0; found {work_bytes}")
    before, after = _File.read(old, limit_bytes), _File.read(new, limit_bytes)
    patches = [("whole", bytes(after.data))]
    if max(len(before.data), len(after.data)) <= MAX_BYTES:
        if not (before.is_plain and after.is_plain):
            patches.append(("recoding", _Making(before, after, recoding=True, work_bytes=MAX_WORK_BYTES).patch()))
        patches.append(("plain", _Making(before, after, recoding=False, work_bytes=work_bytes).patch()))
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
            for place, (name, entry) in enumerate(file.all_entries.items()):
                names[name] = entry.tied_to or name
                if entry.tied_to is None:
                    file.check(name)
                    own[name] = _Own(place, entry, data[entry.offset : entry.offset + entry.length])
            return cls(data, data[: file.head_bytes], own, names)

    @property
    def is_plain(self) -> bool:
        return all(own.entry.coder in PLAIN_CODERS for own in self.own.values())


class _Making:
    """A patch in the making. Only a recoding one changes payloads that are not plain."""

    def __init__(self, old: _File, new: _File, recoding: bool, work_bytes: float) -> None:
        self._old, self._new, self._recoding, self._work_bytes = old, new, recoding, work_bytes
        self._same = {(own.entry.checksum, own.size_bytes): own for own in reversed(old.own.values())}
        self._operations = Operations()
        self._source, self._target = bytearray(old.data), bytearray(new.head)
        self._decoded: dict[int, int] = {}
        self._recoded: list[Recoded] = []
        self._ahead = 0

    def patch(self) -> bytes:
        pieces_of(bytes(self._old.head), 0, bytes(self._new.head)).add_to(self._operations)
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
            return
        pieces, change = self._pieces(own), self._change(own)
        if change is None or pieces.size_bytes <= change.size_bytes:
            pieces.add_to(self._operations)
            self._target += own.payload
            return
        self._operations.change(change.operation.at(self._offset(change.before, change.old)))
        if own.entry.coder not in PLAIN_CODERS:
            self._recoded.append(Recoded(own.number, change.new.coder, change.new.gap_bits, len(change.new.payload)))
        self._target += change.new.payload

    def _pieces(self, own: _Own) -> Pieces:
        """The payload in pieces, some of which the tensor of the same name has in OLD."""
        before = self._old.own.get(self._old.names.get(own.entry.name, ""))
        if before is None or max(before.size_bytes, own.size_bytes) > _MATCHED_BYTES:
            return Pieces([bytes(own.payload)])
        return pieces_of(bytes(before.payload), before.entry.offset, bytes(own.payload))

    def _change(self, own: _Own) -> _TensorChange | None:
        """The change of a tensor of OLD that takes the fewest bytes, if there is one."""
        if not self._recoding and own.entry.coder not in PLAIN_CODERS:
            return None
        best: _TensorChange | None = None
        new = Plain.of_new(own.entry, own.payload)
        if new is None:
            return None
        for before in self._candidates(own):
            found = _TensorChange.of(before, own, new, self._work_bytes)
            if found is not None and (best is None or found.size_bytes < best.size_bytes):
                best = found
                if best.size_bytes <= _GOOD * own.size_bytes:
                    self._ahead = before.number - own.number
                    break
        return best

    def _candidates(self, own: _Own) -> Iterator[_Own]:
        """The tensor of the same name, then some of the same shape: layers may be renamed, added or removed.

        Layers keep their order, so those come first that lie as far ahead as the last one that served.
        """
        name = self._old.names.get(own.entry.name)
        shape = own.entry.dtype, own.entry.shape
        found = [] if name is None else [self._old.own[name]]
        alike = [each for each in self._old.own.values() if (each.entry.dtype, each.entry.shape) == shape]
        found += sorted(alike, key=lambda each: abs(each.number - own.number - self._ahead))
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


class _TensorChange(NamedTuple):
    """The operation that makes the plain payload `new` of `old`, that of the tensor `before`, at offset 0."""

    before: _Own
    old: Plain
    new: Plain
    operation: Change

    @property
    def size_bytes(self) -> int:
        return self.operation.size_bytes

    @classmethod
    def of(cls, before: _Own, after: _Own, new: Plain, work_bytes: float) -> _TensorChange | None:
        """The smallest one whose tables take at most `work_bytes`; None without any."""
        dtypes = {before.entry.dtype, after.entry.dtype}
        # codes and positions may stay what they are while centroids get another dtype
        if len(dtypes) > 1 and not dtypes <= set(WEIGHT_DTYPES):
            return None
        old = Plain.of(before.entry, before.payload)
        dtype, shape = row_of(after.entry.dtype, after.entry.shape)
        found: list[Change] = []
        if len(dtypes) == 1 and old.coder == new.coder == "raw" and 0 < len(old.payload) == len(new.payload):
            found = differences(dtype, old.payload, new.payload)
        elif old.coder == new.coder == "device":
            coded_old = Coded.read(old.payload, *row_of(before.entry.dtype, before.entry.shape))
            coded_new = Coded.read(new.payload, dtype, shape)
            if coded_old is not None and coded_new is not None:
                found = recodings(dtype, coded_old, coded_new)
        fitting = [each for each in found if each.work_bytes <= work_bytes]
        return cls(before, old, new, min(fitting, key=lambda each: each.size_bytes)) if fitting else None
