"""Random matrices, vectors to multiply them by, and references for their products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.tensors.tensor import CompressedTensor

Floats = NDArray[np.float32]


def matrix(rows: int, columns: int, density: float, centroids: int, seed: int = 0) -> CompressedTensor:
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(rows * columns) < density).astype(np.int64)
    codebook = np.sort(rng.standard_normal(centroids)).astype(np.float32)
    codes = rng.integers(0, centroids, len(positions)).astype(np.uint8)
    return CompressedTensor((rows, columns), positions, codebook, codes)


def vectors(count: int, columns: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, columns)).astype(np.float32)


def assert_close(found: Floats, x: Floats, dense: Floats, bias: Floats | int = 0) -> None:
    expected = x.astype(np.float64) @ dense.astype(np.float64).T + bias
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= 1e-6 * np.abs(expected).max(initial=0)


def dense_product(x: Floats, dense: Floats) -> NDArray[np.float64]:
    """Each weight times each x, infinities and NaNs too."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.stack([(dense.astype(np.float64) * vector).sum(1) for vector in x.astype(np.float64)])


def refuses(use: Callable[..., Any], *arguments: Any) -> bool:
    try:
        use(*arguments)
    except ValueError:
        return True
    return False


def survives(packed: NDArray[np.uint8], vectors_of: Callable[[int], Floats]) -> bool:
    """Whether spoilt packed weights pass the check. If their header is sound, products by `vectors_of(columns)` must
    end, whatever the check says.
    """
    try:
        facts = packing.header(packed)
    except ValueError:
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(packed)
        return False
    with np.errstate(all="ignore"):
        # bytes that claim many rows may have them: the results would take long to write
        for activations in packing.ACTIVATIONS if facts.rows < 10000 else ():
            multiply.matmul(packed, vectors_of(facts.columns), activations=activations, threads=2)
    try:
        _core.check_packed(packed)
    except ValueError:
        return False
    return True
