"""`dcz plan` and `dcz sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepcompression.calibration.plan import table
from deepcompression.cli.common import JsonOption, ModelArgument, errors_in_one_line, print_json
from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.convert.with_inputs import Source

CalibrationOption = Annotated[Path | None, typer.Option(help="Inputs of the model by name, an .npz file.")]

FactoryOption = Annotated[
    str | None, typer.Option("--model", help="package.module:factory that makes the checkpoint's torch model.")
]

SizeOption = Annotated[str | None, typer.Option(help="The whole file takes at most this: 5MB, 300KiB.")]

RatioOption = Annotated[float | None, typer.Option(help="Bytes of all tensors / bytes of the file.")]

ChangeOption = Annotated[float | None, typer.Option(help="Largest relative change of the outputs on the inputs.")]

ProfileOption = Annotated[str, typer.Option(help="The profile of the file: fast, small or paper.")]


def has_target(size: str | None, ratio: float | None, most_change: float | None) -> bool:
    return (size, ratio, most_change) != (None, None, None)


def plan_command(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The recipe's YAML file to write.")] = None,
    profile: ProfileOption = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    target_size: SizeOption = None,
    target_ratio: RatioOption = None,
    max_change: ChangeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the recipe for a target, and show what each tensor will take and change; nothing is compressed."""
    with errors_in_one_line():
        if output is not None and output.suffix not in (".yaml", ".yml"):
            raise ValueError(f"{output}: the output of this command is a .yaml file")
        found = Source(model, calibration, model_factory).plan(profile, target_size, target_ratio, max_change)
        if output is not None:
            output.write_text(found.recipe.to_yaml())
        if as_json:
            print_json(found.to_dict())
        else:
            print(found)


def sensitivity_command(
    model: ModelArgument,
    profile: ProfileOption = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show, for each tensor alone, what it takes and changes at each of a ladder of penalties."""
    with errors_in_one_line():
        lines = Source(model, calibration, model_factory).sensitivity(profile)
        if as_json:
            print_json({"tensors": [line._asdict() for line in lines]})
        else:
            print(table(lines))
