"""Names, problems and tables as messages show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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


def aligned(rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """The lines of a table; with `numbers`, all columns but the first are aligned at the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if numbers and column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
