"""Tables of the results of a benchmark, and their meaning in words."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from deepcompression.bench.results import BenchResult, LayerResult
from deepcompression.common.messages import listed, printable


def tables(result: BenchResult) -> Iterator[Table]:
    """Times, and bytes with joules: a row for each tensor, and their sum."""
    energy = result.idle_watts is not None
    times = _table("shape", "density", "dense ms", "compressed ms", "speed-up", "expected")
    times.add_column("kernel")
    costs = _table("dense bytes", "held bytes", "dense moved", "moved", *(["dense J", "J", "energy ratio"] * energy))
    total = result.total()
    for row in (*result.layers, total):
        if row is total:
            times.add_section()
            costs.add_section()
        # a Text, since a name such as a[b] is no markup
        name = Text(printable(row.name))
        shape = "" if row is total else "x".join(map(str, row.shape)) or "scalar"
        kernel = Text(printable(_kernel(row)))
        ms = (_in(value, "{:.4f}") for value in (row.dense_ms, row.compressed_ms))
        ratios = (_in(value, "{:.2f}x") for value in (row.speed_up, row.expected_speed_up))
        times.add_row(name, shape, _in(row.density, "{:.1%}"), *ms, *ratios, kernel)
        sizes = [_in(v, "{:,}") for v in (row.dense_bytes, row.held_bytes, row.dense_moved, row.moved_bytes)]
        joules = [_in(value, "{:.3g}") for value in (row.dense_joules, row.joules)]
        costs.add_row(name, *sizes, *([*joules, _in(row.energy_ratio, "{:.2f}x")] if energy else []))
    yield times
    yield costs


def _kernel(row: LayerResult) -> str:
    if row.stays is not None:
        return f"stays dense: {row.stays}"
    return f"{row.kernel}; run holds it {row.run}" if row.run else row.kernel


def _table(*headings: str) -> Table:
    table = Table("tensor")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _in(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def lines(result: BenchResult) -> Iterator[str]:
    """The meaning of the numbers."""
    chosen = result.settings
    yield (
        f"Medians of hot calls in turn; batch {chosen.batch}, {chosen.threads} thread{'s' * (chosen.threads != 1)}, "
        f"{chosen.activations} activations. Dense: {result.dense_engine}, float32. "
        f"Compressed: {'instruction set ' if chosen.device == 'cpu' else ''}{result.instruction_set}."
    )
    run_ms, dense_ms = result.run_ms(), result.total().dense_ms
    if run_ms is not None:
        yield (
            f"`run` with batch={chosen.batch} takes {run_ms:.4g} ms for the measured layers, dense {dense_ms:.4g} ms. "
            "It decides by expected times, whose speed-up stands beside the measured one; tune=True measures them."
        )
    if any(layer.stays is None and len(layer.shape) > 2 for layer in result.layers):
        yield (
            "The file does not say how convolutions are used. Assumed here: images of "
            f"extent {chosen.size} (--size), stride 1, one group, padding that keeps the extent, float32."
        )
    if any(len(layer.shape) == 2 for layer in result.layers):
        tables = [layer.name for layer in result.layers if len(layer.shape) == 2 and chosen.is_table(layer.name)]
        yield (
            "The file does not say how matrices are used. Assumed here, by names: rows are looked up in "
            f"{printable(listed(tables, 3)) or 'none'}, all others are multiplied by; --table GLOB says otherwise."
        )
    yield (
        "Moved bytes are those of a call: the weight as it is held, activations in and out. "
        "The sum of the times covers the measured layers."
    )
    if result.idle_watts is not None:
        yield (
            f"Joules are those of a call, from all that {result.energy} counts: other programs and idling, too. "
            f"Doing nothing, the machine takes {result.idle_watts:.1f} W."
        )
    elif result.energy is not None:
        yield f"Energy {result.energy}."
