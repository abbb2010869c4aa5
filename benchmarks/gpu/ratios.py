"""Ratios of the times on a GPU, the demands on them, and their page."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.environment import demand
from benchmarks.gpu.plan import OF_THE_PAPER, WIDE, grid
from benchmarks.gpu.tasks import DENSE16, DENSE32, OURS16, OURS32, TASKS
from benchmarks.tables import Result, table

Found = dict[str, Any]

CACHES = ("warm", "cold")

# Times faster than fp16 cuBLAS with one vector, by the density of the wide weight.
AT_LEAST = {0.1: 5.0, 0.25: 3.0}
# The paper: 3.5 times over the dense layers, with one vector (geometric mean).
PAPER, LEAST_OF_LAYERS = 3.5, 6.0
# The most bytes, as a multiple of what code, step and fill need.
DENSE_OF = {OURS32: DENSE32, OURS16: DENSE16, "ours bfloat16": "cuBLAS bf16"}

# MACKO-SpMV, arXiv 2511.13061, on an RTX 4090: fp16, one vector, times faster than cuBLAS, by shape and density.
MACKO = {
    "4096x4096": {0.05: 4.5, 0.1: 4.0, 0.2: 2.95, 0.3: 2.4, 0.5: 1.6},
    "4096x14336": {0.05: 5.3, 0.1: 4.4, 0.2: 2.9, 0.3: 2.1, 0.5: 1.3},
}


def ratio(cases: Found, name: str, batch: int, ours: str, other: str, cache: str) -> float | None:
    """How many times as fast ours is; None where one of both was not measured."""
    times = cases.get(name, {}).get("microseconds", {}).get(str(batch), {})
    if ours not in times or other not in times:
        return None
    return float(times[other][cache] / times[ours][cache])


def ratios_of(cases: Found, names: Iterable[str], batch: int, ours: str, other: str) -> dict[str, float] | None:
    """The geometric means over cases, with warm and with cold caches; None unless all were measured."""
    found = {}
    for cache in CACHES:
        each = [ratio(cases, name, batch, ours, other, cache) for name in names]
        known = [value for value in each if value is not None]
        if len(known) < len(each) or not known:
            return None
        found[cache] = statistics.geometric_mean(known)
    return found


def demands(cases: Found, batch_of_few: int, most_density: float) -> list[Found]:
    """What the result must show: right outputs, the ratios, and never slower than dense where the rule packs.

    batch_of_few, most_density  up to which the rule packs
    """
    wrong = [
        f"{task} of {name}: {value:.1e}"
        for name, case in cases.items()
        for task, value in case["errors"].items()
        if TASKS[task].ours and not value <= TASKS[task].bound
    ]
    rows = [demand("ours computes what dense does", "; ".join(wrong) or "all within their bounds", not wrong)]
    for density, least in AT_LEAST.items():
        name = grid(WIDE, density).name
        text = f"{name}, batch 1, {OURS16}: at least {least:g} times {DENSE16}"
        rows.append(_at_least(text, ratios_of(cases, [name], 1, OURS16, DENSE16), least))
    text = f"the paper's six layers, batch 1, {OURS32}: at least {LEAST_OF_LAYERS:g} times {DENSE32} (paper: {PAPER:g})"
    rows.append(_at_least(text, ratios_of(cases, OF_THE_PAPER, 1, OURS32, DENSE32), LEAST_OF_LAYERS))
    slower = []
    judged = 0
    for name, case in cases.items():
        for batch, (ours, dense) in ((batch, pair) for batch in case["microseconds"] for pair in DENSE_OF.items()):
            value = ratio(cases, name, int(batch), ours, dense, "warm")
            if value is not None and int(batch) <= batch_of_few and case["density"] <= most_density:
                judged += 1
                slower += [f"{ours}, {name}, batch {batch}: {value:.2f}"] * (value < 1)
    text = f"never slower than dense up to {batch_of_few} vectors and a density of {most_density:.0%}, where run packs"
    found = "; ".join(slower) or (f"{judged} of {judged}" if judged else "not measured")
    rows.append(demand(text, found, bool(judged) and not slower))
    return rows


def _at_least(text: str, found: dict[str, float] | None, least: float) -> Found:
    if found is None:
        return demand(text, "not measured", False)
    shown = ", ".join(f"{value:.2f} with {cache} caches" for cache, value in found.items())
    return demand(text, shown, min(found.values()) >= least)


def on_gpu(result: Result) -> list[str]:
    """The page."""
    text = (
        f"Microseconds of y = x W^T on one {result['gpu']['name']}, by the GPU's events: the median of calls in a CUDA "
        "graph, with a warm and with a cold second-level cache. Weights and codes are random, with 16 centroids; x is "
        "random too. Bits are those of a weight on the GPU, with all that belongs to it."
    )
    blocks = [text]
    for batch in result["batch"]:
        rows = []
        for name, case in result["cases"].items():
            times = case["microseconds"].get(str(batch), {})
            if times:
                bits = f"{case['bits_of_a_weight']:.2f}"
                rows.append([name, f"{case['density']:.0%}", bits, *(_both(times.get(task)) for task in TASKS)])
        if rows:
            headings = ["warm / cold", "density", "bits", *TASKS]
            blocks += [f"## {batch} vector{'s' * (batch > 1)}", table(headings, rows)]
    joules = [
        [name, task, f"{1e3 * value:.3g}"]
        for name, case in result["cases"].items()
        for task, value in case.get("joules", {}).items()
    ]
    if joules:
        blocks += [
            f"## Energy\n\nMillijoules of a call with one vector, of the whole card, by {result['energy']}.",
            table(["", "task", "millijoules"], joules),
        ]
    else:
        blocks.append(f"**Not measured:** energy: {result['energy']}.")
    densities = list(MACKO["4096x4096"])
    published = [[shape, *(f"{found[density]:g}" for density in densities)] for shape, found in MACKO.items()]
    blocks += [
        "## Published\n\nMACKO-SpMV (arXiv 2511.13061) on an RTX 4090: times faster than fp16 cuBLAS, one vector, "
        "values of 16 bits. Its card and its weights are others.",
        table(["density", *(f"{density:g}" for density in densities)], published),
    ]
    missing = {task: reason for case in result["cases"].values() for task, reason in case["missing"].items()}
    missing |= result["skipped"]
    return blocks + [f"**Not measured:** {name}: {reason}." for name, reason in missing.items()]


def _both(times: dict[str, float] | None) -> str:
    return "" if times is None else f"{times['warm']:.3g} / {times['cold']:.3g}"
