"""`dcz compress` and `dcz decompress`: checkpoints <-> .dcz files."""

from __future__ import annotations

from typing import Annotated

import typer

from deepcompression.checkpoint.open import open_checkpoint
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.cli.common import (
    FileArgument,
    JsonOption,
    LimitOption,
    ModelArgument,
    OutOption,
    QuietOption,
    check_suffix,
    complain,
    errors_in_one_line,
    print_json,
    print_report,
    progress_of_bytes,
)
from deepcompression.cli.plan import CalibrationOption, ChangeOption, FactoryOption, RatioOption, SizeOption, goal_of
from deepcompression.coding.coders import DEFAULT_PROFILE, PROFILES
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.convert.from_dcz import decompress_file, holds_folder
from deepcompression.convert.to_dcz import compress_checkpoint
from deepcompression.convert.with_inputs import compress_whole
from deepcompression.pruning.criteria import Prune
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.sharing.grid import LIMITS
from deepcompression.sharing.share_weights import Share


def compress_command(
    model: ModelArgument,
    output: OutOption,
    recipe: Annotated[str | None, typer.Option(help="A recipe's YAML file, or a preset's name.")] = None,
    density: Annotated[
        float | None, typer.Option(help="Survivors / weights in every tensor of two or more dimensions.")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Share these tensors among 2^BITS centroids, 1 to 8.")] = None,
    codebook_grid: Annotated[
        str | None,
        typer.Option(help="int8 or int16: with --bits, centroids are such integers times one scale."),
    ] = None,
    profile: Annotated[
        str, typer.Option(help="fast: decodes at full speed; small: the smallest file; paper: the paper's layout.")
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
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prune, share and encode a checkpoint. Without a recipe, density or bits every value stays exact; tensors that are
    pruned or shared already become small."""
    with errors_in_one_line():
        check_suffix(output, ".dcz")
        if profile not in PROFILES:
            raise ValueError(f"--profile is one of {', '.join(PROFILES)}; found {profile}")
        if workers is not None and workers < 1:
            raise ValueError(f"--workers is from 1 on; found {workers}")
        chosen = _recipe(recipe, density, bits, codebook_grid)
        targets = target_size, target_ratio, max_change
        goal = None if targets == (None, None, None) else goal_of(*targets)
        if goal is not None or calibration is not None or model_factory is not None:
            wanted = goal if chosen is None else chosen
            if wanted is None or (goal is not None and chosen is not None):
                raise ValueError("--calibration goes with a recipe, with --density and --bits, or with a target")
            if resume or workers is not None:
                raise ValueError(
                    "--resume and --workers do not go with --calibration or a target, which hold the whole checkpoint "
                    "in memory"
                )
            notes = compress_whole(model, output, wanted, profile, calibration, model_factory)
        else:
            with recognise(open_checkpoint(model)) as source, progress_of_bytes(model.name, quiet or as_json) as show:
                notes = compress_checkpoint(
                    source, output, chosen, profile=profile, workers=workers, progress=show, resume=resume
                )
                notes = [*source.notes, *notes]
        for note in [] if as_json else notes:
            complain(f"note: {note}")
        if not quiet:
            print_report(output, as_json, notes=notes)


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
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Write the dense tensors of a .dcz file, bit for bit as saved, as .safetensors or .onnx; under any other name, the
    whole folder that the file was made of."""
    with errors_in_one_line():
        if not holds_folder(file, limit_bytes):
            check_suffix(output, ".safetensors", ".onnx")
        with progress_of_bytes(file.name, quiet or as_json) as show:
            count = decompress_file(file, output, limit_bytes=limit_bytes, progress=show)
        written = output.rglob("*") if output.is_dir() else [output]
        size = sum(path.stat().st_size for path in written if path.is_file())
        if as_json:
            print_json({"file": str(output), "tensors": count, "file_bytes": size})
        elif not quiet:
            print(f"{output}: {count} tensors, {size:,} bytes")
