"""`dcz`: arguments -> functions of the package; errors -> one line and an exit code.

Imports every room.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from deepcompression.cli.bench import bench_command
from deepcompression.cli.common import BAD_FILE, INTERRUPTED, MISMATCH, MISTAKE, SYSTEM, complain
from deepcompression.cli.compress import compress_command, decompress_command
from deepcompression.cli.inspect import inspect_command, verify_command
from deepcompression.cli.plan import plan_command, sensitivity_command

__all__ = ["BAD_FILE", "INTERRUPTED", "MISMATCH", "MISTAKE", "SYSTEM", "app", "main"]

# base class of typer's errors about arguments, which has no public name
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Makes the weights of a neural network small: pruned, shared, Huffman-coded into one .dcz file.",
    epilog="Exit codes: 0 well; 1 verify found a difference; 2 mistake in the call; 3 bad file; 4 the system refused; "
    "130 interrupted.",
)
app.command("compress")(compress_command)
app.command("decompress")(decompress_command)
app.command("inspect")(inspect_command)
app.command("verify")(verify_command)
app.command("bench")(bench_command)
app.command("plan")(plan_command)
app.command("sensitivity")(sensitivity_command)


def main() -> None:
    """The console script."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except _UsageError as error:
        complain(f"{error.format_message()} (see dcz --help)")
        sys.exit(MISTAKE)
    except typer.Abort:
        sys.exit(SYSTEM)
