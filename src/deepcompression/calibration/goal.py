"""The target of a plan: a size, a ratio, or a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepcompression.common.units import parse_size, positive


class Goal(NamedTuple):
    """The target of a plan: one is a number, the others are None."""

    size: float | None
    ratio: float | None
    change: float | None

    @classmethod
    def of(
        cls,
        size: float | str | None,
        ratio: float | None,
        change: float | None,
        words: Sequence[str] = ("target_size", "target_ratio", "max_change"),
    ) -> Goal:
        """The one target among these, which messages call by `words`.

        Raises ValueError for none, for two, and for one that is no positive number; TypeError for one that is no
        number.
        """
        values = parse_size(size) if isinstance(size, str) else size, ratio, change
        given = [word for word, value in zip(words, values, strict=True) if value is not None]
        if len(given) != 1:
            known = f"{', '.join(words[:-1])} or {words[-1]}"
            raise ValueError(f"a plan has one target, {known}; found {' and '.join(given) or 'none'}")
        return cls(*(None if v is None else positive(word, v) for word, v in zip(words, values, strict=True)))
