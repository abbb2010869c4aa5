"""Joins results of some layers and batches each into one: `python -m benchmarks.layers.join NAME PART...`.

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
OWN = {"command", "batch", "layers", "missing", "times", "demands"}


def join(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One result. Raises ValueError for parts that do not fit together."""
    first = parts[0]
    for part in parts[1:]:
        for key in first.keys() | part.keys():
            if key not in OWN and first.get(key) != part.get(key):
                raise ValueError(f"parts differ in {key}: {first.get(key)!r} and {part.get(key)!r}")
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, layer in part["layers"].items():
            found[name] = joined(found[name], layer) if name in found else layer
    missing = {name: reason for part in reversed(parts) for name, reason in part["missing"].items()}
    layers = {name: found[name] for name in LAYERS if name in found}
    kinds = first["kinds"]
    batch = sorted({each for part in parts for each in part["batch"]})
    own = {
        "batch": batch,
        "command": "; ".join(part["command"] for part in parts),
        "layers": layers,
        "missing": missing,
    }
    return first | own | {"times": means(layers, kinds), "demands": demands(layers, kinds)}


def joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """A layer of other batches each. Errors are the largest."""
    errors = {
        name: max(layer["errors"][name] for layer in (first, second) if name in layer["errors"])
        for name in first["errors"] | second["errors"]
    }
    cases = {name: first[name] | second[name] for name in ("ms", "rounds", "bytes")}
    return first | cases | {"errors": errors}


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
