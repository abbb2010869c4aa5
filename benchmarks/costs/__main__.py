"""Measures what layers cost, dense and from packed weights, and writes the table by which `dc.run` decides what pays.

Each instruction set is forced in a process of its own, in the libraries of dense products as well as in the core.
Times of neon follow from counted instructions. The whole takes about two minutes. `--within 60` begins no further
process after 60 s: the next call goes on, and the last one writes the table.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.costs import fit, neon
from benchmarks.environment import ROOT, environment
from benchmarks.pieces import WITHIN, Pieces
from deepcompression import _core
from deepcompression.packed.costs import TABLE, Costs, cpu_id

THREADS = (1, 2)
# Instruction set -> the variables that hold torch's libraries to it.
FORCED = {
    "avx512": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "portable": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")

WORK = """
import json, sys
from benchmarks.costs.measure import work
json.dump(work(sys.argv[1], int(sys.argv[2])), open(sys.argv[3], "w"))
"""


def caches() -> list[int]:
    """The bytes of this CPU's second and third cache, 1 and 32 MiB if the system does not say."""
    found = []
    for index, usual in (("index2", 1 << 20), ("index3", 32 << 20)):
        size = CACHES / index / "size"
        found.append(int(size.read_text().strip().removesuffix("K")) << 10 if size.exists() else usual)
    return found


def rows_of(instruction_set: str, threads: int) -> list[fit.Row]:
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-c", WORK, instruction_set, str(threads), file.name]
        subprocess.run(command, cwd=ROOT, env=os.environ | FORCED[instruction_set], check=True)
        rows: list[fit.Row] = json.load(file)
    return rows


def measure(sets: list[str], pieces: Pieces) -> dict[str, Any]:
    """The table, with new times of some instruction sets; those of others stay as they are in the table."""
    old = json.loads(TABLE.read_text()) if TABLE.exists() else {"sets": {}, "errors": {}}
    command = ["python -m benchmarks.costs"] + (["--sets", *sets] if sets != [*FORCED] else [])
    result: dict[str, Any] = {"command": " ".join(command), **environment(["torch"])}
    result["machine"]["id"] = cpu_id()
    result |= {"caches": caches(), "errors": old["errors"], "sets": old["sets"]}
    for name in sets:
        result["sets"][name], result["errors"][name], found = {}, {}, {}
        for threads in THREADS:
            rows = pieces.of(f"{name}, threads {threads}", functools.partial(rows_of, name, threads))
            sizes = tuple(result["caches"])
            lines = result["sets"][name][str(threads)] = fit.lines(rows, sizes)
            result["errors"][name] = {"close": 0.0}
            costs = Costs(result, name, threads, cpu_id())
            lines |= fit.steps(rows, costs, sizes)
            for group, each in fit.errors(rows, costs).items():
                found.setdefault(group, []).extend(each)
        result["errors"][name] = fit.stated(found)
        print(name, result["errors"][name], flush=True)
    if "avx2" in result["sets"]:
        result["sets"]["neon"], result["errors"]["neon"] = neon.counted(result["sets"]["avx2"])
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    own = [each for each in FORCED if each in _core.instruction_sets()]
    parser.add_argument("--sets", nargs="+", choices=own, default=own, help="instruction sets to measure")
    parser.add_argument("--within", **WITHIN)
    arguments = parser.parse_args()
    found = measure(arguments.sets, Pieces("costs", arguments.within))
    TABLE.write_text(json.dumps(found, separators=(",", ":")).replace('"sets"', '\n"sets"') + "\n")
