"""The Makefile says what a person needs to know before it works for minutes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def make(folder, *arguments):
    """Runs make in a copy that has no .venv."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "CMakeLists.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "core").mkdir()
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_an_old_python_is_refused_with_the_remedy_and_nothing_is_made(tmp_path):
    """Its version is made up: sys.version_info is patched before the Makefile's program."""
    old = tmp_path / "python3.10"
    patch = "import sys; sys.version_info = (3, 10, 13); sys.version = '3.10.13 (main)'; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nshift\nexec "{sys.executable}" -c "{patch}" "$1"\n')
    old.chmod(0o755)
    done = make(tmp_path, "demo", f"PYTHON={old}")
    assert done.returncode != 0
    assert re.search(
        r"Python 3\.11 or newer is needed; .* is 3\.10\.13\. Name another one: make clean, then", done.stderr
    )
    assert not (tmp_path / ".venv").exists()


def test_this_python_is_new_enough_and_the_demo_says_how_long_it_takes(tmp_path):
    done = make(tmp_path, "--dry-run", "demo", f"PYTHON={sys.executable}")
    assert "in about 5 minutes" in done.stdout
    program = (ROOT / "Makefile").read_text().partition("define NEW_ENOUGH\n")[2].partition("endef")[0]
    environment = os.environ | {"PYTHONPATH": ""}
    assert subprocess.run([sys.executable, "-c", program], check=False, env=environment).returncode == 0
