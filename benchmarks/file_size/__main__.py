"""Bytes of our profiles beside those of others, on the same tensors; says which demands on size are met.

`make benchmarks` installs what it needs and runs it. Exit code 1 if a demand is not met.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import tensors as measured
from benchmarks.environment import demand, main, print_notes
from benchmarks.file_size.nncodec_size import RELEASE
from benchmarks.file_size.peers import Peers, dense_size
from benchmarks.packages import PACKAGES, available
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import nonzero_bits
from deepcompression.tensors.tensor import CompressedTensor, Tensor

PROFILES = ("fast", "small", "paper")
COLUMNS = {
    "fast": "fast",
    "small": "small",
    "bound": "order-0 bound",
    "paper": "paper's layout",
    "zstd": "zstd -19",
    "xz": "xz -9e",
    "deepcabac": "DeepCABAC",
}
NOTES = (
    "All sizes are bytes. A row counts a tensor's positions, codes and centroids. zstd, xz and DeepCABAC get raw "
    "float32 centroids. The bound N * H(density) + survivors * H(codes) has none.",
    "A row `whole` counts a whole file. Ours and the paper's layout are `.dcz` files with biases, index and checksums. "
    "The others get no container, and for biases the least of raw, zstd and xz.",
    "The paper's layout is the profile `paper`: Huffman codes, and the gap width that gives the smallest payload. zstd "
    "and xz get a byte for each element (0: pruned, else code + 1). With 256 centroids they get the mask's bits and a "
    "byte for each survivor.",
    "DeepCABAC gets the settings of nncodec that make each tensor smallest. Its headers are not counted.",
    "The pretrained layers are pruned by magnitude and shared without retraining. Of MiniLM's six equal blocks, 0, 3 "
    "and 5 are measured.",
)

Group = dict[str, Tensor]
Sizes = dict[str, int]


def groups() -> dict[str, Callable[[], Group]]:
    """The name of each group, and the function that makes its tensors; it may raise UnavailableError."""

    def synthetic() -> Group:
        return {
            "AlexNet fc6": measured.alexnet_fc6(),
            "VGG-16 fc6": measured.vgg16_fc6(),
            "conv 512x512x3x3": measured.convolution(),
        }

    made: dict[str, Callable[[], Group]] = {"squeezenet": measured.squeezenet, "synthetic": synthetic}
    for name, network in measured.lenets().items():
        made[name] = partial(dict, network)
    for name in PACKAGES:
        made[name] = partial(_package, name)
    return made


def _package(name: str) -> Group:
    return {layer.removeprefix(f"{name}/"): tensor for layer, tensor in measured.pretrained(name)}


def check_exact(file: DczFile, tensors: Group) -> None:
    """Raises ValueError if a tensor comes back with other bits."""
    for name, tensor in tensors.items():
        saved, found = tensor.dense().elements, file.read(name).dense().elements
        if saved.shape != found.shape or saved.tobytes() != found.tobytes():
            raise ValueError(f"{file.path}: {name} came back changed")


def measure(tensors: Group, peers: Peers) -> dict[str, Any]:
    """The `layers` of a group, and the `whole`."""
    shared = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, CompressedTensor)}
    sizes: dict[str, Sizes] = {name: {} for name in shared}
    coders: dict[str, dict[str, str]] = {name: {} for name in shared}
    whole: Sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for profile in PROFILES:
            path = Path(folder) / f"{profile}.dcz"
            save_tensors(path, tensors, profile=profile)
            whole[profile] = path.stat().st_size
            with DczFile(path) as file:
                check_exact(file, tensors)
                for name in shared:
                    sizes[name][profile] = file.entries[name].length
                    coders[name][profile] = file.entries[name].coder
    others = sum(dense_size(tensor.elements) for tensor in tensors.values() if not isinstance(tensor, CompressedTensor))
    for name, tensor in shared.items():
        sizes[name] |= peers.sizes(tensor)
    for peer in set(COLUMNS) - set(whole):
        whole[peer] = sum(each[peer] for each in sizes.values()) + others
    layers = [
        {
            "name": name,
            "shape": list(tensor.shape),
            "survivors": int(nonzero_bits(tensor.codebook)[tensor.codes].sum()),
            "centroids": len(np.unique(tensor.codes)),
            "bytes": {column: sizes[name][column] for column in COLUMNS},
            "coders": coders[name],
            "deepcabac": peers.deepcabac(tensor)["settings"],
        }
        for name, tensor in shared.items()
    ]
    return {"layers": layers, "whole": {column: whole[column] for column in COLUMNS}}


def demands(found: dict[str, Any], skipped: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The demands on sizes."""
    for profile, limit in (("fast", 545_000), ("small", 515_000)):
        size = found["squeezenet"]["whole"][profile]
        yield demand(f"squeezenet: `{profile}` at most {limit:,} B", f"{size:,} B", size <= limit)
    for layer in found["synthetic"]["layers"][:2]:
        for profile, permille in (("fast", 15), ("small", 6)):
            size, bound = layer["bytes"][profile], layer["bytes"]["bound"]
            text = f"{layer['name']}: `{profile}` at most {permille / 10} % over the bound"
            yield demand(text, f"{100 * (size / bound - 1):+.2f} %", 1000 * size <= bound * (1000 + permille))
    for ours, theirs in (("fast", "paper"), ("small", "deepcabac")):
        for name in (*found, *skipped):
            if name in ("squeezenet", "synthetic"):
                continue
            what = f"{name}: `{ours}` smaller than {COLUMNS[theirs]}"
            if name in skipped:
                yield demand(f"{what} on every layer", f"not measured: {skipped[name]}", False)
                continue
            layers = {layer["name"]: layer["bytes"] for layer in found[name]["layers"]}
            if name in PACKAGES:
                ratios = {layer: each[ours] / each[theirs] for layer, each in layers.items()}
                larger = [layer for layer, ratio in ratios.items() if ratio >= 1]
                text = f"{percent(min(ratios.values()))} to {percent(max(ratios.values()))}"
                text += f", not on {', '.join(larger)}" if larger else ""
                yield demand(f"{what} on every layer", text, not larger)
            else:
                ratio = sum(each[ours] for each in layers.values()) / sum(each[theirs] for each in layers.values())
                yield demand(f"{what}, all layers together", percent(ratio), ratio < 1)


def percent(ratio: float) -> str:
    """How much larger, of 1."""
    return f"{100 * (ratio - 1):+.1f} %"


def print_result(result: dict[str, Any], console: Console) -> None:
    table = Table("tensor", "shape", "survivors", *COLUMNS.values(), title="bytes")
    for name, group in result["groups"].items():
        for layer in group["layers"]:
            shape = "x".join(map(str, layer["shape"]))
            table.add_row(
                layer["name"], shape, str(layer["survivors"]), *(f"{size:,}" for size in layer["bytes"].values())
            )
        table.add_row(f"{name}, whole", "", "", *(f"{size:,}" for size in group["whole"].values()), end_section=True)
    console.print(table)
    print_notes(result, console)


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    peers = Peers(measured.CACHE)
    work = {name: lambda make=make: measure(make(), peers) for name, make in groups().items()}
    found, skipped = available(work, arguments.groups)
    result = {"notes": NOTES, "groups": found, "skipped": skipped}
    print_result(result, Console(width=200))
    versions = {"nncodec": RELEASE.partition("==")[2]}
    return result | {"versions": versions, "demands": [] if arguments.groups else list(demands(found, skipped))}


OPTIONS = {"groups": {"nargs": "*", "default": (), "help": "only these groups; then no demand is checked"}}

if __name__ == "__main__":
    raise SystemExit(main("file_size", measure_all, OPTIONS, ["groups"], ["zstandard", "onnx", "torch"]))
