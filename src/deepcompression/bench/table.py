"""The results of a benchmark, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from deepcompression.bench.results import BenchResult, LayerResult
from deepcompression.common.messages import printable


def tables(result: BenchResult) -> Iterator[Table]:
    """Times, and bytes with joules: a row for each tensor, and their sum."""
    times = _table(("shape", "density", "dense ms", "compressed ms", "speed-up"))
    times.add_column("kernel")
    costs = _table(("dense bytes", "held bytes", "dense moved", "moved", *_energy_headings(result)))
    for layer in (*result.layers, None):
        row = layer or result.total()
        if layer is None:
            times.add_section()
            costs.add_section()
        density = "" if row.density is None else f"{100 * row.density:.1f}%"
        shape = "" if layer is None else "x".join(map(str, row.shape)) or "scalar"
        kernel = row.kernel if row.stays is None else f"stays dense: {row.stays}"
        # a Text, since a name such as a[b] is no markup
        name, how = Text(printable(row.name)), Text(printable(kernel))
        times.add_row(name, shape, density, *_times(row), how)
        costs.add_row(name, *_costs(row, result))
    yield times
    yield costs


def _table(headings: tuple[str, ...]) -> Table:
    table = Table()
    table.add_column("tensor")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def lines(result: BenchResult) -> Iterator[str]:
    """The meaning of the numbers."""
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


def _energy_headings(result: BenchResult) -> tuple[str, ...]:
    return ("dense J", "J", "energy ratio") if result.idle_watts is not None else ()


def _times(layer: LayerResult) -> list[str]:
    return [_in(layer.dense_ms, "{:.4f}"), _in(layer.compressed_ms, "{:.4f}"), _in(layer.speed_up, "{:.2f}x")]


def _costs(layer: LayerResult, result: BenchResult) -> list[str]:
    numbers = (layer.dense_bytes, layer.held_bytes, layer.dense_moved, layer.moved_bytes)
    energy = [_in(layer.dense_joules, "{:.3g}"), _in(layer.joules, "{:.3g}"), _in(layer.energy_ratio, "{:.2f}x")]
    return [*(_in(number, "{:,}") for number in numbers), *(energy if _energy_headings(result) else [])]


def _in(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
