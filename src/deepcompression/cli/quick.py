"""`dcz inspect FILE`, answered without the library of the command line: to import it takes longer than to answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from deepcompression.cli.common import errors_in_one_line, print_report
from deepcompression.cli.files import input_file
from deepcompression.common.binary import LIMIT_BYTES


def inspect_file(file: Path, as_json: bool, limit_bytes: int = LIMIT_BYTES) -> None:
    """What `dcz inspect` does."""
    with errors_in_one_line(), input_file(file) as source:
        print_report(source, as_json, limit_bytes)


def answered(arguments: Sequence[str]) -> bool:
    """Does what arguments of `dcz` ask for if they are `inspect FILE`, with --json or without; else returns False.

    A shell that asks for completions has the arguments in the environment.
    """
    command, *others = arguments or [""]
    files = [each for each in others if each != "--json"]
    if command != "inspect" or len(files) != 1 or len(others) > 2 or "_DCZ_COMPLETE" in os.environ:
        return False
    if files[0].startswith("-") and files[0] != "-":
        return False
    inspect_file(Path(files[0]), "--json" in others)
    return True
