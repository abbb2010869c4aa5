"""Layers in WebAssembly, packed and dense, beside ONNX Runtime Web -> benchmarks/results/browser_compute.json.

    python -m benchmarks.browser.compute

Needs what `npm run build` makes in browser/, and the packages of browser/test/peers.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.browser.node import measured, node_version
from benchmarks.environment import main


def measure(_: argparse.Namespace) -> dict[str, Any]:
    found = measured("compute.mjs")
    versions = {"node": node_version(), "onnxruntime-web": found["onnxruntimeWeb"]}
    return {"versions": versions, "rows": found["results"]}


if __name__ == "__main__":
    sys.exit(main("browser_compute", measure, {}))
