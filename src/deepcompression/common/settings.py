"""The base of a recipe's parts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RecipePart(BaseModel):
    """A part of a recipe: it does not change, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
