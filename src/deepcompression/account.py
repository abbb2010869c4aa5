"""Where the bytes of one tensor's payload went."""

from __future__ import annotations

from dataclasses import dataclass

# A payload is made in parts, so that a large one need not be held.
Part = bytes | memoryview


@dataclass(frozen=True)
class Account:
    """Where the bytes of one payload went, and the counts behind the paper's tables 2 and 3.

    `parts` maps a part's name to its bytes; they add up to the payload. `entries` are survivors and fillers together.
    """

    parts: dict[str, int]
    entries: int = 0
    survivors: int = 0
    centroids: int = 0
    gap_bits: int = 0

    @property
    def fillers(self) -> int:
        return self.entries - self.survivors
