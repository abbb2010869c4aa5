"""`dcz bench`: measures a file's layers on this machine."""

from __future__ import annotations

import sys
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from deepcompression.bench import TABLES, Settings, bench, instruction_sets, lines, tables
from deepcompression.bench.energy import rapl
from deepcompression.bench.nvml import gpu_meter
from deepcompression.cli.common import errors_in_one_line, print_json
from deepcompression.cli.files import input_file
from deepcompression.cli.options import FileArgument, JsonOption, LimitOption, values_of
from deepcompression.cli.tables import print_tables
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.messages import printable
from deepcompression.packed.packing import ACTIVATIONS


def bench_command(
    file: FileArgument,
    batch: Annotated[int, typer.Option(help="Vectors or images of a call.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of every computation.")] = 1,
    activations: Annotated[
        str,
        typer.Option(
            help="float32, or int8 for fully connected layers.", autocompletion=values_of(lambda: ACTIVATIONS)
        ),
    ] = "float32",
    size: Annotated[int, typer.Option(help="Height and width of the images for convolutions.")] = 14,
    seconds: Annotated[float, typer.Option(help="Approximate time for each layer.")] = 1.0,
    table: Annotated[
        list[str] | None,
        typer.Option(help="Glob of modules that are embedding tables, by the last part of their names. Repeat it."),
    ] = None,
    instruction_set: Annotated[
        str | None,
        typer.Option(help="Force one: portable, avx2, avx512, ...", autocompletion=values_of(instruction_sets)),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or a device of torch: cuda, cuda:1, ...")] = "cpu",
    energy: Annotated[bool, typer.Option("--energy", help="Measure joules, too, if the machine can.")] = False,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Measure each layer on this machine, dense and from its compressed form: time, bytes, energy."""
    with errors_in_one_line(), input_file(file) as source:
        settings = Settings(
            batch, threads, activations, size, seconds, TABLES if table is None else tuple(table), device
        )
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("")

            def show(name: str, number: int, count: int) -> None:
                progress.update(task, description=escape(printable(name)), completed=number, total=count)

            result = bench(
                source,
                settings,
                instruction_set=instruction_set,
                meter=(rapl if device == "cpu" else partial(gpu_meter, device)) if energy else None,
                limit_bytes=limit_bytes,
                progress=show,
            )
        if as_json:
            print_json(result.to_dict())
            return
        print_tables(tables(result), spare=("shape", "density", "dense moved", "moved"))
        for line in lines(result):
            print(line)
