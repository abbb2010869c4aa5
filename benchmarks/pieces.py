"""Long measurements in pieces: a command that is stopped goes on where it was, as long as nothing has changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.environment import KEPT, ROOT, commit_of, cpu_name
from deepcompression import _core

WITHIN: dict[str, Any] = {
    "type": float,
    "default": 3600.0,
    "help": "begin nothing after so many seconds; call again to go on",
}


class Pieces:
    """The results of a measurement's pieces, kept by name in `build/benchmarks`.

    They count only for the same `facts`, files of the checkout, core and CPU.
    """

    def __init__(self, name: str, within: float, *facts: object, folder: Path = KEPT) -> None:
        self._path = folder / f"{name}-pieces.json"
        self._end = time.monotonic() + within
        self._state = state(*facts)
        kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._found: dict[str, Any] = kept.get("pieces", {}) if kept.get("state") == self._state else {}

    def lacks(self, key: str) -> bool:
        return key not in self._found

    def of(self, key: str, measure: Callable[[], Any]) -> Any:
        """The piece, measured if need be. Raises SystemExit if it is too late to begin it."""
        if self.lacks(key):
            if time.monotonic() >= self._end:
                raise SystemExit(f"{len(self._found)} pieces are kept, next is {key}: call again to go on")
            self._found[key] = measure()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"state": self._state, "pieces": self._found}))
        return self._found[key]


def state(*facts: object) -> str:
    """A digest of all that results depend on."""
    changes = subprocess.run(["git", "diff", "HEAD"], cwd=ROOT, capture_output=True, check=False).stdout
    core = Path(str(_core.__file__)).read_bytes()
    parts = (repr((commit_of(ROOT)["commit"], cpu_name(), *facts)).encode(), changes, core)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
