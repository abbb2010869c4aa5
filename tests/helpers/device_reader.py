"""What the C source of device/ reads from files: tests/device/reader.c, run once for many files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

import device_c

SOURCES = ("device/dcz.c", "device/rows.c", "device/error_text.c")


class Error(IntEnum):
    """dcz_error of device/dcz.h."""

    OK = 0
    READ = 1
    MAGIC = 2
    VERSION = 3
    TRUNCATED = 4
    CHECKSUM = 5
    INDEX = 6
    NOT_FOUND = 7
    CODER = 8
    PAYLOAD = 9
    WORK = 10
    SIZE = 11
    RANGE = 12
    OLD = 13


class Found(NamedTuple):
    """A tensor: errors of finding it, of its checksum, of its rows, and the bytes of its elements."""

    error: Error
    name: str
    coder: int
    dtype: int
    ndim: int
    rows: int
    cols: int
    size: int
    work: int
    checked: Error
    read: Error
    elements: bytes

    @property
    def first_error(self) -> Error:
        return next((error for error in (self.error, self.checked, self.read) if error), Error.OK)


class Read(NamedTuple):
    """A file: the error of opening it, its metadata `device.work`, its tensors."""

    error: Error
    work: str
    tensors: list[Found]

    @property
    def first_error(self) -> Error:
        """The first error of the file or of any of its tensors."""
        errors = [self.error, *(tensor.first_error for tensor in self.tensors)]
        return next((error for error in errors if error), Error.OK)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


def read_files(files: Iterable[bytes], flags: Sequence[str] = (), failures: bool = False) -> list[Read]:
    """What the C source finds in each file, from memory and through a callback; with `failures`, also through one that
    fails at each of its calls.
    """
    program = device_c.compile([*SOURCES, "tests/device/reader.c"], flags, "reader")
    given = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    found: list[Read] = []
    for line in device_c.run(program, ["failures"] * failures, given).decode().splitlines():
        kind, error, *fields = line.split(" ")
        if kind == "file":
            found.append(Read(Error(int(error)), fields[0], []))
            continue
        name, *numbers, elements = fields
        *facts, checked, read = map(int, numbers)
        text = _bytes(name).decode(errors="surrogateescape")
        tensor = Found(Error(int(error)), text, *facts, Error(checked), Error(read), _bytes(elements))
        found[-1].tensors.append(tensor)
    return found
