"""`dcz`: arguments -> functions of the package; errors -> one line and an exit code.

Imports every room.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

import deepcompression as dc
from deepcompression.cli.bench import bench_command
from deepcompression.cli.common import BAD_FILE, BROKEN_PIPE, INTERRUPTED, MISMATCH, MISTAKE, SYSTEM, complain
from deepcompression.cli.compress import compress_command, decompress_command
from deepcompression.cli.export import export_command
from deepcompression.cli.inspect import inspect_command, verify_command
from deepcompression.cli.patch import diff_command, patch_command
from deepcompression.cli.plan import plan_command, sensitivity_command
from deepcompression.cli.streams import OutputError, abandon_output, prepare

__all__ = ["BAD_FILE", "BROKEN_PIPE", "INTERRUPTED", "MISMATCH", "MISTAKE", "SYSTEM", "app", "main"]

# base class of typer's errors about arguments, which has no public name
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Makes the weights of a neural network small: pruned, shared, Huffman-coded into one .dcz file.",
    epilog="Exit codes: 0 well; 1 verify found a difference; 2 mistake in the call; 3 bad file; 4 the system refused; "
    "130 interrupted; 141 nobody reads the output any more.",
)
app.command("compress")(compress_command)
app.command("decompress")(decompress_command)
app.command("inspect")(inspect_command)
app.command("verify")(verify_command)
app.command("diff")(diff_command)
app.command("patch")(patch_command)
app.command("bench")(bench_command)
app.command("export")(export_command)
app.command("plan")(plan_command)
app.command("sensitivity")(sensitivity_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"dcz {dc.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    prepare()
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="dcz", standalone_mode=False)
        sys.stdout.flush()
    except _UsageError as error:
        complain(f"{error.format_message()} (see dcz --help)")
        code = MISTAKE
    except typer.Abort:
        code = SYSTEM
    except OutputError as error:
        abandon_output()
        if not error.broken:
            complain(str(error))
        code = BROKEN_PIPE if error.broken else SYSTEM
    sys.exit(code)
