"""Operators of a model that no board can run: collected, then named all at once."""

from __future__ import annotations

from collections.abc import Iterable

from deepcompression.common.messages import listed


class Gaps:
    """What is missing so far, by the kind of the operator."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, str]] = {}

    def add(self, kind: str, node: str, reason: str = "") -> None:
        self._found.setdefault(kind, {})[node] = reason

    def check(self, known: Iterable[str]) -> None:
        """Raises ValueError with every operator that was added, its nodes, and the reasons."""
        if not self._found:
            return
        parts = []
        for kind, nodes in sorted(self._found.items()):
            named = listed(f"{node}: {reason}" if reason else node for node, reason in nodes.items())
            parts.append(f"{kind}, {len(nodes)} time{'s' * (len(nodes) != 1)} ({named})")
        raise ValueError(
            f"boards cannot run these operators of the model: {'; '.join(parts)}. Export the model without them, or "
            f"cut the model where they begin; known are {', '.join(sorted(name for name in known if name[-1] != '_'))}"
        )
