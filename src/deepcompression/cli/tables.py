"""Tables on a terminal of any width, and whole in a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deepcompression.common.messages import LEAST_NAME, shortened

# columns are left out until names have so many characters
_GOOD_NAME = 32

# more than any table takes
_PIPE_WIDTH = 100_000


def terminal_width() -> int | None:
    """Columns of the terminal that shows standard output; None in a pipe, whatever the variable COLUMNS says."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_tables(tables: Iterable[Table], spare: Sequence[str] = ()) -> None:
    """Prints tables whose first column has names. On a terminal that is too narrow, columns of `spare` are left out, in
    its order, and names are shortened in their middle; a pipe gets all.
    """
    width = terminal_width()
    console = Console(width=width or _PIPE_WIDTH)
    for table in tables:
        if width is None:
            console.print(table)
            continue
        fitted, left_out = _fitted(table, console, width, spare)
        console.print(fitted)
        if left_out:
            print(f"A wider terminal, a pipe or --json also shows: {', '.join(left_out)}.")


def _fitted(table: Table, console: Console, width: int, spare: Sequence[str]) -> tuple[Table, list[str]]:
    """The table as it fits, and the columns that are left out."""
    left_out: list[str] = []
    longest = max(len(str(cell)) for cell in table.columns[0].cells)
    for heading in spare:
        if _width(table, console) - width <= max(0, longest - _GOOD_NAME):
            break
        if heading in [column.header for column in table.columns]:
            left_out.append(heading)
            table = _rebuilt(table, without=heading)
    if (excess := _width(table, console) - width) > 0:
        table = _rebuilt(table, longest_name=max(LEAST_NAME, longest - excess))
    return table, left_out


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=_PIPE_WIDTH)).maximum


def _rebuilt(table: Table, without: str | None = None, longest_name: int | None = None) -> Table:
    kept = [column for column in table.columns if column.header != without]
    made = Table(caption=table.caption)
    for column in kept:
        made.add_column(column.header, justify=column.justify, no_wrap=column is kept[0] and longest_name is not None)
    names, *others = [list(column.cells) for column in kept]
    if longest_name is not None:
        names = [Text(shortened(str(name), longest_name)) for name in names]
    for row, cells in zip(table.rows, zip(names, *others, strict=True), strict=True):
        made.add_row(*cells, end_section=row.end_section)
    return made
