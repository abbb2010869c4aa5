"""Result files -> the results table: on the terminal, all of it in docs/reproduce.md, one seed in README.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from reproduce.experiment import RESULTS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "reproduce.md"
FIRST_SEED = 0
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEADINGS = (
    "network",
    "data",
    "seed",
    "parameters",
    "dense error",
    "error",
    "file",
    "smaller",
    "paper: data",
    "error",
    "file",
    "smaller",
)


def _cells(result: dict[str, Any]) -> tuple[str, ...]:
    report, paper = result["report"], result["paper"]
    dense = f"{result['dense_test_error_percent']:.2f} %"
    if "longer_dense_test_error_percent" in result:
        dense += f" (trained for as long as the file: {result['longer_dense_test_error_percent']:.2f} %)"
    return (
        result["network"],
        result.get("data", {}).get("name", "mnist"),
        str(result["seed"]),
        f"{report['dense_bytes']:,} B",
        dense,
        f"{result['test_error_percent']:.2f} %",
        f"{report['file_bytes']:,} B",
        f"{report['ratio']:.0f}x",
        paper.get("data", "mnist"),
        f"{paper['error_percent']:.2f} %",
        f"{paper['file_bytes']:,} B",
        f"{paper['ratio']}x",
    )


def summary(results: Sequence[dict[str, Any]]) -> Table:
    """The results beside the paper's, for a rich console."""
    table = Table(*HEADINGS, caption="test error of the decoded file; the file counted whole")
    for result in results:
        table.add_row(*_cells(result))
    return table


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    results = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sorted(results, key=lambda result: (result["network"], result["seed"]))


def markdown(results: Sequence[dict[str, Any]]) -> str:
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(_cells, results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_table(page: str, results: Sequence[dict[str, Any]]) -> str:
    """The text of a page with a new table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}"


def tables() -> dict[Path, list[dict[str, Any]]]:
    """The results that each page shows."""
    results = read_results()
    return {README: [result for result in results if result["seed"] == FIRST_SEED], PAGE: results}


def update_pages() -> None:
    for path, results in tables().items():
        path.write_text(with_table(path.read_text(), results))
