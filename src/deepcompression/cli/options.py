"""Common arguments and options of the commands of `dcz`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A .safetensors, .pt or .onnx file, a folder, or - for standard input.",
        show_default=False,
    ),
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A .dcz file, or - for standard input.", show_default=False)
]
OutOption = Annotated[
    Path, typer.Option("--output", "-o", help="The file to write, or - for standard output.", show_default=False)
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace an output that exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no report.")]
LimitOption = Annotated[int, typer.Option("--limit-bytes", help="Refuse a file whose decoded tensors take more.")]


def values_of(known: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """The completion of an option by a shell: the known values that begin with what is typed."""

    def completed(incomplete: str) -> list[str]:
        return [value for value in known() if value.startswith(incomplete)]

    return completed
