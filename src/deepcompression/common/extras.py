"""Packages that only a part of this one needs, and the extra of `pip install` that brings each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# package -> extra, in pyproject.toml
EXTRAS = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "transformers": "transformers",
    "lightning": "lightning",
    "accelerate": "accelerate",
    "pynvml": "gpu",
}


@contextmanager
def named_extra() -> Iterator[None]:
    """Names the extra that is missing, where Python would say `No module named 'torch'`; also a decorator.

    Raises ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise ModuleNotFoundError(
            f"this needs the package {package}, which is not installed: pip install "
            f"'deepcompression[{EXTRAS[package]}]'",
            name=error.name,
        ) from None
