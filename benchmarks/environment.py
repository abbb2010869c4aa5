"""What every result names besides its numbers: command, commit, versions, machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def environment(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Commit, whether the files differ from it (results apart), versions of `packages` (None if missing), machine."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(
            _git(
                *("status", "--porcelain", "--untracked-files=no"),
                *(
                    ":(top,exclude)reproduce/results",
                    ":(top,exclude)benchmarks/results",
                    ":(top,exclude)docs/results.md",
                    ":(top,exclude)docs/results",
                ),
            )
        ),
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in ("deepcompression", "numpy", *packages)},
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.system()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def cpu_name() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":")[1].strip() for line in lines if "model name" in line)
    return next(names, platform.processor() or platform.machine())


def command(module: str) -> str:
    """The command line that runs now: that of `python -m <module>`."""
    return " ".join(["python", "-m", module, *sys.argv[1:]])


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """`<name>.json` among the results."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def demand(text: str, found: object, met: bool) -> dict[str, Any]:
    """One thing that a result must show, and whether it does."""
    return {"demand": text, "found": found, "met": met}


def conclude(result: dict[str, Any]) -> int:
    """Prints the result's demands; the exit code: 1 if one of them is not met."""
    for each in result["demands"]:
        print(f"{'met   ' if each['met'] else 'MISSED'} {each['demand']}: {each['found']}")
    return 0 if all(each["met"] for each in result["demands"]) else 1
