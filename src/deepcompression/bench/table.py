"""What a benchmark found, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from deepcompression.bench.results import BenchResult, LayerResult
from deepcompression.report import printable


def table(result: BenchResult) -> Table:
    """A row for each tensor, and their sum."""
    found = Table()
    found.add_column("tensor")
    headings = ["shape", "density", "dense ms", "compressed ms", "speed-up", "dense bytes", "held bytes"]
    headings += ["dense moved", "moved", *_energy_headings(result)]
    for heading in headings:
        found.add_column(heading, justify="right")
    found.add_column("kernel")
    for layer in result.layers:
        density = "" if layer.density is None else f"{100 * layer.density:.1f}%"
        shape = "x".join(map(str, layer.shape)) or "scalar"
        kernel = layer.kernel if layer.stays is None else f"stays dense: {layer.stays}"
        # a Text, since a name such as a[b] is no markup
        name, how = Text(printable(layer.name)), Text(printable(kernel))
        found.add_row(name, shape, density, *_numbers(layer, result), how)
    found.add_section()
    found.add_row("sum", "", "", *_numbers(result.total(), result), "")
    return found


def lines(result: BenchResult) -> Iterator[str]:
    """What the numbers mean."""
    chosen = result.settings
    yield (
        f"Medians of hot calls in turn; batch {chosen.batch}, {chosen.threads} thread{'s' * (chosen.threads != 1)}, "
        f"{chosen.activations} activations. Dense: {result.dense_engine}, float32. "
        f"Compressed: instruction set {result.instruction_set}."
    )
    if any(layer.stays is None and len(layer.shape) > 2 for layer in result.layers):
        yield (
            f"The file does not say how convolutions are used: assumed are images of extent {chosen.size} (--size), "
            "stride 1, one group, padding that keeps the extent, float32."
        )
    yield (
        "Moved are a call's bytes: the weight in the form held, activations in and out. "
        "The sum's times are of the layers measured."
    )
    if result.energy is not None and result.idle_watts is not None:
        yield (
            f"Joules are a call's, of all that {result.energy} counts, other programs and idling included; "
            f"doing nothing it counts {result.idle_watts:.1f} W."
        )
    elif result.energy is not None:
        yield f"Energy {result.energy}."


def _energy_headings(result: BenchResult) -> list[str]:
    return ["dense J", "J", "energy ratio"] if result.idle_watts is not None else []


def _numbers(layer: LayerResult, result: BenchResult) -> list[str]:
    energy = [_joules(layer.dense_joules), _joules(layer.joules), _times(layer.energy_ratio)]
    return [
        _milliseconds(layer.dense_ms),
        _milliseconds(layer.compressed_ms),
        _times(layer.speed_up),
        f"{layer.dense_bytes:,}",
        f"{layer.held_bytes:,}",
        "" if layer.dense_moved is None else f"{layer.dense_moved:,}",
        "" if layer.moved_bytes is None else f"{layer.moved_bytes:,}",
        *(energy if _energy_headings(result) else []),
    ]


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _joules(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
