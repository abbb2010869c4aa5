"""The body of each page of results: one function for each result file, one row in `SECTIONS`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

from benchmarks.browser.page import computing, decoding, on_gpu, page_bytes
from benchmarks.device.page import device
from benchmarks.file_size.__main__ import COLUMNS, percent
from benchmarks.file_size.__main__ import NOTES as SIZE_NOTES
from benchmarks.gpu.page import on_nvidia
from benchmarks.real_models.__main__ import NOTES as MODEL_NOTES
from benchmarks.real_models.__main__ import numbers_of
from benchmarks.tables import FORCED, FORCED_NOTE, Result, not_measured, shown, table


def file_size(result: Result) -> list[str]:
    def row(name: str, survivors: str, sizes: dict[str, int]) -> list[str]:
        ratios = (percent(sizes["fast"] / sizes["paper"]), percent(sizes["small"] / sizes["deepcabac"]))
        return [name, survivors, *(f"{sizes[column]:,}" for column in COLUMNS), *ratios]

    headings = ["tensor", "survivors", *COLUMNS.values(), "fast : paper's", "small : DeepCABAC"]
    blocks = [" ".join(SIZE_NOTES)]
    for name, group in result["groups"].items():
        rows = [row(layer["name"], f"{layer['survivors']:,}", layer["bytes"]) for layer in group["layers"]]
        blocks += [f"## {name}", table(headings, [*rows, row("whole", "", group["whole"])])]
    return blocks + not_measured(result["skipped"])


def small_speed(result: Result) -> list[str]:
    rows = [
        [name, f"{each['weights']:,}", f"{each['density']:.1%}", f"{each['encoding']:.1f}", f"{each['decoding']:.1f}"]
        for name, each in result["tensors"].items()
    ]
    return [table(["million weights a second", "weights", "density", "encoding", "decoding"], rows)]


def kmeans(result: Result) -> list[str]:
    rows = [
        [name, f"{found['seconds']:.4f}", f"{found['squared_error']:.7g}" if "squared_error" in found else ""]
        for name, found in result["methods"].items()
    ]
    text = f"Sharing {result['survivors']:,} survivors of one layer among {1 << result['bits']} centroids, one thread."
    return [text, table(["centroids chosen by", "seconds", "squared error"], rows)]


def patches(result: Result) -> list[str]:
    text = (
        f"Patches from {result['network']}.dcz of `reproduce` to the same network, trained on for an epoch at the rate "
        f"{result['rate']}. Bytes, and the part of the new file that the patch takes. A plain patch can be applied by "
        "boards, a recoding one by the Python package alone. Work is the memory for tables that a board needs."
    )
    rows = [
        [
            f"{each['change']}, `{each['profile']}`",
            *(f"{each[key]:,}" for key in ("old_bytes", "new_bytes", "patch_bytes")),
            f"{each['patch_bytes'] / each['new_bytes']:.1%}",
            each["kind"],
            f"{each['work_bytes']:,}" if each["kind"] == "plain" else "",
        ]
        for each in result["pairs"]
    ]
    return [text, table(["change", "old", "new", "patch", "part", "kind", "work"], rows)]


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
    blocks = [
        "Instructions of products on 64-bit ARM, under emulation, beside others: counted, not timed. Batch 1, the "
        "[layers of the paper](layers.md). Ours is what would be packed for NEON; the others are dense, but for SciPy. "
        f"Others were counted at commit {result['others'][:12]}.",
        limits,
    ]
    for cpu, ours in result["times"].items():
        rows = {against: [f"{found[against]:.2f}" for found in ours.values()] for against in next(iter(ours.values()))}
        blocks += [
            f"How many times ours the instructions of others are, {cpu} ({result['emulated'][cpu]}): geometric means "
            f"over {len(result['layers'])} of the nine layers.",
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
    rows = []
    for network, batches in result["networks"].items():
        for batch, by_threads in batches.items():
            one, two = by_threads["1 threads"], by_threads["2 threads"]
            for kind in (kind for kind in one if kind != "rounds"):
                cells = (one[kind]["whole"], two[kind]["whole"], two[kind]["parts"], two[kind]["busy"])
                rows.append([f"{network}, {batch}, {kind}", *(f"{cell:.3g}" for cell in cells)])
    headings = ["milliseconds", "one thread", "two", "layers alone", "beside a busy process"]
    return [table(headings, rows)]


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


def decode_speed(result: Result) -> list[str]:
    streams, mean, speeds = result["streams"], {"geometric mean": result}, "million symbols a second"
    sets = [name for name in result["times zstd"] if "," not in name and name != "encoding"]
    names = ["zstd decoding", *sets, "zstd encoding", "encoding"]
    labels = shown((*names, *result["times zstd"], *result["times one thread"]))
    bits = table(
        ["stream", "symbols", "entropy, bits", "ours", "zstd -1", *(f"{labels[name]}, M/s" for name in names)],
        [
            [
                *(name, f"{s['symbols']:,}", f"{s['bits of entropy']:.4f}"),
                *(f"{s['bits'][coder]:.4f}" for coder in ("ours", "zstd")),
                *(f"{s[speeds][each]:,.0f}" for each in names),
            ]
            for name, s in streams.items()
        ],
    )
    times = [
        table(
            [heading, *(labels[name] for name in result[key])],
            [[name, *(f"{each[key][n]:.2f}" for n in result[key])] for name, each in (streams | mean).items()],
        )
        for heading, key in (("times zstd -1", "times zstd"), ("times one thread", "times one thread"))
    ]
    return [f"Medians of {result['rounds']} interleaved rounds. {FORCED_NOTE}", bits, *times]


def read_speed(result: Result) -> list[str]:
    sizes, times = result["bytes"], result["seconds"]
    text = (
        f"AlexNet, {result['dense bytes']:,} bytes of weights, {sizes['dcz']:,} as `.dcz`; "
        f"{result['threads']} threads, medians of {result['rounds']} interleaved rounds. "
        f"Peak memory while reading: {result['peak bytes while reading']:,} bytes."
    )
    rows = [[name, f"{found:.4f}"] for name, found in times.items()]
    return [text, table(["", "seconds"], rows)]


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

    labels, by_layer = shown(ours), []
    for name, layer in nine.items():
        ms = layer["ms"][first]
        found = [*(best(ms, each) for each in kept), *(ms.get(each) for each in widest)]
        label = f"{name}, {layer['rows']} x {layer['columns']}, {layer['density']:.0%}"
        by_layer.append([label, *cells(found, ".3g")])
    blocks = [
        f"y = x W^T, float32 x and y; weights normal, pruned by magnitude, {result['centroids']} centroids. Medians of "
        "interleaved turns. Quantizing x counts, rearranging it for a peer does not. DeepSparse computes with sparse "
        f"weights too, and has columns of its own. {held_note(held)}",
        f"Milliseconds, {first}:",
        table(["layer", *kept, *widest], by_layer),
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


def real_models(result: Result) -> list[str]:
    """A summary at each ratio, then a table for each model."""
    blocks = [" ".join(MODEL_NOTES)]
    names, ways = list(result["models"]), ("magnitude + k-means", "calibrated")
    for ratio in result["ratios"]:
        rows = []
        for name in names:
            pair = [result["models"][name]["rows"].get(f"{way}, {ratio}x") for way in ways]
            changes = [each["change"] if each else None for each in pair]
            scores = [each["score"] if each else None for each in pair]
            part = changes[1] / changes[0] if changes[0] and changes[1] is not None else None
            original = result["models"][name]["rows"]["original"]["score"]
            numbers = (
                *((each, ".4f") for each in changes),
                (part, ".2f"),
                (original, ".2f"),
                *((each, ".2f") for each in scores),
            )
            rows.append([name, *("" if value is None else format(value, form) for value, form in numbers)])
        headings = [
            "",
            *(f"change, {way}" for way in ways),
            "part",
            "score, original",
            *(f"score, {way}" for way in ways),
        ]
        blocks += [f"{ratio} times smaller:", table(headings, rows)]
    for name, model in result["models"].items():
        whole = model["rows"]["original"]["bytes"]
        rows = [[way, *numbers_of(row, whole), row["how"]] for way, row in model["rows"].items()]
        examples = model["examples"]
        text = f"`{model['package']}`, {model['checkpoint']}. Score: {model['task']}. "
        text += f"Examples: {examples['calibration']} for calibration, {examples['test']} for the test."
        blocks += [f"## {name}", text, table(["", "bytes", "times smaller", "change", "score", "how"], rows)]
    return blocks + not_measured(result["skipped"])


def hostile(result: Result) -> list[str]:
    counts: dict[str, dict[str, int]] = {}
    for name, count in result["outcomes"].items():
        kind, _, outcome = name.partition(": ")
        counts.setdefault(kind, {})[outcome] = count
    outcomes = sorted({outcome for found in counts.values() for outcome in found})
    rows = [[kind, *(f"{found.get(outcome, 0):,}" for outcome in outcomes)] for kind, found in counts.items()]
    slowest, limits = result["slowest"], result["limits"]
    text = (
        f"{result['files']:,} spoilt files, read in {result['seconds']:,} s by {result['processes']} processes. "
        f"Slowest: {slowest['seconds']} s of CPU time, case {slowest['case']}. "
        f"Peak memory: {result['peak_memory_bytes']:,} bytes more than at rest, {limits['memory_bytes']:,} are allowed."
    )
    return [text, table(["spoilt", *outcomes], rows)]


def big_checkpoint(result: Result) -> list[str]:
    """Bytes, memory and seconds of compressing, by checkpoint."""
    found = {f"{result['checkpoint']['dense_bytes'] / 1e9:.1f} GB in shards": result["checkpoint"]} | result["networks"]
    rows = [
        [name, *(f"{each[key]:,}" for key in ("dense_bytes", "file_bytes", "peak_bytes", "seconds", "cpu_seconds"))]
        for name, each in found.items()
    ]
    text = (
        f"Synthetic weights, {result['workers']} workers. The large checkpoint is shared among {1 << result['bits']} "
        f"centroids, its largest tensor takes {result['checkpoint']['largest_bytes']:,} bytes; the networks are pruned "
        "to the paper's densities and shared as in the paper. Memory is the whole process's."
    )
    return [text, table(["", "bytes", "file", "peak memory", "seconds", "of CPU"], rows)]


def versions(result: Result) -> list[str]:
    """A table for each group, with the forms of both versions where they differ."""
    blocks = [f"Milliseconds of a call beside those of commit {result['old']['commit'][:12]}, medians of strict turns."]
    for name, group in result["groups"].items():
        rows = []
        for task, found in group.items():
            forms = dict.fromkeys(found[f"{each} form"] for each in ("old", "new") if f"{each} form" in found)
            numbers = (f"{found[key]:.3g}" for key in ("old ms", "new ms"))
            ratios = (f"{found[key]:.3f}" for key in ("ratio", "lower quartile", "upper quartile"))
            rows.append([f"{task} ({' -> '.join(forms)})" if forms else task, *numbers, *ratios])
        blocks.append(table([name, "old", "new", "new / old", "lower quartile", "upper quartile"], rows))
    return blocks + not_measured(result["missing"])


# Name of a result file -> title of its page, and the blocks below command and machine; in the summary's order.
SECTIONS: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "file_size": ("Size", file_size),
    "decode_speed": ("Speed of decoding and encoding", decode_speed),
    "read_speed": ("Speed and memory of reading", read_speed),
    "layers": ("Speed of compressed layers, Zen 5", layers_packed_before),
    "layers_zen4": ("Speed of compressed layers, Zen 4", layers),
    "layers_avx2": ("Speed of compressed layers, all held to AVX2", layers),
    "convolutions": ("Speed of compressed convolutions", convolutions),
    "gpu": ("Speed of compressed layers on a GPU", on_nvidia),
    "mixed": ("Compressed layers between torch's", mixed),
    "many_cores": ("Many cores", many_cores),
    "models": ("Whole networks", models),
    "real_models": ("Networks that others trained, without training", real_models),
    "patches": ("Size of updates", patches),
    "hostile": ("Safety", hostile),
    "small_speed": ("Speed of the profile small", small_speed),
    "kmeans": ("Sharing", kmeans),
    "device": ("Boards", device),
    "browser_bytes": ("Browsers: bytes of a page", page_bytes),
    "browser_decode": ("Browsers: decoding", decoding),
    "browser_compute": ("Browsers: layers", computing),
    "browser_gpu": ("Browsers: layers by WebGPU", on_gpu),
    "neon_peers": ("Instructions on ARM beside others", neon_peers),
    "neon_instructions": ("Instructions on ARM", neon_instructions),
    "big_checkpoint": ("Checkpoints of any size", big_checkpoint),
    "versions": ("Speed beside an older version", versions),
}

# What is made to be measured, but was not yet: section -> the reason, and how it is measured.
WAITING = {
    "gpu": "no GPU was at hand; on a machine with one, `python -m benchmarks.gpu` measures it in eight minutes",
}
