"""The base of a recipe's parts, and a check of names that select an entry of a table."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


def one_of(kind: str, name: str, table: Mapping[str, object]) -> str:
    """The name. Raises ValueError if the table does not have it."""
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return name


class RecipePart(BaseModel):
    """A part of a recipe: it does not change, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
