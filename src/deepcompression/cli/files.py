"""Inputs and outputs of the commands: files, or `-` for the standard streams; what exists is not lost."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import typer

from deepcompression.cli.streams import OutputError
from deepcompression.common.messages import printable
from deepcompression.file.index import MAGIC

STANDARD = Path("-")

# the first bytes of a file -> its suffix. A safetensors file begins with a length, and is known by its ninth byte
_HEADS = ((MAGIC, ".dcz"), (b"PK", ".pt"), (b"\x80", ".pt"), (b"\x08", ".onnx"))
_HEAD_BYTES = 9


@contextmanager
def input_file(path: Path) -> Iterator[Path]:
    """The path of an input. Standard input is copied into a temporary file, since files are read by range.

    Raises ValueError for a terminal, and for bytes that are no checkpoint and no .dcz file.
    """
    if path != STANDARD:
        yield path
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("standard input is a terminal or closed: pipe a file into this command, or name one")
    with tempfile.TemporaryDirectory() as folder:
        source = sys.stdin.buffer
        head = source.read(_HEAD_BYTES)
        copy = Path(folder) / f"standard-input{_suffix(head)}"
        with copy.open("wb") as file:
            file.write(head)
            shutil.copyfileobj(source, file)
        yield copy


def _suffix(head: bytes) -> str:
    if not (suffix := _kind(head)):
        raise ValueError(
            f"standard input begins with {head!r}, which is no .dcz, .safetensors, .pt or .onnx file: give one of these"
        )
    return suffix


def _kind(head: bytes) -> str | None:
    """The suffix of the file that begins so, or None for another kind."""
    if head[8:] == b"{":
        return ".safetensors"
    return next((suffix for start, suffix in _HEADS if head.startswith(start)), None)


@contextmanager
def output_file(
    path: Path,
    suffixes: tuple[str, ...],
    *,
    source: Path,
    force: bool,
    as_json: bool = False,
    notes: list[str] | None = None,
) -> Iterator[Path]:
    """The path to write to; what is written for standard output is copied there when the block ends well.

    suffixes  those that the file may have; the first is that of standard output
    source    the input of the command
    force     replace a file that exists, whatever it is
    notes     gets a note if the job replaces a file

    Raises ValueError for another suffix, lest a slip replaces the checkpoint by its result; for a file that may not be
    replaced; and for standard output that is a terminal, or that takes JSON.
    """
    if path != STANDARD:
        if path.suffix not in suffixes:
            raise ValueError(f"{path}: the output of this command is a {' or '.join(suffixes)} file")
        if path.is_file() and not force:
            _check_replaceable(path, source, [] if notes is None else notes)
        yield path
        return
    if as_json:
        raise ValueError("--json and -o - both write to standard output: name a file with -o")
    if sys.stdout.isatty():
        raise ValueError(f"a {suffixes[0]} file is not for terminals: redirect standard output, or name a file with -o")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"standard-output{suffixes[0]}"
        yield made
        with made.open("rb") as file:
            _copy_out(file)


def _copy_out(file: BinaryIO) -> None:
    try:
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(error) from None


def _check_replaceable(path: Path, source: Path, notes: list[str]) -> None:
    """Asks on a terminal. Elsewhere only a file that this command may have written is replaced, and a note says so.

    Raises ValueError for any other: one of another kind, and a checkpoint with the name of the .dcz file that is
    decompressed, since it may be what that was made from.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        if typer.confirm(f"dcz: {printable(str(path))} exists. Replace it?", err=True):
            return
    elif _kind(head) == path.suffix and not (source.suffix == ".dcz" and path == source.with_suffix(path.suffix)):
        notes.append(f"{path} existed: this job replaced it")
        return
    raise ValueError(f"{path} exists: --force replaces it, or name another file with -o")
