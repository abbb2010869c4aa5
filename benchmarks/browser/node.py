"""Measuring scripts that Node runs, in browser/benchmarks."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from benchmarks.environment import ROOT


def measured(script: str, *arguments: str) -> dict[str, Any]:
    """What a script prints as JSON; it says on stderr how far it is."""
    command = ["node", str(ROOT / "browser" / "benchmarks" / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def node_version() -> str:
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip().removeprefix("v")
