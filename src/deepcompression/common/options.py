"""Options of public functions: each check names the option, and says what it takes and what was found."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np


def checked_flag(name: str, value: Any) -> bool:
    """Raises TypeError unless it is True or False; texts such as "no" count as true for Python."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is True or False; found {value!r}")
    return bool(value)


def checked_count(name: str, of: str, value: Any, least: int = 1) -> int:
    """Any kind of integer, NumPy's too, up to `sys.maxsize`. Raises ValueError for others, and for fewer than the
    least.
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool) or not least <= count <= sys.maxsize:
        bounds = f"from {least} to {sys.maxsize}" if count is not None and count > sys.maxsize else f"{least} or more"
        raise ValueError(f"{name} is a number of {of}, {bounds}; found {value!r}")
    return count


def checked_patterns(name: str, value: Any) -> tuple[str, ...]:
    """Raises TypeError unless it is several texts; a single text would count as its letters."""
    found = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    if found is None or not all(isinstance(each, str) for each in found):
        remedy = f"[{value!r}]" if isinstance(value, str) else "['fc*.weight'] or the like"
        raise TypeError(f"{name} is a list of patterns; found {value!r}: write {name}={remedy}")
    return found
