"""Ratios of the times on a GPU, and the demands on them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks.environment import demand
from benchmarks.gpu.plan import CENTROIDS, OF_THE_PAPER, WIDE, grid
from benchmarks.gpu.tasks import DENSE16, DENSE32, OURS16, OURS32, TASKS

Found = dict[str, Any]

CACHES = ("warm", "cold")

# Times faster than fp16 cuBLAS with one vector, by the density of the wide weight.
AT_LEAST = {0.1: 5.0, 0.25: 3.0}
# The paper: 3.5 times over the dense layers, with one vector (geometric mean).
PAPER, LEAST_OF_LAYERS = 3.5, 6.0
# Bytes on the device, as part of those that codes, skips and fillers need.
MOST_MEMORY = 1.3
# Ours, and the dense product of the same activations.
DENSE_OF = {OURS32: DENSE32, OURS16: DENSE16, "ours bfloat16": "cuBLAS bf16"}


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
        found[cache] = round(statistics.geometric_mean(known), 3)
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
    return [*rows, memory(cases)]


def memory(cases: Found) -> Found:
    """The demand on the bytes that packed weights take on the device, with all that belongs to them."""
    shares = {name: case["bits_of_a_weight"] / best_bits(case["density"]) for name, case in cases.items()}
    text = f"memory on the device: at most {MOST_MEMORY:g} times code, step and fill at that density"
    if not shares:
        return demand(text, "not measured", False)
    worst = max(shares, key=lambda name: shares[name])
    return demand(text, f"{shares[worst]:.2f} ({worst})", shares[worst] <= MOST_MEMORY)


def best_bits(density: float) -> float:
    """Bits of a weight in pairs of code and skip of the best width, for survivors that lie at random."""
    code_bits, widths = (CENTROIDS - 1).bit_length(), []
    for skip_bits in range(1, 17):
        # a pair is a filler, with a code of its own, where so many weights in a row are pruned
        pruned = (1 - density) ** ((1 << skip_bits) - 1)
        widths.append((code_bits + skip_bits) / (1 - pruned))
    return density * min(widths)


def _at_least(text: str, found: dict[str, float] | None, least: float) -> Found:
    if found is None:
        return demand(text, "not measured", False)
    shown = ", ".join(f"{value:.2f} with {cache} caches" for cache, value in found.items())
    return demand(text, shown, min(found.values()) >= least)
