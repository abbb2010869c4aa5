"""The C sources of device/ that a generated network needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# in an installed package, and in the project's tree
_FOLDERS = (Path(__file__).parent / "device", Path(__file__).parents[3] / "device")

# A definition begins a line, unlike a call; a declaration ends in a semicolon before any brace.
_DEFINITION = re.compile(r"^(?!static)[a-z][\w *]*?\b(dcz_\w+)\s*\([^;{]*\)\s*\{", re.MULTILINE)
_CONSTANT = re.compile(r"^const [\w *]*?\b(dcz_\w+)\s*(?:\[[^\]]*\])*\s*=", re.MULTILINE)
_NAME = re.compile(r"\bdcz_\w+")
# those of folders are behind switches that no export sets
_INCLUDE = re.compile(r'^#include "([^"/]+)"', re.MULTILINE)


def device_folder() -> Path:
    """Where the sources are. Raises FileNotFoundError for a broken installation."""
    for folder in _FOLDERS:
        if (folder / "dcz.h").is_file():
            return folder
    raise FileNotFoundError(f"the C sources of boards are not in {_FOLDERS[0]}: install deepcompression again")


def needed_sources(texts: Iterable[str]) -> dict[str, str]:
    """The files, by name, that define what these C texts call, and what those call in turn; and their headers."""
    folder = device_folder()
    sources = {path.name: path.read_text() for path in sorted(folder.glob("*.c"))}
    makers = {
        made: name for name, text in sources.items() for made in (*_DEFINITION.findall(text), *_CONSTANT.findall(text))
    }
    headers = {path.read_text() for path in folder.glob("*.h")}
    found: dict[str, str] = {}
    waiting = list(texts)
    while waiting:
        text = waiting.pop()
        # headers declare everything
        called = [] if text in headers else _NAME.findall(_without_comments(text))
        names = {makers[each] for each in called if each in makers}
        for name in sorted({*names, *_INCLUDE.findall(text)} - found.keys()):
            if (path := folder / name).is_file():
                found[name] = path.read_text()
                waiting.append(found[name])
    return dict(sorted(found.items()))


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
