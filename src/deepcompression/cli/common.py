"""Common parts of the commands of `dcz`: exit codes, errors in one line, reports, progress."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import deepcompression as dc
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.extras import named_extra
from deepcompression.common.messages import printable

if TYPE_CHECKING:
    from deepcompression.file.effect import Effect

MISMATCH, BAD_FILE, MISTAKE, SYSTEM, INTERRUPTED, BROKEN_PIPE = 1, 3, 2, 4, 130, 141

# between two lines of progress without a terminal
_LINE_SECONDS = 10


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    try:
        with named_extra():
            yield
    except dc.FormatError as error:
        fail(str(error), BAD_FILE, error)
    except (ValueError, TypeError) as error:
        fail(str(error), MISTAKE, error)
    except ModuleNotFoundError as error:
        fail(str(error), MISTAKE, error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        fail(message, MISTAKE if isinstance(error, FileNotFoundError) else SYSTEM, error)
    except MemoryError as error:
        fail("out of memory", SYSTEM, error)
    except KeyboardInterrupt as error:
        fail("interrupted", INTERRUPTED, error)


def fail(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    """Exits with a message and the notes of an error."""
    complain("; ".join([message, *getattr(error, "__notes__", ())]))
    raise SystemExit(code)


def complain(message: str) -> None:
    print(f"dcz: {printable(' '.join(message.split()))}", file=sys.stderr)


def print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def print_warnings(effect: Effect) -> None:
    """Says on standard error where quality is probably lost."""
    for warning in effect.warnings:
        complain(f"warning: {warning}")


def print_report(path: Path, as_json: bool, limit_bytes: int = LIMIT_BYTES, **more: object) -> None:
    from deepcompression.file.report import SPARE, Report

    report = Report.of(path, limit_bytes)
    if as_json:
        print_json({"file": str(path)} | report.to_dict() | more)
        return
    from deepcompression.cli.tables import print_tables

    print_tables(report.tables(), SPARE)
    if report.outputs is not None:
        print(report.outputs)


@contextmanager
def progress_of_bytes(what: str, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """Yields a function of the bytes done and all bytes, which shows a bar with the time left on a terminal, elsewhere
    a line now and then.
    """
    if hidden:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        shown = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _LINE_SECONDS:
                shown = time.monotonic()
                complain(f"{what}: {done:,} of {total:,} bytes")

        yield show
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)
        yield lambda done, total: progress.update(task, completed=done, total=total)
