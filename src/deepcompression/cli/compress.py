"""`dcz compress` and `dcz decompress`: checkpoints <-> .dcz files."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from deepcompression.calibration.goal import Goal
from deepcompression.checkpoint.open import open_checkpoint
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.cli.common import (
    complain,
    errors_in_one_line,
    print_json,
    print_report,
    print_warnings,
    progress_of_bytes,
)
from deepcompression.cli.files import STANDARD, input_file, output_file
from deepcompression.cli.options import (
    FileArgument,
    ForceOption,
    JsonOption,
    LimitOption,
    ModelArgument,
    OutOption,
    QuietOption,
    values_of,
)
from deepcompression.cli.plan import (
    OPTIONS_OF_TARGETS,
    CalibrationOption,
    ChangeOption,
    FactoryOption,
    RatioOption,
    SizeOption,
    goal_of,
)
from deepcompression.coding.coders import DEFAULT_PROFILE, PROFILES
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.messages import counted, printable
from deepcompression.convert.from_dcz import CHECKPOINT_SUFFIXES, decompress_file, holds_folder, suffixes_for
from deepcompression.convert.to_dcz import compress_checkpoint
from deepcompression.convert.with_inputs import compress_whole
from deepcompression.pruning.criteria import Prune
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.grid import LIMITS


def compress_command(
    model: ModelArgument,
    output: OutOption,
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's YAML file, or a preset's name.", autocompletion=values_of(Recipe.presets)),
    ] = None,
    density: Annotated[
        float | None, typer.Option(help="Survivors / weights in every tensor of two or more dimensions.")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Share these tensors among 2^BITS centroids, 1 to 8.")] = None,
    codebook_grid: Annotated[
        str | None,
        typer.Option(
            help="int8 or int16: with --bits, centroids are such integers times one scale.",
            autocompletion=values_of(lambda: LIMITS),
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="fast: decodes at full speed; small: the smallest file; paper: the paper's layout; device: decodes on "
            "microcontrollers.",
            autocompletion=values_of(lambda: PROFILES),
        ),
    ] = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    target_size: SizeOption = None,
    target_ratio: RatioOption = None,
    max_change: ChangeOption = None,
    workers: Annotated[
        int | None, typer.Option(help="Tensors worked on at once.", show_default="as many as CPUs")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted job.")] = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prune, share and encode a checkpoint.

    Without a recipe, density, bits or target no value changes: tensors that are pruned or shared already become small,
    and others lose what their bytes repeat.
    """
    with errors_in_one_line():
        if profile not in PROFILES:
            raise ValueError(f"--profile is one of {', '.join(PROFILES)}; found {profile}")
        if workers is not None and workers < 1:
            raise ValueError(f"--workers is from 1 on; found {workers}")
        if resume and STANDARD in (model, output):
            raise ValueError("--resume continues files, not the standard streams: name MODEL and -o")
        chosen = _recipe(recipe, density, bits, codebook_grid)
        goal = _goal(chosen, recipe, target_size, target_ratio, max_change)
        said: list[str] = []
        with (
            output_file(output, (".dcz",), source=model, force=force, as_json=as_json, notes=said) as target,
            input_file(model) as source_path,
        ):
            if goal is not None or calibration is not None or model_factory is not None:
                wanted = chosen or goal
                if wanted is None:
                    raise ValueError(
                        "--calibration and --model need to know what changes: --recipe, --density and --bits, or one "
                        f"of {', '.join(OPTIONS_OF_TARGETS)}"
                    )
                if resume or workers is not None:
                    raise ValueError(
                        "--resume and --workers do not go with --calibration or a target, which hold the whole "
                        "checkpoint in memory"
                    )
                outcome = compress_whole(source_path, target, wanted, profile, calibration, model_factory)
                notes = list(outcome)
            else:
                with (
                    recognise(open_checkpoint(source_path)) as source,
                    progress_of_bytes(source_path.name, quiet or as_json) as show,
                ):
                    outcome = compress_checkpoint(
                        source, target, chosen, profile=profile, workers=workers, progress=show, resume=resume
                    )
                    notes = [*source.notes, *outcome]
        notes = [*said, *notes]
        for note in [] if as_json else notes:
            complain(f"note: {note}")
        if not (quiet or output == STANDARD):
            print_report(output, as_json, notes=notes, **outcome.effect.to_dict())
            if not as_json and outcome.effect.weights and outcome.effect.outputs is None:
                print(outcome.effect)
        if not as_json:
            print_warnings(outcome.effect)


def _goal(
    chosen: Recipe | None, recipe: str | None, size: str | None, ratio: float | None, change: float | None
) -> Goal | None:
    """The target of the options, or None without one. Raises ValueError for a target beside other rules."""
    if (size, ratio, change) == (None, None, None):
        return None
    goal = goal_of(size, ratio, change)
    if chosen is not None:
        target = next(word for word, value in zip(OPTIONS_OF_TARGETS, goal, strict=True) if value is not None)
        other = "--recipe" if recipe is not None else "--density or --bits"
        raise ValueError(f"{other} and {target} both say what changes: give one of them")
    return goal


def _recipe(recipe: str | None, density: float | None, bits: int | None, codebook_grid: str | None) -> Recipe | None:
    if recipe is not None:
        if density is not None or bits is not None or codebook_grid is not None:
            raise ValueError("--recipe says all: it does not go with --density or --bits or --codebook-grid")
        return Recipe.load(recipe)
    if codebook_grid is not None and (codebook_grid not in LIMITS or bits is None):
        raise ValueError(f"--codebook-grid is {' or '.join(LIMITS)} and goes with --bits; found {codebook_grid}")
    if density is None and bits is None:
        return None
    if density is not None and not 0 <= density <= 1:
        raise ValueError(f"--density is from 0 to 1; found {density}")
    if bits is not None and not 1 <= bits <= 8:
        raise ValueError(f"--bits is from 1 to 8; found {bits}")
    options = {"bits": bits, "init": "optimal", "codebook_grid": codebook_grid}
    prune = None if density is None else Prune(density=density)
    share = None if bits is None else Share.model_validate(options)
    return Recipe(rules=(Rule(module="*", prune=prune, share=share),))


def decompress_command(
    file: FileArgument,
    output: OutOption,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Write the dense tensors of a .dcz file, bit for bit as saved, as .safetensors or .onnx; under any other name, the
    whole folder that the file was made of."""
    with errors_in_one_line(), ExitStack() as stack:
        source = stack.enter_context(input_file(file))
        notes: list[str] = []
        if output.suffix not in CHECKPOINT_SUFFIXES and output != STANDARD and holds_folder(source, limit_bytes):
            target = output
        else:
            suffixes = suffixes_for(source) if output == STANDARD else CHECKPOINT_SUFFIXES
            opened = output_file(output, suffixes, source=file, force=force, as_json=as_json, notes=notes)
            target = stack.enter_context(opened)
        with progress_of_bytes(source.name, quiet or as_json) as show:
            count = decompress_file(source, target, limit_bytes=limit_bytes, progress=show, note=notes.append)
        written = target.rglob("*") if target.is_dir() else [target]
        size = sum(path.stat().st_size for path in written if path.is_file())
        for note in [] if as_json else notes:
            complain(f"note: {note}")
        if as_json:
            print_json({"file": str(output), "tensors": count, "file_bytes": size, "notes": notes})
        elif not (quiet or output == STANDARD):
            print(f"{printable(str(output))}: {counted(count, 'tensor')}, {size:,} bytes")
