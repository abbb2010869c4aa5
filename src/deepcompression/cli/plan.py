"""`dcz plan` and `dcz sensitivity`: recipes for targets, and the options of targets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from deepcompression.calibration.plan import Goal, curves, table
from deepcompression.cli.common import JsonOption, ModelArgument, check_suffix, errors_in_one_line, print_json
from deepcompression.coding.coders import DEFAULT_PROFILE
from deepcompression.convert.with_inputs import open_whole

CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        help="Inputs of the model by name: an .npz (numpy.savez) or .safetensors file, or an .npy file for one input. "
        "The first axis of each array counts inputs; an array with one axis more than the model's input has a part for "
        "each run; scalars go into every run."
    ),
]
FactoryOption = Annotated[
    str | None, typer.Option("--model", help="package.module:factory that makes the checkpoint's torch model.")
]
SizeOption = Annotated[str | None, typer.Option(help="Largest size of the whole file: 5MB, 300KiB.")]
RatioOption = Annotated[float | None, typer.Option(help="Bytes of all tensors / bytes of the file.")]
ChangeOption = Annotated[float | None, typer.Option(help="Largest relative change of the outputs on the inputs.")]
ProfileOption = Annotated[str, typer.Option(help="The profile of the file: fast, small or paper.")]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def parse_size(text: str) -> int:
    """`5MB`, `300 KiB`, `12345` -> bytes. Raises ValueError for anything else."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError(f"a size is a number with B, KB, MB, GB, KiB, MiB or GiB; found {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def goal_of(size: str | None, ratio: float | None, change: float | None) -> Goal:
    """The target of the options. Raises ValueError for none, for two, and for one that is no positive number."""
    return Goal.of(None if size is None else parse_size(size), ratio, change)


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
    """Find the recipe for a target, and show the size and the change of each tensor, without compressing."""
    with errors_in_one_line():
        if output is not None:
            check_suffix(output, ".yaml", ".yml")
        goal = goal_of(target_size, target_ratio, max_change)
        found = open_whole(model, calibration, model_factory).plan(goal, profile)
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
    """Show size and change of each tensor alone, at several penalties."""
    with errors_in_one_line():
        lines = curves(open_whole(model, calibration, model_factory).problem(), profile=profile)
        if as_json:
            print_json({"tensors": [line._asdict() for line in lines]})
        else:
            print(table(lines))
