"""The part of a recipe that says how a tensor is encoded."""

from __future__ import annotations

from pydantic import Field, field_validator

from deepcompression.coding.coder import GAP_BITS
from deepcompression.coding.coders import CODERS
from deepcompression.common.one_of import one_of
from deepcompression.common.settings import RecipePart


class Encode(RecipePart):
    """The coder and the gap width of a tensor; by default those of the smallest payload."""

    coder: str | None = None
    gap_bits: int | None = Field(default=None, ge=GAP_BITS[0], le=GAP_BITS[-1], strict=True)

    @field_validator("coder")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else one_of("coder", value, CODERS)
