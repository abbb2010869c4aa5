"""The C sources of boards are in an installed package, where `dcz export` looks for them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deepcompression.embedded import device_sources

ROOT = Path(__file__).parents[2]


def test_an_installation_has_every_source(tmp_path, monkeypatch):
    """The rule that installs them runs alone: the core need not be built for it."""
    cmake = shutil.which("cmake")
    assert cmake, "cmake is in requirements.lock"
    assert "add_subdirectory(device)" in (ROOT / "CMakeLists.txt").read_text()
    lines = ("cmake_minimum_required(VERSION 3.20)", "project(alone LANGUAGES NONE)")
    (tmp_path / "CMakeLists.txt").write_text("\n".join([*lines, f"add_subdirectory({ROOT / 'device'} device)\n"]))
    for arguments in (
        ["-S", tmp_path, "-B", tmp_path / "build"],
        ["--install", tmp_path / "build", "--prefix", tmp_path],
    ):
        subprocess.run([cmake, *map(str, arguments)], check=True, capture_output=True)
    package = tmp_path / "deepcompression" / "embedded"
    installed, own = ({path.name for path in folder.glob("*.[ch]")} for folder in (package / "device", ROOT / "device"))
    assert installed == own
    monkeypatch.setattr(device_sources, "_FOLDERS", (package / "device", tmp_path / "nowhere"))
    assert device_sources.device_folder() == package / "device"
    assert "nn_pool_i8.c" in device_sources.needed_sources(["dcz_max_pool_i8(0);"])


def test_a_broken_installation_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(device_sources, "_FOLDERS", (tmp_path, tmp_path))
    with pytest.raises(FileNotFoundError, match="install deepcompression again"):
        device_sources.device_folder()
