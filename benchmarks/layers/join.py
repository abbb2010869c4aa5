"""Joins results of some layers each into one: `python -m benchmarks.layers.join NAME PART...`.

The parts are runs of `python -m benchmarks.layers --result PART` with one commit and the same options.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.environment import KEPT, conclude, write_result
from benchmarks.layers.ours import LAYERS
from benchmarks.layers.ratios import demands, means

# What may differ between parts.
OWN = {"command", "layers", "missing", "times", "demands"}


def join(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One result. Raises ValueError for parts that do not fit together."""
    first = parts[0]
    for part in parts[1:]:
        for key in first.keys() | part.keys():
            if key not in OWN and first.get(key) != part.get(key):
                raise ValueError(f"parts differ in {key}: {first.get(key)!r} and {part.get(key)!r}")
    found = {name: layer for part in parts for name, layer in part["layers"].items()}
    missing = {name: reason for part in reversed(parts) for name, reason in part["missing"].items()}
    layers = {name: found[name] for name in LAYERS if name in found}
    kinds = first["kinds"]
    own = {"command": "; ".join(part["command"] for part in parts), "layers": layers, "missing": missing}
    return first | own | {"times": means(layers, kinds), "demands": demands(layers, kinds)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the result")
    parser.add_argument("parts", nargs="+", help="names of parts in build/benchmarks")
    arguments = parser.parse_args()
    result = join([json.loads((KEPT / f"{name}.json").read_text()) for name in arguments.parts])
    print(write_result(arguments.name, result))
    return conclude(result)


if __name__ == "__main__":
    raise SystemExit(main())
