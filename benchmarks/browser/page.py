"""The pages of the npm package: decoding, layers, layers on a GPU, bytes of a page."""

from __future__ import annotations

from benchmarks.tables import Result, table


def decoding(result: Result) -> list[str]:
    text = (
        "Milliseconds on one core, from the bytes of a file in memory to dense tensors, checksums included. The core's "
        f"instruction sets are `portable` and `{result['instruction_sets'][-1]}`. Memory is that of WebAssembly. "
        f"decode.wasm has {result['wasm']['bytes']:,} bytes."
    )
    rows = [
        [
            f"{each['coder']}: {each['name']}" if each["coder"] != "file" else each["name"],
            f"{each['weights']:,}",
            f"{each['payload']:,} B",
            *(f"{each['ms'][way]:.1f}" for way in ("wasm", "portable", "best")),
            f"{each['millions_a_second']:.0f}",
            f"{each['memory']:,} B",
        ]
        for each in result["rows"]
    ]
    headings = ["", "weights", "payload", "wasm", "core, portable", "core, best", "wasm, million weights a second"]
    return [text, table([*headings, "memory"], rows)]


def computing(result: Result) -> list[str]:
    text = (
        "Milliseconds of one layer in WebAssembly on one thread, the median. ONNX Runtime Web computes from the dense "
        "weights; a cell is empty where it cannot hold them. A sequence holds the weights that are `chosen`. Packed "
        "convolutions above a density of 55 % make their rows dense for each run."
    )
    rows = [
        [
            f"{each['layer']}, input {' x '.join(map(str, each['input']))}",
            f"{each['density']:.1%}",
            *(f"{each[way]['median']:.3f}" if way in each else "" for way in ("packedMs", "denseMs", "ortMs")),
            "packed" if each["packs"] else "dense",
            f"{each['heldBytes']:,} B",
            f"{each['denseBytes']:,} B",
        ]
        for each in result["rows"]
    ]
    headings = ["", "density", "packed", "dense", "ONNX Runtime Web", "chosen", "packed weights", "dense weights"]
    return [text, table(headings, rows)]


def on_gpu(result: Result) -> list[str]:
    gpu = result["gpu"]
    name = " ".join(gpu[key] for key in ("vendor", "architecture", "description") if gpu[key])
    kind = "a GPU in software, whose speed says nothing of a real one" if gpu["software"] else "a GPU"
    text = (
        f"Milliseconds of fully connected layers of {result['network']} by WebGPU, on {name}: {kind}. The difference "
        "is the largest of the packed outputs from the dense ones, relative to the largest output."
    )
    rows = [
        [
            f"{each['layer']}, {each['count']} vector{'s' if each['count'] > 1 else ''}",
            f"{each['survivors'] / each['rows'] / each['cols']:.1%}",
            *(f"{each[kind]['milliseconds']:.3f}" for kind in ("packed", "dense")),
            *(f"{each[kind]['bytes']:,} B" for kind in ("packed", "dense")),
            f"{each['difference']:.1e}",
        ]
        for each in result["rows"]
    ]
    return [text, table(["", "density", "packed", "dense", "packed weights", "dense weights", "difference"], rows)]


def page_bytes(result: Result) -> list[str]:
    blocks = [" ".join(result["notes"])]
    for network, found in result["networks"].items():
        rows = [[way, *(f"{each[key]:,}" for key in ("plain", "gzip", "brotli"))] for way, each in found.items()]
        blocks += [f"## {network}", table(["bytes", "plain", "gzip", "brotli"], rows)]
    files = {
        each["file"]: each for ways in result["networks"].values() for way in ways.values() for each in way["files"]
    }
    rows = [[name, *(f"{each[key]:,}" for key in ("plain", "gzip", "brotli"))] for name, each in files.items()]
    return [*blocks, "## Files", table(["bytes", "plain", "gzip", "brotli"], rows)]
