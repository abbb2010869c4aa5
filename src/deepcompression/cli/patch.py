"""`dcz diff --binary` and `dcz patch`: two .dcz files <-> the patch between them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deepcompression.cli.common import complain, errors_in_one_line, print_json
from deepcompression.cli.files import PATCH_SUFFIX, STANDARD, input_file, output_file
from deepcompression.cli.options import ForceOption, JsonOption, LimitOption, OutOption, QuietOption
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.messages import printable
from deepcompression.delta.apply import apply_patch
from deepcompression.delta.make import PatchSizes, make_patch
from deepcompression.delta.operations import MAX_WORK_BYTES

OldArgument = Annotated[Path, typer.Argument(metavar="OLD", help="A .dcz file.", show_default=False)]
NewArgument = Annotated[Path, typer.Argument(metavar="NEW", help="The .dcz file to make of it.", show_default=False)]
PatchArgument = Annotated[
    Path,
    typer.Argument(metavar="PATCH", help="A patch of dcz diff, or - for standard input.", show_default=False),
]

_READERS = {
    "plain": "boards can apply it",
    "recoding": "this package alone can apply it",
    "whole": "it is the new file itself",
}


def diff_command(
    old: OldArgument,
    new: NewArgument,
    output: OutOption,
    binary: Annotated[bool, typer.Option("--binary", help="Write a patch. There is no other kind yet.")] = False,
    work_bytes: Annotated[
        int, typer.Option(help="The most memory that a board has for the patch's tables.")
    ] = MAX_WORK_BYTES,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Write the patch that makes NEW of OLD, bit for bit, for an update over the air. It is never larger than NEW."""
    with errors_in_one_line():
        if not binary:
            raise ValueError("dcz diff makes patches alone: add --binary")
        notes: list[str] = []
        with output_file(output, (PATCH_SUFFIX,), source=new, force=force, as_json=as_json, notes=notes) as target:
            sizes = make_patch(old, new, target, limit_bytes, work_bytes)
        _say(notes, as_json)
        if as_json:
            print_json({"file": str(output), "old": str(old), "new": str(new)} | asdict(sizes) | {"notes": notes})
        elif not (quiet or output == STANDARD):
            print(printable(f"{output}: {_sentence(sizes)}"))


def _sentence(sizes: PatchSizes) -> str:
    part = sizes.patch_bytes / sizes.new_bytes
    return f"{sizes.patch_bytes:,} bytes, {part:.1%} of the new file; {_READERS[sizes.kind]}"


def patch_command(
    old: OldArgument,
    patch: PatchArgument,
    output: OutOption,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Write the new file that PATCH makes of OLD, with all its checksums right, or nothing."""
    with errors_in_one_line():
        notes: list[str] = []
        with (
            output_file(output, (".dcz",), source=old, force=force, as_json=as_json, notes=notes) as target,
            input_file(patch) as source,
        ):
            apply_patch(old, source, target, limit_bytes)
            size = target.stat().st_size
        _say(notes, as_json)
        if as_json:
            print_json({"file": str(output), "old": str(old), "patch": str(patch), "file_bytes": size, "notes": notes})
        elif not (quiet or output == STANDARD):
            print(f"{printable(str(output))}: {size:,} bytes")


def _say(notes: list[str], as_json: bool) -> None:
    for note in [] if as_json else notes:
        complain(f"note: {note}")
