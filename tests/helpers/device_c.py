"""Compiles C sources of device/ for this machine, under sanitizers, and runs what comes out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEVICE = ROOT / "device"
BUILT = ROOT / "build" / "device-tests"

CC = os.environ.get("CC", "cc")

# a later flag wins: `-fno-sanitize=all` among a caller's flags takes the sanitizers away
FLAGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-g", "-O1"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover", f"-I{DEVICE}"),
)


def compile(sources: Sequence[Path | str], flags: Sequence[str] = (), name: str = "program") -> Path:
    """The program of C sources, their paths from the project's root. It is compiled once for each content of theirs,
    of the headers of device/, and of the flags.
    """
    paths = [ROOT / source for source in sources]
    digest = hashlib.sha256(repr((CC, FLAGS, flags, paths)).encode())
    for path in [*paths, *sorted(DEVICE.rglob("*.h"))]:
        digest.update(path.read_bytes())
    program = BUILT / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        # another process may compile the same: each renames its own
        with tempfile.TemporaryDirectory(dir=BUILT) as folder:
            made = Path(folder) / "program"
            done = subprocess.run(
                [CC, *FLAGS, *flags, *map(str, paths), "-o", str(made)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            made.rename(program)
    return program


def run(program: Path, arguments: Sequence[str | Path] = (), given: bytes = b"") -> bytes:
    """What a program prints for the bytes at its standard input. Fails with a sanitizer's report."""
    done = subprocess.run([program, *map(str, arguments)], input=given, capture_output=True, check=False)
    assert done.returncode == 0, f"{program.name} ends with {done.returncode}: {done.stderr.decode()}"
    return done.stdout
