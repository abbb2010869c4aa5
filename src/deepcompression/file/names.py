"""Names that promise another format than `.dcz`."""

from __future__ import annotations

import os

from deepcompression.checkpoint.kinds import SUFFIXES

# checkpoints that can be read, and files of tensors that cannot
_OTHERS = (*SUFFIXES, ".npz", ".npy", ".h5", ".gguf", ".tflite", ".zip")


def other_format(path: str | os.PathLike[str]) -> str | None:
    """The ending of a name that belongs to another format, or None."""
    name = os.fspath(path).lower()
    return next((suffix for suffix in _OTHERS if name.endswith(suffix)), None)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raises ValueError for a name of another format: whoever opens such a file would take it for damaged."""
    if suffix := other_format(path):
        stem = os.fspath(path)[: -len(suffix)]
        raise ValueError(f"{path} has the name of a {suffix} file, and a .dcz file is written: name it {stem}.dcz")


def not_dcz(path: str | os.PathLike[str]) -> str:
    """What to do about a file of another format, by its name; else empty."""
    suffix = other_format(path)
    return f"; its name is that of a {suffix} file: dcz compress makes a .dcz file of it" if suffix in SUFFIXES else ""
