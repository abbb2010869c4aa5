"""Six networks that others trained, 4, 8 and 16 times smaller: bytes, change of the outputs, score of their task.

`make benchmarks` installs what it needs and runs it. Exit code 1 if a demand is not met.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environment import demand, main, print_notes
from benchmarks.packages import available, missing_library
from benchmarks.real_models.baselines import Made, Plain, best_plain, change, int8, zipped
from benchmarks.real_models.network import RealModel
from benchmarks.real_models.ours import calibrated

RATIOS = (4, 8, 16)
# At this ratio, the change of the outputs is at most this part of the change by plain magnitude and k-means.
DEMANDED_RATIO, DEMANDED_CHANGE = 8, 0.75
PLAIN, OURS = "magnitude + k-means", "calibrated"
NOTES = (
    "The bytes count everything that restores the network. The change is ||y' - y|| / ||y|| of the outputs for test "
    "inputs. These have another seed than the calibration inputs, and sentences share no templates and no words.",
    "The row int8 is rounded to nearest, symmetric by output channel, then packed by zstd -19 without a container.",
    "Magnitude + k-means takes one density and one width of codes for all weights of at least two dimensions. Of all "
    "pairs that fit the size it takes the one with the least change of the calibration outputs. Its file is a `.dcz` "
    "of the profile `small`, like ours.",
)


def models() -> dict[str, RealModel]:
    """By the name of the package. Raises UnavailableError if a library is missing."""
    try:
        from benchmarks.real_models.denoiser import Denoiser
        from benchmarks.real_models.efficientnet import EfficientNetLite0
        from benchmarks.real_models.ocr import Ocr
        from benchmarks.real_models.pitch import Pitch
        from benchmarks.real_models.sentences import Sentences
        from benchmarks.real_models.tumor import Tumor
    except ImportError as error:
        raise missing_library(error) from None
    made: tuple[RealModel, ...] = (Sentences(), Ocr(), EfficientNetLite0(), Pitch(), Denoiser(), Tumor())
    return {model.release.name: model for model in made}


class Measured:
    """One model with its original outputs, and rows that compare smaller models with these."""

    def __init__(self, model: RealModel) -> None:
        self.model = model
        self.calibration, self.test = model.calibration(), model.test()
        tensors = model.tensors()
        self.wanted = model.run(tensors, self.calibration.batches)
        self.original = model.run(tensors, self.test.batches)
        self.bytes = model.path().stat().st_size

    def row(self, made: Made, calibration_change: float | None = None) -> dict[str, Any]:
        outputs = self.model.run(made.tensors, self.test.batches)
        row = {
            "how": made.how,
            "bytes": made.size,
            "change": change(outputs, self.original),
            "score": self.model.score(outputs, self.original, self.test.truth),
        }
        return row if calibration_change is None else row | {"calibration change": calibration_change}


def measure(model: RealModel, say: Any) -> dict[str, Any]:
    """Raises UnavailableError."""
    measured = Measured(model)
    score = model.score(measured.original, measured.original, measured.test.truth)
    rows: dict[str, Any] = {"original": {"how": "", "bytes": measured.bytes, "change": 0.0, "score": score}}
    say(f"{model.release.name}: {measured.bytes:,} B, {model.task}: {score:.2f}")
    for name, size in zipped(model.path().read_bytes()).items():
        rows[name] = {"how": "", "bytes": size, "change": 0.0, "score": score}
    rows["int8 + zstd"] = measured.row(int8(model))
    with tempfile.TemporaryDirectory() as folder:
        plain = Plain(model, Path(folder))
        for ratio in RATIOS:
            size = measured.bytes // ratio
            made, found = best_plain(model, plain, size, measured.calibration.batches, measured.wanted)
            rows[f"{PLAIN}, {ratio}x"] = measured.row(made, found)
            say(f"{PLAIN}, {ratio}x: {rows[f'{PLAIN}, {ratio}x']}")
            rows[f"{OURS}, {ratio}x"] = measured.row(calibrated(model, measured.calibration, size, Path(folder)))
            say(f"{OURS}, {ratio}x: {rows[f'{OURS}, {ratio}x']}")
    weights = model.weights(plain.original)
    return {
        "package": f"{model.release.name}=={model.release.version}",
        "checkpoint": model.member,
        "task": model.task,
        "examples": dict(zip(("calibration", "test"), model.counts, strict=True)),
        "tensors": len(plain.original),
        "weights": {name: list(plain.original[name].shape) for name in weights},
        "rows": rows,
    }


def demands(found: dict[str, Any], skipped: dict[str, str]) -> Iterator[dict[str, Any]]:
    for name in (*found, *skipped):
        text = f"{name}: {DEMANDED_RATIO} times smaller, change at most {DEMANDED_CHANGE} x that of {PLAIN}"
        if name in skipped:
            yield demand(text, f"not measured: {skipped[name]}", False)
            continue
        ours, plain = (found[name]["rows"][f"{way}, {DEMANDED_RATIO}x"] for way in (OURS, PLAIN))
        ratio = ours["change"] / plain["change"]
        yield demand(text, f"{ratio:.2f} x", ratio <= DEMANDED_CHANGE)


def numbers_of(row: dict[str, Any], whole: int) -> tuple[str, ...]:
    """A row's bytes, how many times smaller than `whole` they are, change and score."""
    ratio = whole / row["bytes"]
    return f"{row['bytes']:,}", f"{ratio:.2f}", f"{row['change']:.4f}", f"{row['score']:.2f}"


def print_result(result: dict[str, Any], console: Console) -> None:
    for name, model in result["models"].items():
        table = Table("", "bytes", "times smaller", "change", model["task"], "how", title=name)
        whole = model["rows"]["original"]["bytes"]
        for way, row in model["rows"].items():
            table.add_row(way, *numbers_of(row, whole), row["how"])
        console.print(table)
    print_notes(result, console)


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    console = Console(width=200)
    work = {name: partial(measure, model, console.print) for name, model in models().items()}
    found, skipped = available(work, arguments.models)
    result = {"notes": NOTES, "ratios": RATIOS, "models": found, "skipped": skipped}
    print_result(result, console)
    return result | {"demands": [] if arguments.models else list(demands(found, skipped))}


OPTIONS = {"models": {"nargs": "*", "default": (), "help": "only these packages; then no demand is checked"}}
LIBRARIES = ("torch", "onnx", "onnxruntime", "zstandard", "tokenizers", "pillow")

if __name__ == "__main__":
    raise SystemExit(main("real_models", measure_all, OPTIONS, ["models"], LIBRARIES))
