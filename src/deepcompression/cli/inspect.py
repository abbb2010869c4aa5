"""`dcz inspect` and `dcz verify`: the tensors of a .dcz file, and a check of its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepcompression.cli.common import MISMATCH, errors_in_one_line, fail, print_json
from deepcompression.cli.files import input_file
from deepcompression.cli.options import FileArgument, JsonOption, LimitOption
from deepcompression.cli.quick import inspect_file
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.messages import are, counted, printable


def inspect_command(file: FileArgument, as_json: JsonOption = False, limit_bytes: LimitOption = LIMIT_BYTES) -> None:
    """Show each tensor in the columns of the paper's tables, and the use of every byte."""
    inspect_file(file, as_json, limit_bytes)


def verify_command(
    file: FileArgument,
    against: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint to compare with, bit for bit: a .safetensors, .pt or .onnx file, or a folder. "
            "Weights that were pruned or shared on the way differ."
        ),
    ] = None,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Check all checksums, decode every tensor, and compare with a checkpoint if one is given."""
    from deepcompression.convert.from_dcz import verify_file

    with errors_in_one_line(), input_file(file) as source:
        count, differences = verify_file(source, against, limit_bytes=limit_bytes)
        if as_json:
            print_json({"file": str(file), "tensors": count, "differences": differences})
        elif not differences:
            same = "" if against is None else f" and the same as in {against}"
            print(printable(f"{file}: {counted(count, 'tensor')} {are(count)} sound{same}"))
    if differences:
        fail(f"{file} differs from {against}: {'; '.join(differences)}", MISMATCH)
