"""Inputs and outputs of the commands: files, or `-` for the standard streams; what exists is not lost."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deepcompression.checkpoint.kinds import START_BYTES, SUFFIXES, kind_by_bytes
from deepcompression.cli.streams import OutputError
from deepcompression.common.messages import printable
from deepcompression.delta.operations import PATCH_MAGICS
from deepcompression.file.index import MAGIC

STANDARD = Path("-")

PATCH_SUFFIX = ".dcp"

# how files of this project begin, by suffix
_OWN = {".dcz": (MAGIC,), PATCH_SUFFIX: PATCH_MAGICS}


@contextmanager
def input_file(path: Path) -> Iterator[Path]:
    """The path of an input. Standard input is copied into a temporary file, since files are read by range.

    Raises ValueError for a terminal.
    """
    if path != STANDARD:
        yield path
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("standard input is a terminal or closed: pipe a file into this command, or name one")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "standard-input"
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield copy


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
        start = file.read(START_BYTES)
    if not start:
        return
    own = start.startswith(_OWN[path.suffix]) if path.suffix in _OWN else _is_checkpoint(start, path)
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        import typer

        if typer.confirm(f"dcz: {printable(str(path))} exists. Replace it?", err=True):
            return
    elif own and not (source.suffix == ".dcz" and path == source.with_suffix(path.suffix)):
        notes.append(f"{path} existed: this job replaced it")
        return
    raise ValueError(f"{path} exists: --force replaces it, or name another file with -o")


def _is_checkpoint(start: bytes, path: Path) -> bool:
    """Whether a file that begins so is a checkpoint of the kind that its name says."""
    kind = kind_by_bytes(start, path.stat().st_size)
    return kind is not None and kind == SUFFIXES.get(path.suffix)
