"""`dcz inspect` and `dcz verify`: what a .dcz file holds, and whether it is sound."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from deepcompression.checkpoint.onnx.graph import GRAPH
from deepcompression.checkpoint.open import open_checkpoint
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.cli.common import (
    MISMATCH,
    FileArgument,
    JsonOption,
    LimitOption,
    errors_in_one_line,
    fail,
    print_json,
    print_report,
)
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.file.reader import DczFile
from deepcompression.tensors.tensor import DenseTensor


def inspect(file: FileArgument, as_json: JsonOption = False, limit_bytes: LimitOption = LIMIT_BYTES) -> None:
    """Show each tensor in the columns of the paper's tables, and where every byte went."""
    with errors_in_one_line():
        print_report(file, as_json, limit_bytes)


def verify(
    file: FileArgument,
    against: Annotated[
        Path | None,
        typer.Option(help="A checkpoint, as `compress` takes it, that must hold the same tensors, bit for bit."),
    ] = None,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Check checksums, decode everything, and compare with a checkpoint if one is given."""
    with errors_in_one_line():
        differences = []
        with ExitStack() as stack:
            source = stack.enter_context(DczFile(file, limit_bytes))
            other = None if against is None else stack.enter_context(recognise(open_checkpoint(against)))
            expected = {} if other is None else dict(other.entries)
            graph = None if other is None else other.graph
            names = source.entries.keys()
            for name, entry in source.entries.items():
                if name in expected:
                    assert other is not None
                    theirs = other.read(expected[name].tied_to or name)
                    if difference := _difference(source.read_dense(name), theirs):
                        differences.append(f"{name} {difference}")
                    continue
                if name == GRAPH and graph is not None:
                    if source.read_dense(name).elements.tobytes() != graph:
                        differences.append(f"{name} has other elements")
                    continue
                if not entry.tied_to:
                    source.read_dense(name)
                if against is not None:
                    differences.append(f"{name} is only in {file}")
        differences += [f"{name} is only in {against}" for name in expected.keys() - names]
        differences.sort()
        if as_json:
            print_json({"file": str(file), "tensors": len(names), "differences": differences})
        elif not differences:
            print(f"{file}: {len(names)} tensors are sound" + (f" and the same as in {against}" if against else ""))
    if differences:
        fail(f"{file} differs from {against}: {'; '.join(differences)}", MISMATCH)


def _difference(ours: DenseTensor, theirs: DenseTensor) -> str | None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"is {list(ours.shape)} of {ours.dtype}, expected {list(theirs.shape)} of {theirs.dtype}"
    return "has other elements" if ours.elements.tobytes() != theirs.elements.tobytes() else None
