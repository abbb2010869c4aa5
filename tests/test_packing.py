"""Packed weights multiply like the dense matrix, on every instruction set."""

import numpy as np
import pytest

from deepcompression import _core, packing
from deepcompression.tensor import CompressedTensor


def matrix(rows, columns, density, centroids, seed=0):
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(rows * columns) < density).astype(np.int64)
    codebook = np.sort(rng.standard_normal(centroids)).astype(np.float32)
    codes = rng.integers(0, centroids, len(positions)).astype(np.uint8)
    return CompressedTensor((rows, columns), positions, codebook, codes)


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (64, 126)])
@pytest.mark.parametrize("centroids", [1, 16, 32, 33, 256])
def test_a_product_is_that_of_the_dense_matrix(shape, centroids, activations):
    tensor = matrix(*shape, 0.3, centroids)
    packed = packing.pack(tensor, activations)
    _core.check_packed(packed)
    x = np.random.default_rng(1).standard_normal((3, shape[1])).astype(np.float32)
    expected = x.astype(np.float64) @ tensor.numpy().astype(np.float64).T
    found = packing.matmul(packed, x, activations=activations)
    bound = 1e-6 if activations == "float32" else 3e-2
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= bound * np.abs(expected).max(initial=0)
