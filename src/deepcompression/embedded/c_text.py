"""Parts of C source: names, comments, numbers and arrays; the same values always give the same text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 100

_KEYWORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long main "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void "
    "volatile while"
)


# files and functions of these names are there already
_TAKEN = "dcz nn rows patch error_text main string stdint stddef stdlib stdio float math limits time"


def identifier(text: str) -> str:
    """A C name, in lower case, from any text."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower().encode("ascii", "ignore").decode()).strip("_")
    taken = name in (*_KEYWORDS.split(), *_TAKEN.split()) or name.startswith(("dcz_", "nn_"))
    if not name or name[0].isdigit() or taken:
        name = f"net_{name}".rstrip("_")
    return name


def comment(text: str, indent: str = "") -> str:
    """A comment of any text: characters beyond ASCII are escaped, and none ends it early."""
    plain = text.encode("ascii", "backslashreplace").decode().replace("\\", "/").replace("*/", "* /")
    # a C99 compiler warns of the start of a comment within one
    plain = plain.replace("/*", "/ *")
    lines = textwrap.wrap(plain, WIDTH - len(indent) - 6, break_long_words=False) or [""]
    return f"{indent}/* " + f"\n{indent}   ".join(lines) + " */"


def number(value: Any) -> str:
    """An integer, or the float32 that reads back to the same bits."""
    if not isinstance(value, float | np.floating):
        return str(int(value))
    if np.isinf(value):
        return "3.402823466e+38f" if value > 0 else "-3.402823466e+38f"
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "uint16": "uint16_t", "int32": "int32_t"} | {
    "float32": "float"
}


def c_type(array: NDArray[Any]) -> str:
    return _TYPES[array.dtype.name]


def array(name: str, values: NDArray[Any], static: bool = True) -> str:
    """The definition of a constant array; one element at least, since C has no empty ones."""
    flat = values.reshape(-1) if values.size else np.zeros(1, values.dtype)
    # -2147483648 is no constant of C
    texts = ["-2147483647 - 1" if each == -(2**31) else number(each) for each in flat]
    head = f"{'static ' * static}const {c_type(values)} {name}[{len(flat)}] = {{"
    return f"{head}\n{lines(texts)}\n}};"


def lines(texts: Iterable[str], indent: str = "    ") -> str:
    """Texts with a comma behind each, in lines."""
    found: list[str] = []
    length = WIDTH
    for text in texts:
        if length + len(text) + 2 > WIDTH:
            found.append(f"{indent}{text},")
            length = len(found[-1])
        else:
            found[-1] += f" {text},"
            length += len(text) + 2
    return "\n".join(found)
