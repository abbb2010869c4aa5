"""The pages of products on a GPU, measured and counted."""

from __future__ import annotations

from benchmarks.gpu.tasks import TASKS
from benchmarks.tables import Result, table

# MACKO-SpMV, arXiv 2511.13061, on an RTX 4090: fp16, one vector, times faster than cuBLAS, by shape and density.
MACKO = {
    "4096x4096": {0.05: 4.5, 0.1: 4.0, 0.2: 2.95, 0.3: 2.4, 0.5: 1.6},
    "4096x14336": {0.05: 5.3, 0.1: 4.4, 0.2: 2.9, 0.3: 2.1, 0.5: 1.3},
}

UNCAPTURED = "‡"


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
                cells = (_both(times.get(task), task in case["uncaptured"]) for task in TASKS)
                rows.append([name, f"{case['density']:.0%}", bits, *cells])
        if rows:
            headings = ["warm / cold", "density", "bits", *TASKS]
            blocks += [f"## {batch} vector{'s' * (batch > 1)}", table(headings, rows)]
    if any(case["uncaptured"] for case in result["cases"].values()):
        blocks.append(f"{UNCAPTURED} No CUDA graph could hold the calls: the time of Python is in these.")
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


def instructions(result: Result) -> list[str]:
    """The page of what kernels take of a GPU that nobody has."""
    text = (
        "Kernels for products with weights of the form `word`, compiled without a GPU: counted, not timed. "
        "Instructions are those of the inner loop for a pair of code and skip, which is a survivor or a filler. "
        "Registers are those of a thread."
    )
    names = result["architectures"]
    rows = []
    for each in result["products"]:
        found = [each[name] for name in names]
        counts = [*(f"{one['instructions']:.1f}" for one in found), *(str(one["registers"]) for one in found)]
        rows.append([f"{each['dtype']}, {each['centroids']} centroids", str(each["vectors"]), *counts])
    headings = ["", "vectors", *(f"instructions, {name}" for name in names), *(f"registers, {name}" for name in names)]
    return [text, table(headings, rows)]


def _both(times: dict[str, float] | None, uncaptured: bool) -> str:
    mark = f" {UNCAPTURED}" if uncaptured else ""
    return "" if times is None else f"{times['warm']:.3g} / {times['cold']:.3g}{mark}"
