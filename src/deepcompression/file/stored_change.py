"""The entry of a file's metadata that holds the change of the outputs, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class StoredChange(BaseModel):
    """The fields of `OutputsChange`; a number that is not finite is null."""

    change: _Number
    inputs: Annotated[int, Field(ge=1)]
    held_back: bool
    by_output: dict[str, _Number]


def stored_change(entry: str) -> StoredChange | None:
    """None for an entry that is not sound."""
    try:
        return StoredChange.model_validate_json(entry)
    except ValidationError:
        return None
