"""Tables of the pages of results, and the mark of forced instruction sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Instruction sets, the widest last.
SETS = ("portable", "neon", "avx2", "avx512")

FORCED = "†"

FORCED_NOTE = f"{FORCED} The instruction set was forced on a machine that has a wider one."

Result = dict[str, Any]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = True) -> str:
    """A Markdown table; all columns but the first are numbers, aligned to the right, or texts."""
    marks = ("---", *("--:" if numbers else "---" for _ in headings[1:]))
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in (headings, marks, *rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def shown(names: Iterable[str]) -> dict[str, str]:
    """Names as tables show them: marked where an instruction set was forced that is not the widest of them."""
    parts = {name: re.split(", |: ", name) for name in names}
    widths = {
        name: max((SETS.index(each) for each in found if each in SETS), default=-1) for name, found in parts.items()
    }
    widest = max(widths.values(), default=-1)
    return {name: f"{name} {FORCED}" if 0 <= width < widest else name for name, width in widths.items()}


def not_measured(reasons: Mapping[str, str]) -> list[str]:
    """A block for each thing that is missing, with the reason."""
    return [f"**Not measured:** {name}: {reason}." for name, reason in reasons.items()]
