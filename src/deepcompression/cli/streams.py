"""Standard streams that may be closed, full, broken or unable to show a character: no job fails for want of them."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


class OutputError(Exception):
    """Standard output does not take what was printed. It is no OSError, which typer and rich would take for theirs.

    broken  whether its reader has ended, as `head` does
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror or error}")
        self.broken = error.errno in (errno.EPIPE, errno.ESHUTDOWN)


class _Output(io.TextIOWrapper):
    """Standard output, whose errors are `OutputError`."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error) from None


class _Complaints(io.TextIOWrapper):
    """Standard error, where notes and progress are lost if nobody can take them."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def prepare() -> None:
    """Gives this process standard streams that can be written to, whatever it was started with.

    Closed ones lead nowhere: without that the next file that is opened would take their number, and receive what is
    printed. Characters that a stream's encoding lacks are written as escapes.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name, kind in (("stdout", _Output), ("stderr", _Complaints)):
        setattr(sys, name, _wrapped(getattr(sys, name), kind))


def _wrapped(stream: Any, kind: type[_Output] | type[_Complaints]) -> Any:
    if stream is None or stream.closed:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return kind(
        stream.buffer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def abandon_output() -> None:
    """Lets the rest of standard output go nowhere, so that the end of the process does not fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
