"""The body of each page of results: one function for each result file, one row in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.browser.page import computing, decoding, on_gpu, page_bytes
from benchmarks.device.page import device
from benchmarks.file_size.__main__ import COLUMNS, percent
from benchmarks.file_size.__main__ import NOTES as SIZE_NOTES
from benchmarks.gpu.page import instructions, on_nvidia
from benchmarks.layers.page import (
    convolutions,
    first_answer,
    layers,
    layers_packed_before,
    many_cores,
    mixed,
    models,
    neon_instructions,
    neon_peers,
)
from benchmarks.real_models.__main__ import NOTES as MODEL_NOTES
from benchmarks.real_models.__main__ import numbers_of
from benchmarks.tables import FORCED_NOTE, Result, not_measured, shown, table


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
    "gpu_instructions": ("Instructions on GPUs", instructions),
    "mixed": ("Compressed layers between torch's", mixed),
    "many_cores": ("Many cores", many_cores),
    "models": ("Whole networks", models),
    "first_answer": ("The first answer", first_answer),
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
