"""Sizes and numbers as people give them, and ratios as people read them."""

from __future__ import annotations

import math
import re
from numbers import Real

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def parse_size(text: str) -> int:
    """`5MB`, `300 KiB`, `12345` -> bytes. Raises ValueError for anything else."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError(f"a size is a number with B, KB, MB, GB, KiB, MiB or GiB; found {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def number(word: str, value: object) -> float:
    """A number. Raises TypeError, which names it by `word`, for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{word} is a positive number; found {value!r}, a {type(value).__name__}")
    return float(value)


def positive(word: str, value: object) -> float:
    """A positive number. Raises TypeError for what is no number, ValueError for another one; both name it by `word`."""
    found = number(word, value)
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{word} is a positive number; found {value}")
    return found


def times_smaller(before: float, after: float) -> str:
    """Two sizes compared: `8.0 times smaller`, `2.0 times larger`."""
    small, large = sorted((before, after))
    ratio = f"{large / small:.1f}" if small else "infinitely many"
    return f"{ratio} times {'larger' if after > before else 'smaller'}"
