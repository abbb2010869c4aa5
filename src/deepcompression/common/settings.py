"""The base of everything that a recipe says: unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


def one_of(kind: str, name: str, table: Mapping[str, object]) -> str:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return name


class RecipePart(BaseModel):
    """A part of a recipe: unknown keys are errors, and it does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
