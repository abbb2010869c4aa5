"""`dcz`: arguments -> the functions of the package, and their errors -> one line and an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

import deepcompression as dc
from deepcompression.bench import Settings, bench, lines, tables
from deepcompression.checkpoint import read_checkpoint, write_checkpoint
from deepcompression.cli_plan import Source, has_target
from deepcompression.compress import compress_tensors, encodings
from deepcompression.encode import DEFAULT_PROFILE, PROFILES
from deepcompression.energy import meter_of
from deepcompression.file import LIMIT_BYTES, DczFile, save_tensors
from deepcompression.grid import LIMITS
from deepcompression.plan import table
from deepcompression.recipe import Prune, Recipe, Rule, Share
from deepcompression.report import Report, printable
from deepcompression.tensor import DenseTensor, Tensor

MISMATCH, BAD_FILE, MISTAKE, SYSTEM = 1, 3, 2, 4

# all of typer's complaints about arguments; it gives the class no public name
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Makes the weights of a neural network small: pruned, shared, Huffman-coded into one .dcz file.",
    epilog="Exit codes: 0 well; 1 verify found a difference; 2 mistake in the call; 3 bad file; 4 the system refused.",
)

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A .safetensors file.", show_default=False)]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A .dcz file.", show_default=False)]
OutOption = Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitOption = Annotated[int, typer.Option("--limit-bytes", help="Refuse a file whose tensors take more when decoded.")]

CalibrationOption = Annotated[Path | None, typer.Option(help="Inputs of the model by name, an .npz file.")]
FactoryOption = Annotated[
    str | None, typer.Option("--model", help="package.module:factory that makes the checkpoint's torch model.")
]
SizeOption = Annotated[str | None, typer.Option(help="The whole file takes at most this: 5MB, 300KiB.")]
RatioOption = Annotated[float | None, typer.Option(help="Bytes of all tensors / bytes of the file.")]
ChangeOption = Annotated[float | None, typer.Option(help="Largest relative change of the outputs on the inputs.")]


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except dc.FormatError as error:
        _fail(str(error), BAD_FILE)
    except (ValueError, TypeError) as error:
        _fail(str(error), MISTAKE)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _fail(message, MISTAKE if isinstance(error, FileNotFoundError) else SYSTEM)
    except MemoryError:
        _fail("out of memory", SYSTEM)


def _fail(message: str, code: int) -> None:
    _complain(message)
    raise typer.Exit(code)


def _complain(message: str) -> None:
    print(f"dcz: {printable(' '.join(message.split()))}", file=sys.stderr)


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def _print_report(path: Path, as_json: bool, limit_bytes: int = LIMIT_BYTES) -> None:
    report = Report.of(path, limit_bytes)
    if as_json:
        _print_json({"file": str(path)} | report.to_dict())
        return
    console = _console()
    for columns in report.tables():
        console.print(columns)


def _console() -> Console:
    """Standard output, wide enough for a table where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)


def _check_suffix(output: Path, suffix: str) -> None:
    """So that no slip replaces a checkpoint by what was made from it."""
    if output.suffix != suffix:
        raise ValueError(f"{output}: the output of this command is a {suffix} file")


@app.command()
def compress(
    model: ModelArgument,
    output: OutOption,
    recipe: Annotated[str | None, typer.Option(help="A recipe's YAML file, or a preset's name.")] = None,
    density: Annotated[
        float | None, typer.Option(help="Survivors / weights in every tensor of two or more dimensions.")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Share such tensors among 2^BITS centroids, 1 to 8.")] = None,
    codebook_grid: Annotated[
        str | None, typer.Option(help="int8 or int16: with --bits, centroids are such integers times one scale.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="fast: decodes at full speed; small: the smallest file; paper: the paper's layout.")
    ] = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    target_size: SizeOption = None,
    target_ratio: RatioOption = None,
    max_change: ChangeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prune, share and encode a checkpoint. Without recipe, density and bits nothing is changed: tensors that are
    pruned or shared already become small, exactly."""
    with _errors_in_one_line():
        _check_suffix(output, ".dcz")
        if profile not in PROFILES:
            raise ValueError(f"--profile is one of {', '.join(PROFILES)}; found {profile}")
        chosen = _recipe(recipe, density, bits, codebook_grid)
        targeted = has_target(target_size, target_ratio, max_change)
        if targeted or calibration is not None or model_factory is not None:
            if targeted == (chosen is not None):
                raise ValueError("--calibration goes with a recipe, with --density and --bits, or with a target")
            source = Source(model, calibration, model_factory)
            found = chosen or source.plan(profile, target_size, target_ratio, max_change).recipe
            source.compress(output, found, profile)
            _print_report(output, as_json)
            return
        tensors, metadata = read_checkpoint(model)
        compressed: dict[str, Tensor] = dict(tensors)
        how = {}
        if chosen is not None:
            compressed, how = compress_tensors(compressed, chosen), encodings(chosen, compressed)
        save_tensors(output, compressed, metadata, how, profile)
        _print_report(output, as_json)


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
    prune = None if density is None else Prune(density=density)
    options = {"bits": bits, "init": "optimal", "codebook_grid": codebook_grid}
    share = None if bits is None else Share.model_validate(options)
    return Recipe(rules=(Rule(module="*", prune=prune, share=share),))


@app.command("plan")
def plan_command(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The recipe's YAML file to write.")] = None,
    profile: Annotated[str, typer.Option(help="The profile of the file: fast, small or paper.")] = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    target_size: SizeOption = None,
    target_ratio: RatioOption = None,
    max_change: ChangeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the recipe for a target, and show what each tensor will take and change; nothing is compressed."""
    with _errors_in_one_line():
        if output is not None and output.suffix not in (".yaml", ".yml"):
            raise ValueError(f"{output}: the output of this command is a .yaml file")
        found = Source(model, calibration, model_factory).plan(profile, target_size, target_ratio, max_change)
        if output is not None:
            output.write_text(found.recipe.to_yaml())
        if as_json:
            _print_json(found.to_dict())
        else:
            print(found)


@app.command("sensitivity")
def sensitivity_command(
    model: ModelArgument,
    profile: Annotated[str, typer.Option(help="The profile of the file: fast, small or paper.")] = DEFAULT_PROFILE,
    calibration: CalibrationOption = None,
    model_factory: FactoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show, for each tensor alone, what it takes and changes at each of a ladder of penalties."""
    with _errors_in_one_line():
        lines = Source(model, calibration, model_factory).sensitivity(profile)
        if as_json:
            _print_json({"tensors": [line._asdict() for line in lines]})
        else:
            print(table(lines))


@app.command()
def decompress(
    file: FileArgument, output: OutOption, as_json: JsonOption = False, limit_bytes: LimitOption = LIMIT_BYTES
) -> None:
    """Write the dense tensors of a .dcz file, bit for bit what was saved, as .safetensors."""
    with _errors_in_one_line():
        _check_suffix(output, ".safetensors")
        with DczFile(file, limit_bytes) as source:
            written = sum(entry.dense_bytes for entry in source.entries.values())
            if written > limit_bytes:
                raise dc.FormatError(
                    f"{file}: with its ties in full it takes {written} bytes, the limit is {limit_bytes}"
                )
            threads = os.cpu_count() or 1
            tensors: dict[str, DenseTensor] = {}
            for name, entry in source.entries.items():
                tensors[name] = tensors[entry.tied_to] if entry.tied_to else source.read_dense(name, threads)
            write_checkpoint(output, tensors, source.metadata)
        size = output.stat().st_size
        if as_json:
            _print_json({"file": str(output), "tensors": len(tensors), "file_bytes": size})
        else:
            print(f"{output}: {len(tensors)} tensors, {size:,} bytes")


@app.command()
def inspect(file: FileArgument, as_json: JsonOption = False, limit_bytes: LimitOption = LIMIT_BYTES) -> None:
    """Show each tensor in the columns of the paper's tables, and where every byte went."""
    with _errors_in_one_line():
        _print_report(file, as_json, limit_bytes)


@app.command()
def verify(
    file: FileArgument,
    against: Annotated[
        Path | None, typer.Option(help="A .safetensors file that must hold the same tensors, bit for bit.")
    ] = None,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Check checksums, decode everything, and compare with a checkpoint if one is given."""
    with _errors_in_one_line():
        expected = {} if against is None else read_checkpoint(against)[0]
        differences = []
        with DczFile(file, limit_bytes) as source:
            names = source.entries.keys()
            for name, entry in source.entries.items():
                if name in expected:
                    if difference := _difference(source.read_dense(name), expected[name]):
                        differences.append(f"{name} {difference}")
                    continue
                if not entry.tied_to:
                    source.read_dense(name)
                if against is not None:
                    differences.append(f"{name} is only in {file}")
        differences += [f"{name} is only in {against}" for name in expected.keys() - names]
        differences.sort()
        if as_json:
            _print_json({"file": str(file), "tensors": len(names), "differences": differences})
        elif not differences:
            print(f"{file}: {len(names)} tensors are sound" + (f" and the same as in {against}" if against else ""))
    if differences:
        _fail(f"{file} differs from {against}: {'; '.join(differences)}", MISMATCH)


def _difference(ours: DenseTensor, theirs: DenseTensor) -> str | None:
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"is {list(ours.shape)} of {ours.dtype}, expected {list(theirs.shape)} of {theirs.dtype}"
    return "has other elements" if ours.elements.tobytes() != theirs.elements.tobytes() else None


@app.command("bench")
def bench_file(
    file: FileArgument,
    batch: Annotated[int, typer.Option(help="Vectors or images of a call.")] = 1,
    threads: Annotated[int, typer.Option(help="Of everything that computes.")] = 1,
    activations: Annotated[str, typer.Option(help="float32, or int8 for fully connected layers.")] = "float32",
    size: Annotated[int, typer.Option(help="Extent of the images that convolutions are given.")] = 14,
    seconds: Annotated[float, typer.Option(help="About how long each layer is measured.")] = 1.0,
    instruction_set: Annotated[str | None, typer.Option(help="Force one: portable, avx2, avx512, ...")] = None,
    energy: Annotated[bool, typer.Option("--energy", help="Count joules, too, where the machine can.")] = False,
    as_json: JsonOption = False,
    limit_bytes: LimitOption = LIMIT_BYTES,
) -> None:
    """Measure each layer on this machine, dense and computed from its compressed form: time, bytes, energy."""
    with _errors_in_one_line():
        settings = Settings(batch, threads, activations, size, seconds)
        meter = (lambda: meter_of("cpu")) if energy else None
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("")

            def tell(name: str, number: int, count: int) -> None:
                progress.update(task, description=escape(printable(name)), completed=number, total=count)

            result = bench(
                file,
                settings,
                instruction_set=instruction_set,
                meter=meter,
                limit_bytes=limit_bytes,
                progress=tell,
            )
        if as_json:
            _print_json(result.to_dict())
            return
        console = _console()
        for columns in tables(result):
            console.print(columns)
        for line in lines(result):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """The console script."""
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except _UsageError as error:
        _complain(f"{error.format_message()} (see dcz --help)")
        sys.exit(MISTAKE)
    except typer.Abort:
        sys.exit(SYSTEM)
