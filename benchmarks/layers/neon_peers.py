"""Instructions of products on 64-bit ARM beside those of others, counted under emulation by `core/cross/peers`.

Batch 1, one thread, the nine layers of `benchmarks.layers`. Ours is what would be packed for NEON; beside it plain C++
on dense int8, and the wheels for ARM of other libraries. What a library's call takes on a tiny layer is taken off.
Libraries multiply rows one like the other: of a large layer they get some of the rows, evenly chosen, and half of
these. The other rows take what the second half takes. `CHECKED` is counted in full too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np

from benchmarks.environment import RESULTS, ROOT, environment, write_result
from benchmarks.layers import ours as layer_ours
from benchmarks.layers.neon_instructions import BUILD, COMPILER, EMULATOR, NO_SDOT, SDOT, counted, version
from benchmarks.layers.peers import FP32, INT4, INT8, SPARSE
from deepcompression.packed import packing

NAME = "neon_peers"
PYTHON = ROOT / "build" / "cross" / "python"
REQUIREMENTS = ROOT / "core" / "cross" / "requirements.txt"
CPUS = {"without sdot": NO_SDOT, "with sdot": SDOT}

# Libraries multiply layers of so many weights in full, and so many weights of others, in whole tiles of rows.
WHOLE, PART, TILE = 3_000_000, 1 << 20, 64
CHECKED = "AlexNet fc8"

# kind of ours -> the grid of its codebook, its activations
OURS = {
    layer_ours.FLOAT32: (None, "float32"),
    layer_ours.GRID: ("int8", "float32"),
    layer_ours.INT8: (None, "int8"),
}
DENSE = {"plain C++ int8, the compiler's loop": "loop", "plain C++ int8, four rows at once": "unrolled"}
# Those of the tables of peers that have kernels for ARM, and the plainest of each library.
LIBRARIES = (
    "torch fp32",
    "torch fp32, oneDNN packed",
    "torch int8, qnnpack",
    "torch int8 weights",
    "scipy",
    "ONNX Runtime fp32",
    "ONNX Runtime int8, dynamic",
    "ONNX Runtime int8, static",
    "ONNX Runtime 8 bits, block 128",
    "ONNX Runtime int4, block 32, accuracy 4",
    "ONNX Runtime int4, block 128, accuracy 4",
    "LiteRT fp32 (XNNPACK)",
    "LiteRT int8 (XNNPACK)",
    "LiteRT int4 (XNNPACK)",
)
AGAINST = {
    "best dense fp32": (FP32,),
    "best int8": (INT8,),
    "best int4": (INT4,),
    "best int8 / int4": (INT8, INT4),
    "best sparse": (SPARSE,),
}
LIMITS = (
    "counted, not timed: how many instructions a CPU executes at once, and what each takes, is not counted",
    "caches and memory are not emulated, where weights of a tenth of the bytes would help",
    "batch 1, one thread; preparing x and writing y are counted, packing is not",
    "libraries multiply some rows of large layers; what the other rows take follows from half of these",
    "what a call of a library takes on 16 x 128 weights is taken off; nothing is taken off ours",
    "no CPU with i8mm, SVE or SME is emulated",
)

# CPU -> name -> instructions of a product
Counts = dict[str, dict[str, int]]


def of_ours(layer: str) -> Counts:
    """Ours, packed as for NEON."""
    weights = layer_ours.weights(layer)
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for grid, activations in OURS.values():
            path = Path(folder) / str(len(lines))
            tensor = layer_ours.on_grid(weights, grid) if grid else weights
            packing.pack(tensor, activations, instruction_set="neon").tofile(path)
            lines.append(f"{path} neon {activations} 1")
        return {cpu: dict(zip(OURS, counted(lines, emulated), strict=True)) for cpu, emulated in CPUS.items()}


def of_plain(layer: str, cpu: str) -> dict[str, int]:
    """Dense int8 in C++."""
    rows, columns, _ = layer_ours.LAYERS[layer]
    program = "dense_neon_dot" if cpu == "with sdot" else "dense_neon"
    return dict(
        zip(DENSE, counted([f"{rows} {columns} {kind}" for kind in DENSE.values()], CPUS[cpu], program), strict=True)
    )


def rows_counted(layer: str, whole: int = WHOLE) -> int:
    """How many rows of a layer the libraries multiply."""
    rows, columns, _ = layer_ours.LAYERS[layer]
    return rows if rows * columns <= whole else max(TILE, PART // columns // TILE * TILE)


def of_libraries(layer: str, cpu: str, chosen: int) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """The instructions of others, from so many rows, and what each says: kind and error, or why it failed."""
    emulated, counts, said = CPUS[cpu], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weight.npy"
        weight = layer_ours.weights(layer).numpy()
        np.save(path, weight[np.arange(chosen) * len(weight) // chosen])
        root = PYTHON / emulated
        command = [EMULATOR, "-cpu", emulated, "-plugin", str(BUILD / "count.so"), "-L", str(root)]
        command += [str(root / "usr/bin/python3.11"), "-m", "benchmarks.layers.neon_worker", str(path), *LIBRARIES]
        places = {"PYTHONPATH": f"{PYTHON / 'site'}:{ROOT}", "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(command, cwd=ROOT, env=os.environ | places, capture_output=True, text=True, check=True)
    numbers: list[int] = []
    for line in ran.stdout.splitlines():
        if re.fullmatch(r"\d+", line):
            numbers.append(int(line))
        elif line.startswith("{"):
            each = json.loads(line)
            name = each.pop("peer")
            said.setdefault(name, each)
            if len(numbers) == 3:
                full, half, small = numbers
                others = (full - half) * (len(weight) - chosen) / (chosen - chosen // 2)
                counts[name] = full + round(others) - small
            if len(numbers) == 3 or "failed" in each:
                numbers = []
    return counts, said


def measure(layer: str, result: dict[str, Any]) -> None:
    """Adds what others take on a layer."""
    found: Counts = {}
    for cpu in CPUS:
        libraries, said = of_libraries(layer, cpu, rows_counted(layer))
        found[cpu] = of_plain(layer, cpu) | libraries
        for name, each in said.items():
            if "failed" in each:
                result["missing"].setdefault(name, f"{layer}, {cpu}: {each['failed']}")
            else:
                result["kinds"][name] = each["kind"]
                result["errors"][name] = max(each["error"], result["errors"].get(name, 0.0))
        print(f"{layer}, {cpu}: " + ", ".join(f"{name} {count:,}" for name, count in found[cpu].items()), flush=True)
    result["rows"][layer] = rows_counted(layer)
    result["others"][layer] = result["commit"]
    result["layers"][layer] = found


def check(result: dict[str, Any]) -> None:
    """Adds the counts in full of the checked layer, by those of a part: CPU -> library -> a ratio about 1."""
    result["by part / in full"] = {}
    for cpu in CPUS:
        full, _ = of_libraries(CHECKED, cpu, layer_ours.LAYERS[CHECKED][0])
        scaled = result["layers"][CHECKED][cpu]
        result["by part / in full"][cpu] = {name: round(scaled[name] / count, 3) for name, count in full.items()}
        print(f"by part / in full, {cpu}: {result['by part / in full'][cpu]}", flush=True)


def means(layers: Mapping[str, Counts], kinds: Mapping[str, str]) -> dict[str, dict[str, dict[str, float]]]:
    """How many times ours the others' instructions are, geometric means over layers: CPU -> ours -> others."""

    def best(counts: Mapping[str, int], members: Iterable[str]) -> int:
        return min(count for name, count in counts.items() if name in members or kinds.get(name) in members)

    every = AGAINST | {name: (name,) for name in kinds}
    return {
        cpu: {
            ours: {
                against: round(
                    geometric_mean(best(each[cpu], members) / each[cpu][ours] for each in layers.values()), 3
                )
                for against, members in every.items()
                if all(
                    any(name in members or kinds.get(name) in members for name in each[cpu]) for each in layers.values()
                )
            }
            for ours in OURS
        }
        for cpu in CPUS
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="core/cross/peers", description=__doc__)
    parser.add_argument("--layers", nargs="+", default=list(layer_ours.LAYERS), choices=layer_ours.LAYERS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the result")
    return parser.parse_args()


def begun(arguments: argparse.Namespace) -> dict[str, Any]:
    """The result to which layers are added: that of before, if its libraries, tools and CPUs are those of now."""
    found = environment()
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", REQUIREMENTS.read_text(), re.MULTILINE))
    tools = {name: pinned[name] for name in ("torch", "onnxruntime", "ai-edge-litert", "scipy")}
    tools |= {"compiler": version(COMPILER), "emulator": version(EMULATOR)}
    found["versions"] |= tools
    fixed = {"command": "core/cross/peers", **found, "emulated": CPUS, "limits": LIMITS}
    path = arguments.out / f"{NAME}.json"
    if path.exists():
        result: dict[str, Any] = json.loads(path.read_text())
        same = all(result["versions"].get(name) == each for name, each in tools.items()) and result["emulated"] == CPUS
        if same and {*DENSE, *LIBRARIES} == result["kinds"].keys() | result["missing"].keys():
            return result | fixed
    # In "others", the commit at which a layer's others were counted.
    empty: dict[str, Any] = {"others": {}, "errors": {}, "missing": {}, "rows": {}, "layers": {}}
    return fixed | {"kinds": dict.fromkeys(DENSE, INT8)} | empty


def main() -> int:
    """Counts others on the layers that the result does not have yet, and ours on all; writes it after each."""
    arguments = parse()
    result = begun(arguments)
    for layer in arguments.layers:
        if layer not in result["layers"]:
            measure(layer, result)
            if layer == CHECKED:
                check(result)
        for cpu, ours in of_ours(layer).items():
            result["layers"][layer][cpu] |= ours
        write_result(NAME, result, arguments.out)
    result["layers"] = {layer: result["layers"][layer] for layer in layer_ours.LAYERS if layer in result["layers"]}
    result["times"] = means(result["layers"], result["kinds"])
    write_result(NAME, result, arguments.out)
    for cpu, ours in result["times"].items():
        for name, ratios in ours.items():
            print(f"{cpu}: {name}: " + ", ".join(f"{against} {ratio:.2f}" for against, ratio in ratios.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
