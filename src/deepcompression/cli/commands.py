"""The commands of `dcz`: arguments -> functions of the package. Each is imported for its own calls."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import deepcompression as dc
from deepcompression.cli.common import MISTAKE, SYSTEM, complain

# base class of typer's errors about arguments, which has no public name
_UsageError: Any = typer.BadParameter.__base__

# command -> its module in this room, and what the list of commands says: the first paragraph of its own help
COMMANDS = {
    "compress": ("compress", "Prune, share and encode a checkpoint."),
    "decompress": (
        "compress",
        "Write the dense tensors of a .dcz file, bit for bit as saved, as .safetensors or .onnx; under any other name, "
        "the whole folder that the file was made of.",
    ),
    "inspect": ("inspect", "Show each tensor in the columns of the paper's tables, and the use of every byte."),
    "verify": ("inspect", "Check all checksums, decode every tensor, and compare with a checkpoint if one is given."),
    "diff": (
        "patch",
        "Write the patch that makes NEW of OLD, bit for bit, for an update over the air. It is never larger than NEW.",
    ),
    "patch": ("patch", "Write the new file that PATCH makes of OLD, with all its checksums right, or nothing."),
    "bench": ("bench", "Measure each layer on this machine, dense and from its compressed form: time, bytes, energy."),
    "export": (
        "export",
        "Write C files that run a model on a board: the graph, its weights, a library without dependencies, and a "
        "test.",
    ),
    "plan": (
        "plan",
        "Find the recipe for a target without compressing, and show the size of each tensor and the change of the "
        "outputs.",
    ),
    "sensitivity": (
        "plan",
        "Show each tensor alone at several penalties: its size, and the change of the outputs; without --calibration, "
        "its own change.",
    ),
}


def command(name: str) -> Any:
    """The command of a name, whose module is imported for it."""
    module = import_module(f"deepcompression.cli.{COMMANDS[name][0]}")
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(module, f"{name}_command"))
    return typer.main.get_command(alone)


class _Commands(TyperGroup):
    """The names and the first lines of all commands. The command itself is there when it runs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, says) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=says))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        return name, command(str(name)) if found is not None else None, rest


app = typer.Typer(
    cls=_Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Makes the weights of a neural network small: pruned, shared, Huffman-coded into one .dcz file.",
    epilog="Exit codes: 0 well; 1 verify found a difference; 2 mistake in the call; 3 bad file; 4 the system refused; "
    "130 interrupted; 141 nobody reads the output any more.",
)


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


def run(arguments: Sequence[str]) -> Any:
    """The exit code of a call, or None. Raises SystemExit after a complaint."""
    try:
        return app(arguments or ["--help"], prog_name="dcz", standalone_mode=False)
    except _UsageError as error:
        complain(f"{error.format_message()} (see dcz --help)")
        return MISTAKE
    except typer.Abort:
        return SYSTEM
