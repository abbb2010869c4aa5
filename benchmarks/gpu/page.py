"""The page of products on a GPU."""

from __future__ import annotations

from benchmarks.gpu.tasks import TASKS
from benchmarks.tables import Result, table

# MACKO-SpMV, arXiv 2511.13061, on an RTX 4090: fp16, one vector, times faster than cuBLAS, by shape and density.
MACKO = {
    "4096x4096": {0.05: 4.5, 0.1: 4.0, 0.2: 2.95, 0.3: 2.4, 0.5: 1.6},
    "4096x14336": {0.05: 5.3, 0.1: 4.4, 0.2: 2.9, 0.3: 2.1, 0.5: 1.3},
}


def on_nvidia(result: Result) -> list[str]:
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
            "## Energy",
            f"Millijoules of a call with one vector, of the whole card, by {result['energy']}.",
            table(["", "task", "millijoules"], joules),
        ]
    else:
        blocks.append(f"**Not measured:** energy: {result['energy']}.")
    densities = list(MACKO["4096x4096"])
    published = [[shape, *(f"{found[density]:g}" for density in densities)] for shape, found in MACKO.items()]
    blocks += [
        "## Published",
        "MACKO-SpMV (arXiv 2511.13061) on an RTX 4090: times faster than fp16 cuBLAS, one vector, "
        "values of 16 bits. Its card and its weights are others.",
        table(["density", *(f"{density:g}" for density in densities)], published),
    ]
    missing = {task: reason for case in result["cases"].values() for task, reason in case["missing"].items()}
    missing |= result["skipped"]
    return blocks + [f"**Not measured:** {name}: {reason}." for name, reason in missing.items()]


def _both(times: dict[str, float] | None) -> str:
    return "" if times is None else f"{times['warm']:.3g} / {times['cold']:.3g}"
