"""The AVX-512 kernels of the form `window`: integers give the bits of the portable kernel, floats are exact enough."""

import numpy as np
import pytest
import window_twin as twin

from deepcompression import _core
from deepcompression.packed import multiply, packing
from tests.core.packed.test_window import random_mask

pytestmark = pytest.mark.skipif("avx512" not in _core.instruction_sets(), reason="this CPU has no AVX-512")

SHAPES = [(1, 1), (5, 7), (16, 63), (17, 64), (37, 131), (64, 1000), (250, 640)]


@pytest.fixture(autouse=True)
def unforced():
    yield
    _core.force_instruction_set("")


def product(instruction_set, *args, **options):
    _core.force_instruction_set(instruction_set)
    return multiply.matmul(*args, **options)


@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
@pytest.mark.parametrize("centroids", [7, 16, 32, 100, 256])
@pytest.mark.parametrize(("grid_bits", "activations"), [(0, "int8"), (8, "float32"), (16, "float32")])
@pytest.mark.parametrize("shape", SHAPES)
def test_integers_give_the_bits_of_the_portable_kernel(shape, grid_bits, activations, centroids, layout):
    rng = np.random.default_rng(2)
    for density in (0.04, 0.3, 1):
        packed, _ = twin.pack(random_mask(shape, density), centroids, grid_bits, layout)
        x = rng.standard_normal((5, shape[1])).astype(np.float32)
        bias = rng.standard_normal(shape[0]).astype(np.float32)
        expected = product("portable", packed, x, bias=bias, activations=activations)
        found = product("avx512", packed, x, bias=bias, activations=activations)
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("vectors", [*range(1, 71)])
@pytest.mark.parametrize(("grid_bits", "activations"), [(0, "int8"), (8, "float32"), (16, "float32")])
def test_so_do_batches(vectors, grid_bits, activations):
    packed, _ = twin.pack(random_mask((70, 3000), 0.1), 16, grid_bits, "by_row")
    x = np.random.default_rng(3).standard_normal((vectors, 3000)).astype(np.float32)
    expected = product("portable", packed, x, activations=activations)
    for threads in (1, 2):
        found = product("avx512", packed, x, activations=activations, threads=threads)
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
@pytest.mark.parametrize("centroids", [7, 16, 32, 100, 256])
@pytest.mark.parametrize("shape", [*SHAPES, (20, 25088)])
def test_floats_are_as_exact_as_float32_sums(shape, centroids, layout):
    rng = np.random.default_rng(4)
    for density in (0.04, 1):
        packed, dense = twin.pack(random_mask(shape, density), centroids, 0, layout)
        x = rng.standard_normal((7, shape[1])).astype(np.float32)
        bias = rng.standard_normal(shape[0]).astype(np.float32)
        expected = x.astype(np.float64) @ dense.astype(np.float64).T + bias
        for vectors in (1, 2, 7):
            found = product("avx512", packed, x[:vectors], bias=bias)
            assert np.abs(found - expected[:vectors]).max() <= 1e-6 * np.abs(expected).max()


def test_the_largest_sums_stay_exact():
    columns = 65536
    rng = np.random.default_rng(5)
    codes = np.zeros(2 * columns, np.uint8)
    bits = np.full(2 * columns // 8, 255, np.uint8)
    x = rng.uniform(0.9, 1, (1, columns)).astype(np.float32)
    for grid_bits, activations in ((0, "int8"), (8, "float32"), (16, "float32")):
        int8, int16 = np.array([-127], np.int16), np.array([-32639], np.int16)
        codebook = np.array([-32639 if grid_bits == 16 else -127], np.float32)
        digits = _core.Digits(grid_bits, 1, int8, 1, int16 if grid_bits == 16 else None)
        packed = _core.pack("window", _core.Matrix(2, columns, bits, codes, codebook), digits, "by_row")
        expected = product("portable", packed, x, activations=activations)
        found = product("avx512", packed, x, activations=activations)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("centroids", [16, 32, 256])
def test_spoilt_bytes_do_no_harm(centroids, activations):
    rng = np.random.default_rng(6)
    for grid_bits in (0, 8, 16):
        packed, _ = twin.pack(random_mask((40, 700), 0.2), centroids, grid_bits, "by_row")
        x = rng.standard_normal((9, 700)).astype(np.float32)
        for _ in range(50):
            spoilt = packed.copy()
            at = rng.integers(64, len(spoilt), 200)
            spoilt[at] = rng.integers(0, 256, 200)
            with np.errstate(all="ignore"):
                product("avx512", spoilt, x, activations=activations)
