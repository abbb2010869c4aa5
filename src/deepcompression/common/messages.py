"""Names, problems and tables as messages show them."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

# Files whose lines are nobody's to whom a warning speaks: those of this package, and of decorators.
_NOT_CALLERS = (str(Path(__file__).parents[1]), contextlib.__file__)


def warn(note: str) -> None:
    """Warns at the line outside of this package that led here."""
    level = 1
    while sys._getframe(level).f_code.co_filename.startswith(_NOT_CALLERS) and sys._getframe(level).f_back:
        level += 1
    warnings.warn(note, stacklevel=level + 1)


def printable(text: str) -> str:
    """Text from a file, with escapes for characters that could steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def some(names: Iterable[str], most: int = 8) -> str:
    """Names for a message, sorted: the first ones, and how many more."""
    return listed(sorted(names), most)


def listed(texts: Iterable[object], most: int = 8, separator: str = ", ") -> str:
    """Texts for a message, in their order: the first ones, and how many more."""
    every = [str(text) for text in texts]
    shown = separator.join(every[:most])
    more = f"and {len(every) - most} more"
    return shown if len(every) <= most else shown + (" " if separator == ", " else separator) + more


def counted(number: int, noun: str) -> str:
    """`1 tensor`, `2,000 tensors`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def are(number: int) -> str:
    """The verb after so many: `is` or `are`."""
    return "is" if number == 1 else "are"


def those(number: int, noun: str, flaw: str) -> str:
    """`1 weight that is NaN`, `2 weights that are NaN`."""
    return f"{counted(number, noun)} that {are(number)} {flaw}"


def show(text: str) -> None:
    """Prints a text, with escapes for the characters that standard output lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, with `...` in its middle: names differ at both ends."""
    if len(text) <= most:
        return text
    end = (most - 3) // 2
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


# a name is shortened to no less
LEAST_NAME = 16


# spaces between columns
_GAP = 2


def _width(rows: Sequence[Sequence[str]]) -> int:
    return sum(_GAP + max(map(len, column)) for column in zip(*rows, strict=True)) - _GAP


def _stacked(headings: Sequence[str]) -> list[Sequence[str]]:
    """Rows with a word of each heading, the last words in the last row."""
    words = [heading.replace("/", "/ ").split() for heading in headings]
    most = max(map(len, words))
    return list(zip(*([""] * (most - len(each)) + each for each in words), strict=True))


def aligned(rows: Iterable[Sequence[str]], numbers: bool = False, width: int | None = None) -> str:
    """The lines of a table; with `numbers`, all columns but the first are aligned at the right.

    width  of the lines, if the names of the first column are to be shortened and the headings to be stacked for it
    """
    rows = list(rows)
    if width is not None and _width(rows) > width:
        rows = [*_stacked(rows[0]), *rows[1:]]
        room = max(LEAST_NAME, width - _width([row[1:] for row in rows]) - _GAP)
        rows = [(shortened(name, room), *others) for name, *others in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if numbers and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * _GAP).join(cells).rstrip())
    return "\n".join(lines)
