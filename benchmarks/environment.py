"""Benchmarks as commands: options, the result file, its demands; and the commit, versions and machine of a result."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
# The folder of restricted runs, and of downloads.
KEPT = ROOT / "build" / "benchmarks"


def environment(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Commit, whether the files differ from it, versions of `packages` (None if missing), machine."""
    return {
        **commit_of(ROOT),
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in ("deepcompression", "numpy", *packages)},
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.system()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit_of(checkout: Path) -> dict[str, Any]:
    """The commit of a checkout, and whether its files differ from it; results do not count."""
    results = ("reproduce/results", "benchmarks/results", "docs/results.md", "docs/results")
    excluded = (f":(top,exclude){place}" for place in results)

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", *excluded)
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}


def cpu_name() -> str:
    """The processor's name where the system has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":")[1].strip() for line in lines if "model name" in line)
    return next(names, platform.processor() or platform.machine())


def main(
    name: str | Callable[[argparse.Namespace], str],
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    options: Mapping[str, Any],
    parts: Iterable[str] = (),
    packages: Iterable[str] = (),
) -> int:
    """The command `python -m` of the running module: measures, writes `<name>.json`, prints the demands.

    name      of the result, or what gives it for the options
    measure   options -> the result, whose `versions` are added to those of `packages`
    options   flag or position -> its default, an integer, or what `add_argument` takes
    parts     options that leave something out: a run with one of them is not written as the result

    The exit code is 1 if a demand is not met.
    """
    module = sys.modules["__main__"]
    parser = argparse.ArgumentParser(description=module.__doc__)
    for flag, option in options.items():
        keywords = {"type": int, "default": option} if isinstance(option, int) else option
        parser.add_argument(flag, **keywords)
    parser.add_argument("--result", help="name of a run that is kept in build/benchmarks alone")
    arguments = parser.parse_args()
    chosen = {option: value for option, value in vars(arguments).items() if option != "result"}
    assert module.__spec__ is not None
    command = ["python", "-m", module.__spec__.name.removesuffix(".__main__"), *sys.argv[1:]]
    result = {"command": " ".join(command), **environment(packages), **chosen}
    found = measure(arguments)
    result["versions"] |= found.pop("versions", {})
    result |= found
    if arguments.result:
        print(write_result(arguments.result, result, KEPT))
    elif all(chosen[part] == parser.get_default(part) for part in parts):
        print(write_result(name if isinstance(name, str) else name(arguments), result, RESULTS))
    return conclude(result)


def write_result(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """`<name>.json` among the results."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def print_notes(result: Mapping[str, Any], console: Console) -> None:
    """A result's notes, and the reasons for parts that were skipped."""
    for note in result["notes"]:
        console.print(note)
    for name, reason in result["skipped"].items():
        console.print(f"SKIPPED {name}: {reason}", style="bold red")


def demand(text: str, found: object, met: bool) -> dict[str, Any]:
    """One thing that a result must show, and whether it does."""
    return {"demand": text, "found": found, "met": met}


def conclude(result: dict[str, Any]) -> int:
    """Prints the result's demands; the exit code: 1 if one of them is not met."""
    demands = result.get("demands", ())
    for each in demands:
        print(f"{'met   ' if each['met'] else 'MISSED'} {each['demand']}: {each['found']}")
    return 0 if all(each["met"] for each in demands) else 1
