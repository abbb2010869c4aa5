"""`dcz plan` and `dcz sensitivity`: recipes for targets, and the options of targets."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from deepcompression.calibration.goal import Goal
from deepcompression.calibration.plan import curves, table
from deepcompression.cli.common import complain, errors_in_one_line, print_json, print_warnings
from deepcompression.cli.files import STANDARD, input_file, output_file
from deepcompression.cli.options import ForceOption, JsonOption, ModelArgument, values_of
from deepcompression.cli.tables import terminal_width
from deepcompression.coding.coders import DEFAULT_PROFILE, PROFILES
from deepcompression.common.files import atomic_path
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
ChangeOption = Annotated[
    float | None, typer.Option(help="Largest relative change of the outputs; without --calibration, of the weights.")
]
ProfileOption = Annotated[
    str,
    typer.Option(
        help="The profile of the file: fast, small, paper or device.", autocompletion=values_of(lambda: PROFILES)
    ),
]

OPTIONS_OF_TARGETS = ("--target-size", "--target-ratio", "--max-change")


def goal_of(size: str | None, ratio: float | None, change: float | None) -> Goal:
    """The target of the options. Raises ValueError for none, for two, and for one that is no positive number."""
    return Goal.of(size, ratio, change, OPTIONS_OF_TARGETS)


def plan_command(
    model: ModelArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The recipe's YAML file to write, or - for standard output.")
    ] = None,
    profile: ProfileOption = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    target_size: SizeOption = None,
    target_ratio: RatioOption = None,
    max_change: ChangeOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the recipe for a target without compressing, and show the size of each tensor and the change of the outputs.

    Without --calibration the outputs are not measured: the change is that of the weights.
    """
    with errors_in_one_line(), ExitStack() as stack:
        goal = goal_of(target_size, target_ratio, max_change)
        target = None
        if output is not None:
            target = stack.enter_context(
                output_file(output, (".yaml", ".yml"), source=model, force=force, as_json=as_json)
            )
        source = stack.enter_context(input_file(model))
        whole = open_whole(source, calibration, model_factory)
        found = whole.plan(goal, profile)
        if target is not None:
            with atomic_path(target) as partial:
                partial.write_text(found.recipe.to_yaml())
        if output == STANDARD:
            return
        if as_json:
            print_json(found.to_dict() | {"notes": [*whole.notes, *found.notes]})
        else:
            _say(whole.notes)
            print(found.describe(terminal_width()))
            print_warnings(found.effect)


def sensitivity_command(
    model: ModelArgument,
    profile: ProfileOption = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each tensor alone at several penalties: its size, and the change of the outputs; without --calibration, its
    own change."""
    with errors_in_one_line(), input_file(model) as source:
        whole = open_whole(source, calibration, model_factory)
        problem = whole.problem()
        lines, notes = curves(problem, profile=profile), [*whole.notes, *problem.notes]
        if as_json:
            print_json({"tensors": [line._asdict() for line in lines], "notes": notes})
        else:
            _say(notes)
            print(table(lines, terminal_width()))


def _say(notes: Iterable[str]) -> None:
    for note in notes:
        complain(f"note: {note}")
