"""`dcz export`: C files that run a model on a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import deepcompression as dc
from deepcompression.cli.common import errors_in_one_line, print_json
from deepcompression.cli.options import ForceOption, JsonOption, values_of
from deepcompression.cli.plan import CalibrationOption, FactoryOption
from deepcompression.common.messages import show
from deepcompression.convert.with_inputs import read_inputs
from deepcompression.embedded.hold import CODED, WAYS

if TYPE_CHECKING:
    from torch.nn import Module

TARGETS = ("c",)


def export_command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A .dcz file of an ONNX model, an .onnx file, or with --model a .dcz file of a torch model.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The directory to write.", show_default=False)],
    target: Annotated[str, typer.Option(help="c: C99 for any board.", autocompletion=values_of(lambda: TARGETS))] = "c",
    int8: Annotated[bool, typer.Option("--int8", help="Compute in int8, with scales from --calibration.")] = False,
    calibration: CalibrationOption = None,
    weights: Annotated[
        str,
        typer.Option(
            help="coded: decoded at each use, the least flash. packed: the fewest instructions.",
            autocompletion=values_of(lambda: WAYS),
        ),
    ] = CODED,
    packed: Annotated[
        list[str] | None, typer.Option(help="Glob of names of weights to pack when the others are coded. Repeat it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of files and functions; by default the model's.")] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(help="Shape of one input with its batch axis: 1,3,32,32, where the model leaves it open."),
    ] = None,
    vectors: Annotated[int, typer.Option(help="Inputs of the generated test, at most.")] = 4,
    model_factory: FactoryOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write C files that run a model on a board: the graph, its weights, a library without dependencies, and a test.

    Prints the exact flash and memory, how each layer is held, and what int8 changes. `cc -std=c99 *.c` builds them.
    """
    with errors_in_one_line():
        if target not in TARGETS:
            raise ValueError(f"unknown target {target!r}; known are {', '.join(TARGETS)}")
        if int8 and calibration is None:
            raise ValueError("--int8 needs --calibration INPUTS.npz: inputs that are typical choose the scales")
        if not model.exists():
            raise FileNotFoundError(f"no file {model}")
        result = dc.export(
            model if model_factory is None else _filled(model_factory, model),
            None if calibration is None else read_inputs(calibration),
            output,
            int8=int8,
            weights=weights,
            packed=packed or (),
            name=name or model.stem,
            input_shape=None if input_shape is None else _shape(input_shape),
            vectors=vectors,
            force=force,
        )
        if as_json:
            print_json(result.to_dict())
        else:
            show(str(result))


def _shape(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--input-shape is numbers with commas between them, such as 1,3,32,32; found {text}"
        ) from None


def _filled(factory: str, path: Path) -> Module:
    """The torch model of a factory with the tensors of a file."""
    from deepcompression.convert.torch_with_inputs import make_model

    return dc.load(path, make_model(factory))
