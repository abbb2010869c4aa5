"""What each layer of a running model computes from, and why."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

_DENSE = "dense"
_WIDTH = 160


@dataclass(frozen=True)
class Kernel:
    """One weight. `names` has more than one for a tied weight; `form` is that of its packed bytes, or `dense`;
    `arithmetic` and `instruction_set` are empty where torch computes.
    """

    names: tuple[str, ...]
    module: str
    shape: tuple[int, ...]
    form: str
    arithmetic: str
    instruction_set: str
    why: str
    bytes: int
    dense_bytes: int
    density: float | None
    centroids: int | None

    @property
    def packed(self) -> bool:
        return self.form != _DENSE


@dataclass(frozen=True)
class Explanation:
    """Prints as a table; `bytes` are held by all weights of the rows, `dense_bytes` what they would take dense."""

    rows: tuple[Kernel, ...]

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    @property
    def dense_bytes(self) -> int:
        return sum(row.dense_bytes for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return {"rows": [asdict(row) for row in self.rows], "bytes": self.bytes, "dense_bytes": self.dense_bytes}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        table = Table("weight", "module", "shape", "kernel", caption=f"{self.bytes:,} bytes of {self.dense_bytes:,}")
        for heading in ("bytes", "dense bytes", "density", "centroids"):
            table.add_column(heading, justify="right")
        table.add_column("why")
        for row in self.rows:
            table.add_row(*_cells(row))
        yield table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_WIDTH).print(self)
        return text.getvalue()


def _cells(row: Kernel) -> Iterable[str | Text]:
    # Texts, since a name such as a[b] is no markup
    return (
        Text(" = ".join(row.names)),
        Text(row.module),
        "x".join(map(str, row.shape)),
        " ".join(part for part in (row.form, row.arithmetic, row.instruction_set) if part),
        f"{row.bytes:,}",
        f"{row.dense_bytes:,}",
        "-" if row.density is None else f"{100 * row.density:.3g}%",
        "-" if row.centroids is None else str(row.centroids),
        Text(row.why),
    )
