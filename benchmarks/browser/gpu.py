"""AlexNet's fully connected layers by WebGPU, packed and dense -> benchmarks/results/browser_gpu.json.

    python -m benchmarks.browser.gpu

Needs what `npm run build` makes in browser/, and the packages of browser/test/peers.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks.browser.node import measured, node_version
from benchmarks.environment import main


def measure(_: argparse.Namespace) -> dict[str, Any]:
    found = measured("gpu.mjs")
    return {"versions": {"node": node_version()}, **{key: found[key] for key in ("gpu", "network", "rows")}}


if __name__ == "__main__":
    sys.exit(main("browser_gpu", measure, {}))
