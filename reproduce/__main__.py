"""`python -m reproduce`: arguments -> the experiments."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import deepcompression as dc
from reproduce.data import Images, load_test
from reproduce.experiment import NETWORKS, RESULTS, evaluate, run
from reproduce.table import summary, update_readme

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="The paper's experiments, from data to file."
)

Seed = Annotated[
    int, typer.Option(min=0, help="Of weights, order and shifts; other seeds than 0 are named in the file.")
]
Data = Annotated[
    Path | None, typer.Option(help="MNIST elsewhere, laid out as torchvision does; the bundled one if not given.")
]
Out = Annotated[Path, typer.Option(help="Folder of the .dcz and the .json.")]


def _job(name: str, seed: int, data: Path | None, out: Path) -> None:
    path = run(name, seed, data, out)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in dc.Report.of(path).tables():
        console.print(table)
    console.print(summary([json.loads(path.with_suffix(".json").read_text())]))
    print(path)


@app.command("lenet-300-100")
def lenet_300_100(seed: Seed = 0, data: Data = None, out: Out = RESULTS) -> None:
    """Train, prune, share and encode LeNet-300-100 (the paper's table 2)."""
    _job("lenet-300-100", seed, data, out)


@app.command("lenet-5")
def lenet_5(seed: Seed = 0, data: Data = None, out: Out = RESULTS) -> None:
    """Train, prune, share and encode LeNet-5 (the paper's table 3)."""
    _job("lenet-5", seed, data, out)


@app.command("evaluate")
def evaluate_file(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NETWORKS)}.")],
    file: Annotated[Path, typer.Argument(help="A .dcz file with that network.")],
    data: Data = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many test images.")] = None,
) -> None:
    """Measure the test error of a file alone."""
    if name not in NETWORKS:
        raise typer.BadParameter(f"{name} is none of {', '.join(NETWORKS)}")
    test = load_test(data)
    images = Images(test.pixels[:limit], test.labels[:limit])
    error = evaluate(name, file, images)
    print(f"{file}: {error:.2f} % of {len(images):,} test images wrong, {file.stat().st_size:,} bytes")


@app.command("table")
def table() -> None:
    """Write the results table of README.md anew from the result files."""
    update_readme()


if __name__ == "__main__":
    app(prog_name="python -m reproduce")
