"""A check of names that select an entry of a table."""

from __future__ import annotations

from collections.abc import Mapping


def one_of(kind: str, name: str, table: Mapping[str, object]) -> str:
    """The name. Raises ValueError if the table does not have it."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return name
