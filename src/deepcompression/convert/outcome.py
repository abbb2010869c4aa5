"""The outcome of a compression: notes for people, and the effect."""

from __future__ import annotations

from collections.abc import Iterable

from deepcompression.file.effect import Effect


class Outcome(list[str]):
    """Notes for people, and the effect of the compression.

    effect  its `warnings` name the layers where quality is probably lost
    """

    def __init__(self, notes: Iterable[str], effect: Effect) -> None:
        super().__init__(notes)
        self.effect = effect
