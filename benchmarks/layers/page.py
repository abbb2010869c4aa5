"""The bodies of the pages about products: layers, convolutions and whole networks, timed, counted and on many cores."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from benchmarks.layers.mixed import busy_rates
from benchmarks.layers.ours import BOUNDS
from benchmarks.layers.ratios import case, overhead
from benchmarks.tables import FORCED, FORCED_NOTE, Result, not_measured, shown, table

# The cases whose calls of modules are shown beside those of bare kernels.
OF_CALLS = {f"batch {batch}, {threads}": case(batch, threads, "hot") for threads in (1, 2) for batch in (1, 8)}


def neon_instructions(result: Result) -> list[str]:
    text = (
        f"{result['unit'].capitalize()} on 64-bit ARM, under emulation: the geometric mean over the layers. The fewest "
        f"are bold, on CPUs with `sdot` and on CPUs without. Larger batches take what 16 takes."
    )
    limits = " ".join(f"{limit[0].upper()}{limit[1:]}." for limit in result["limits"])
    blocks = [text, limits]
    for centroids, found in result["centroids"].items():
        names = list(found["means"]["int8"]["1"])
        rows = []
        for kind, batches in found["means"].items():
            for batch, counts in batches.items():
                fewest = min(counts.values()), min(count for name, count in counts.items() if "sdot" not in name)
                cells = (counts.get(name) for name in names)
                marked = (
                    "" if each is None else f"**{each:.2f}**" if each in fewest else f"{each:.2f}" for each in cells
                )
                rows.append([kind, batch, *marked])
        blocks += [f"{centroids} centroids:", table(["", "batch", *names], rows)]
    return blocks


def neon_peers(result: Result) -> list[str]:
    """Means and layers, how many times ours the instructions of others are; what each of them is."""
    limits = " ".join(f"{limit[0].upper()}{limit[1:]}." for limit in result["limits"])
    commits = ", ".join(dict.fromkeys(commit[:12] for commit in result["others"].values()))
    blocks = [
        "Instructions of products on 64-bit ARM, under emulation, beside others: counted, not timed. Batch 1, the "
        "[layers of the paper](layers.md). Ours is what would be packed for NEON; the others are dense, but for SciPy. "
        f"Others were counted at commit {commits}; their versions, above, decide their counts.",
        limits,
    ]
    for cpu, ours in result["times"].items():
        rows = {against: [f"{found[against]:.2f}" for found in ours.values()] for against in next(iter(ours.values()))}
        blocks += [
            f"How many times ours the instructions of others are, {cpu} ({result['emulated'][cpu]}): geometric means "
            "over the layers below.",
            table(["", *ours], [[against, *ratios] for against, ratios in rows.items()]),
        ]
    for cpu in result["emulated"]:
        names = dict.fromkeys(name for layer in result["layers"].values() for name in layer[cpu])
        rows = {name: [layer[cpu].get(name) for layer in result["layers"].values()] for name in names}
        blocks += [
            f"Thousands of instructions, {cpu}:",
            table(
                ["", *result["layers"]],
                [[name, *("" if n is None else f"{n / 1000:,.0f}" for n in found)] for name, found in rows.items()],
            ),
        ]
    errors = [[name, result["kinds"][name], f"{error:.1e}"] for name, error in result["errors"].items()]
    return [*blocks, table(["", "kind", "error / max of y"], errors), *not_measured(result["missing"])]


def mixed(result: Result) -> list[str]:
    """A row for each network, batch and kind."""
    text = (
        "Medians of interleaved turns. Rates beside a busy process come from means, since such a process takes few "
        "calls whole time slices: two threads beside the process, by one thread alone. The last column is of the named "
        "layers in the network, compressed or dense. Whole networks lose more: each of torch's layers that takes all "
        "cores waits for the busy one."
    )
    rows = []
    for network, batches in result["networks"].items():
        for batch, by_threads in batches.items():
            one, two = by_threads["1 threads"], by_threads["2 threads"]
            for kind in (kind for kind in one if kind != "rounds"):
                cells = (
                    one[kind]["whole"],
                    two[kind]["whole"],
                    two[kind]["parts"],
                    two[kind]["busy"],
                    *busy_rates(one, two, kind),
                )
                rows.append([f"{network}, {batch}, {kind}", *(f"{cell:.3g}" for cell in cells)])
    headings = ["milliseconds", "one thread", "two", "layers alone", "beside a busy process", "rate", "of named layers"]
    return [text, table(headings, rows)]


def many_cores(result: Result) -> list[str]:
    """A row for each layer and kind of activations."""
    text = (
        "Counted from the real packed weights and their real split; nothing is timed. For each number of threads there "
        "are four figures: the threads that take part, the kilobytes that the busiest reads, the largest part by the "
        "mean part, and the expected gain over one thread. The gain comes from the constants of the result file."
    )
    rows, threads = [], []
    for name, layer in result["layers"].items():
        for activations, found in layer.items():
            threads = list(found["by_threads"])
            cells = (
                f"{each['threads']}, {each['bytes'] / 1e3:.0f}, {each['imbalance']:.2f}, {each['gain']:.1f}"
                for each in found["by_threads"].values()
            )
            rows.append([f"{name}, {activations}", *cells])
    return [text, table(["layer", *threads], rows)]


def layers(result: Result) -> list[str]:
    """Batch 1 by layer; how many times as fast by case; every task with its error and bytes; missing tasks."""
    nine, kinds, times = result["layers"], result["kinds"], result["times"]
    ours = [name for name in next(iter(next(iter(nine.values()))["ms"].values())) if name.startswith("ours")]
    held = result.get("instruction_set", "")
    widest = [name for name in ours if name.endswith((held or "avx512", "module"))]
    first, against = next(iter(times)), list(next(iter(next(iter(times.values())).values())))
    kept = [each for each in against if each not in ("best int8 / int4", "MKL sparse")]

    def best(ms: dict[str, float], name: str) -> float:
        members = result["against"][name]
        return min(time for who, time in ms.items() if who in members or kinds.get(who) in members)

    def cells(found: Iterable[float | None], form: str) -> list[str]:
        return ["" if each is None else format(each, form) for each in found]

    labels, by_layer, calls = shown(ours), [], []
    for name, layer in nine.items():
        ms = layer["ms"][first]
        found = [*(best(ms, each) for each in kept), *(ms.get(each) for each in widest)]
        label = f"{name}, {layer['rows']} x {layer['columns']}, {layer['density']:.0%}"
        by_layer.append([label, *cells(found, ".3g")])
        overs = (overhead(layer["ms"].get(key, {}), kind) for key in OF_CALLS.values() for kind in BOUNDS)
        calls.append([name, *cells(overs, ".1f")])
    blocks = [
        f"y = x W^T, float32 x and y; weights normal, pruned by magnitude, {result['centroids']} centroids. Medians of "
        "interleaved turns. Quantizing x counts, rearranging it for a peer does not. DeepSparse computes with sparse "
        f"weights too, and has columns of its own. {held_note(held)}",
        f"Milliseconds, {first}:",
        table(["layer", *kept, *widest], by_layer),
        "Microseconds of a module's call over the bare kernel, hot caches:",
        table(["layer", *(f"{kind}, {key}" for key in OF_CALLS for kind in BOUNDS)], calls),
    ]
    for cache, threads in ((c, t) for t in ("1 thread", "2 threads") for c in ("hot", "cold")):
        rows = [
            [f"{case.partition(',')[0]}, {labels[name]}", *cells((ratios.get(each) for each in against), ".2f")]
            for case, by_name in times.items()
            if f" {threads}, {cache} " in case
            for name, ratios in by_name.items()
            if name in widest or (threads, cache) == ("1 thread", "hot")
        ]
        if rows:
            text = f"Times as fast as others, geometric means over the layers, {threads}, {cache} caches:"
            blocks += [text, table(["", *against], rows)]
    cases = [case for case in times if "1 thread, hot" in case]
    names = dict.fromkeys(name for layer in nine.values() for name in layer["errors"])
    labels |= shown(names)

    def middle(case: str, name: str) -> float | None:
        found = [layer["ms"][case].get(name) for layer in nine.values()]
        return statistics.geometric_mean(found) if all(found) else None

    everyone = []
    for name in names:
        held = [layer["bytes"].get(name) for layer in nine.values()]
        error = max(layer["errors"].get(name, 0) for layer in nine.values())
        size = f"{sum(held):,}" if all(held) else ""
        milliseconds = cells((middle(case, name) for case in cases), ".3g")
        everyone.append([labels[name], kinds.get(name, "compressed"), *milliseconds, f"{error:.1e}", size])
    headings = ["", "kind", *(case.partition(",")[0] for case in cases), "error / max of y", "bytes of all layers"]
    blocks += ["Geometric means of milliseconds over the layers, one thread, hot caches:", table(headings, everyone)]
    return blocks + not_measured(result["missing"])


def held_note(instruction_set: str) -> str:
    """What a reader must know about the instruction sets of ours and of the peers."""
    if not instruction_set:
        return f"{FORCED_NOTE} [Another page](layers-avx2.md) holds ours and the peers to AVX2."
    return (
        f"Ours and all peers are held to {instruction_set.upper()} on a machine that has a wider set, the peers by "
        "their own switches. A peer without a switch is not measured here."
    )


def layers_packed_before(result: Result) -> list[str]:
    """The same for a result whose forms were chosen by what the CPU had, not by the instruction set in use."""
    note = (
        f"Rows marked {FORCED} at batch 8 and int8 at batch 64 were packed in a form that a CPU with that "
        "set would not get. The page of [Zen 4](layers-zen4.md) has them with the right form."
    )
    return [note, *layers(result)]


def convolutions(result: Result) -> list[str]:
    found = result["layers"]
    names = dict.fromkeys(name for each in found.values() for name in each["ms"])
    rows = []
    for layer, each in found.items():
        milliseconds = (f"{each['ms'][name]:.3g}" if name in each["ms"] else "" for name in names)
        sizes = (f"{each[key]:,}" if key in each else "" for key in ("dense bytes", "bytes"))
        rows.append([layer, f"{each['density']:.0%}", *milliseconds, *sizes])
    text = f"Milliseconds, batch 1, {result['threads']} thread, hot caches; medians of interleaved turns."
    missing = dict.fromkeys(f"{who}: {why}" for each in found.values() for who, why in each["missing"].items())
    headings = ["", "density", *names, "bytes, dense", "bytes, compressed"]
    return [text, table(headings, rows), *(f"**Not measured:** {each}." for each in missing)]


def models(result: Result) -> list[str]:
    rows, sizes = [], []
    for name, network in result["networks"].items():
        sizes.append([name, *(f"{network['file bytes'][ending]:,}" for ending in (".pt", ".safetensors", ".dcz"))])
        for batch, ways in network["batch"].items():
            for way, found in ways.items():
                seconds = (found[key] for key in ("seconds", "loading, cold", "first result, cold"))
                milliseconds = (f"{1e3 * each:.3g}" for each in seconds)
                rows.append([f"{name}, batch {batch}, {way}", *milliseconds, f"{found['peak bytes'] / 1e6:,.0f}"])
    headings = ["", "a call, ms", "loading a cold file, ms", "to the first result, ms", "peak memory, MB"]
    text = (
        f"{result['threads']} threads, {result['repeats']} processes each, medians. Peak memory is above that after "
        "the imports; the file of the weights is not in the page cache when loading begins."
    )
    files = table(["file, bytes", "torch.save", "safetensors", ".dcz"], sizes)
    return [text, table(headings, rows), files, *not_measured(result["missing"])]


def first_answer(result: Result) -> list[str]:
    rows = []
    for name, ways in result["networks"].items():
        for way, found in ways.items():
            seconds = (found[key] for key in ("importing", "loading, cold", "first result, cold"))
            milliseconds = (f"{1e3 * each:.1f}" for each in seconds)
            rows.append([f"{name}, {way}", *milliseconds, f"{found['peak bytes'] / 1e6:,.0f}"])
    headings = ["", "importing the library, ms", "loading, ms", "to the first result, ms", "peak memory, MB"]
    text = (
        f"New processes that have imported torch, {result['threads']} threads, one input, medians of "
        f"{result['repeats']} in turns. The file is not in the page cache. Loading and the first result count from the "
        "end of the imports; the demands name both with and without them."
    )
    return [text, table(headings, rows)]
