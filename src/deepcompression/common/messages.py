"""Names and texts as messages show them."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: str) -> str:
    """Text from a file, with what could steer a terminal written as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def some(names: Iterable[str], most: int = 8) -> str:
    """Names for a message: the first ones, and how many more."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
