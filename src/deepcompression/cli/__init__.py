"""`dcz`: arguments -> functions of the package; errors -> one line and an exit code.

Imports every room, each only for the command that needs it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from deepcompression.common.lazy_names import lazy_names

if TYPE_CHECKING:
    from deepcompression.cli.commands import app
    from deepcompression.cli.common import BAD_FILE, BROKEN_PIPE, INTERRUPTED, MISMATCH, MISTAKE, SYSTEM
else:
    _CODES = ("BAD_FILE", "BROKEN_PIPE", "INTERRUPTED", "MISMATCH", "MISTAKE", "SYSTEM")
    _PLACES = {"app": "deepcompression.cli.commands"} | dict.fromkeys(_CODES, "deepcompression.cli.common")

    __getattr__, __dir__ = lazy_names(__name__, _PLACES)

__all__ = ["BAD_FILE", "BROKEN_PIPE", "INTERRUPTED", "MISMATCH", "MISTAKE", "SYSTEM", "app", "main"]


def main() -> None:
    """The console script."""
    from deepcompression.cli.common import BROKEN_PIPE, SYSTEM, complain
    from deepcompression.cli.streams import OutputError, abandon_output, prepare

    prepare()
    try:
        code = _done(sys.argv[1:])
        sys.stdout.flush()
    except OutputError as error:
        abandon_output()
        if not error.broken:
            complain(str(error))
        code = BROKEN_PIPE if error.broken else SYSTEM
    sys.exit(code)


def _done(arguments: list[str]) -> Any:
    """The exit code of a call, or None."""
    from deepcompression.cli.quick import answered

    try:
        if answered(arguments):
            return None
        # typer takes longer to import than a small file to read
        from deepcompression.cli.commands import run

        return run(arguments)
    except SystemExit as end:
        return end.code
