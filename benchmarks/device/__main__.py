"""Layers and networks of device/ on emulated boards -> benchmarks/results/device.json: `python -m benchmarks.device`.

Needs the tools of `make device-tools`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from typing import Any

from benchmarks.device.boards import BOARDS_OF, TOOLS, need_tools
from benchmarks.device.layer import measure_layer
from benchmarks.device.networks import SUBJECTS, TOLERANCE, measure_network
from benchmarks.device.prices import measure_prices
from benchmarks.environment import demand, main

# Instructions of one layer at most, by the way of holding weights and the board; and what to aim at.
MOST_INSTRUCTIONS = {"packed": {"M0+": 36_000, "M4F": 25_000}, "coded": {"M0+": 125_000, "M4F": 90_000}}
SMALL_TEXT = 8 << 10
LENET_FLASH = 20 << 10
BESIDE_ACTIVATIONS = 1536

# The code of an M3 is that of an M4 without floating point.
NETWORK_BOARDS = tuple(name for name in BOARDS_OF if name != "M3")


def _versions() -> dict[str, str]:
    """The first number that each tool prints."""
    found = {}
    for tool in TOOLS:
        printed = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
        number = re.search(r"\d+\.\d+(\.\d+)?", printed)
        found[tool] = number[0] if number else "unknown"
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    need_tools()
    result: dict[str, Any] = {"versions": _versions(), "layer": measure_layer(), **measure_prices(), "networks": {}}
    for name in SUBJECTS:
        for kind in ("int8", "float32"):
            for way in ("coded", "packed"):
                print(f"{name}, {kind}, {way}", file=sys.stderr)
                found = measure_network(name, kind == "int8", way, NETWORK_BOARDS)
                result["networks"][f"{name}, {kind}, {way}"] = found
    result["demands"] = demands(result)
    return result


def demands(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the result must show."""
    made = []
    instructions = result["layer"]["instructions"]
    for way, limits in MOST_INSTRUCTIONS.items():
        for board, most in limits.items():
            found = instructions[board][f"int8, {way}"]
            made.append(demand(f"layer, int8, {way}, {board}: at most {most:,} instructions", found, found <= most))
    small = result["small"]["int8"]
    made.append(demand("container, coder `device`, Linear, Conv, int8, M0+: below 8,192 B", small, small < SMALL_TEXT))
    lenet = result["networks"]["LeNet-5, int8, coded"]["boards"].values()
    flash = max(each["flash"] for each in lenet)
    made.append(demand("LeNet-5, int8, coded: at most 20,480 B of flash on every board", flash, flash <= LENET_FLASH))
    for name, network in result["networks"].items():
        boards = network["boards"]
        most = network["largest pair"] + BESIDE_ACTIVATIONS
        found = max(each["ram"] for each in boards.values())
        made.append(demand(f"{name}: memory of at most the largest pair + 1.5 KB, {most:,} B", found, found <= most))
        exact = 0 if "int8" in name else TOLERANCE
        same = all(
            each["difference"] <= exact and each["same class as in Python"] == each["inputs"]
            for each in boards.values()
        )
        what = "every bit" if exact == 0 else f"to {TOLERANCE:g}"
        made.append(demand(f"{name}: outputs as in Python on every board, {what}", "yes" if same else "no", same))
    return made


if __name__ == "__main__":
    sys.exit(main("device", measure, {}))
