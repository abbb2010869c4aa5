"""The form `window`: its bytes follow core/packed/window/window.hpp, and every kernel multiplies like the slow twin."""

import itertools

import numpy as np
import pytest
import window_twin as twin
from packed_matrices import assert_close, vectors

from deepcompression import _core
from deepcompression.packed import multiply, packing

pytestmark = pytest.mark.usefixtures("instruction_set")

# none, one, primes, whole groups and blocks, and one more
SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (16, 63), (17, 127), (37, 131), (32, 126), (101, 211)]
DENSITIES = [0, 0.04, 0.3, 1]
CENTROIDS = [1, 2, 16, 17, 32, 33, 256]
# the grid of the codebook, and the activations
INTEGERS = [(0, "int8"), (8, "int8"), (16, "int8"), (8, "float32"), (16, "float32")]


def random_mask(shape, density, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def bits_of(floats):
    return np.ascontiguousarray(floats, np.float32).view(np.uint32)


def assert_the_bits_of_the_twin(packed, x, bias, activations, threads=1):
    window = twin.read(packed)
    found = multiply.matmul(packed, x, bias=bias, activations=activations, threads=threads)
    for vector, y in zip(x, found, strict=True):
        np.testing.assert_array_equal(bits_of(y), bits_of(twin.product(window, vector, bias, activations == "int8")))


@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_packed_bytes_are_as_described(centroids, layout):
    for shape, density in itertools.product(SHAPES, DENSITIES):
        packed, dense = twin.pack(random_mask(shape, density), centroids, 16, layout)
        _core.check_packed(packed)
        window = twin.read(packed)
        np.testing.assert_array_equal(window.weights(window.codebook), dense)
        np.testing.assert_array_equal(window.codebook[:centroids], (window.integers() * twin.SCALE16)[:centroids])


@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_integers_have_the_bits_of_the_twin(centroids, layout):
    for (grid_bits, activations), shape in itertools.product(INTEGERS, SHAPES[2:]):
        packed, _ = twin.pack(random_mask(shape, 0.3), centroids, grid_bits, layout)
        bias = vectors(1, shape[0], 2)[0]
        assert_the_bits_of_the_twin(packed, vectors(3, shape[1]), bias, activations)


@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_floats_are_as_exact_as_float32_sums(centroids, layout):
    for shape, density in itertools.product(SHAPES, DENSITIES):
        packed, dense = twin.pack(random_mask(shape, density), centroids, 0, layout)
        x, bias = vectors(3, shape[1]), vectors(1, shape[0], 2)[0]
        assert_close(multiply.matmul(packed, x, bias=bias), x, dense, bias)
        assert_close(multiply.matmul(packed, x[0]), x[0], dense)


@pytest.mark.parametrize("grid_bits", [0, 8, 16])
@pytest.mark.parametrize("density", [0.04, 1])
def test_long_rows_lose_no_digits(density, grid_bits):
    packed, dense = twin.pack(random_mask((20, 25088), density), 16, grid_bits, "by_row" if grid_bits else "by_slot")
    for x in (vectors(3, 25088), np.abs(vectors(3, 25088))):
        assert_close(multiply.matmul(packed, x), x, dense)
        assert_close(multiply.matmul(packed, x[0]), x[0], dense)


@pytest.mark.parametrize("grid_bits", [8, 16])
@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
def test_so_are_codebooks_on_a_grid(grid_bits, layout):
    for shape, density in itertools.product(SHAPES, DENSITIES):
        packed, dense = twin.pack(random_mask(shape, density), 16, grid_bits, layout)
        x = vectors(3, shape[1])
        assert_close(multiply.matmul(packed, x), x, dense)


def uneven(rows, columns):
    """A full row and a row of one survivor among empty ones, and many that differ."""
    mask = np.zeros((rows, columns), bool)
    mask[rows // 2] = True
    mask[rows // 3, columns // 2] = True
    mask[rows - rows // 4 :] = random_mask((rows // 4, columns), np.linspace(0, 1, rows // 4)[:, None])
    return mask


@pytest.mark.parametrize("layout", ["by_row", "by_slot"])
def test_rows_may_be_uneven(layout):
    mask = uneven(53, 379)
    for grid_bits, activations in INTEGERS:
        packed, _ = twin.pack(mask, 16, grid_bits, layout)
        assert_the_bits_of_the_twin(packed, vectors(2, 379), None, activations)
    packed, dense = twin.pack(mask, 16, 0, layout)
    x = vectors(2, 379)
    assert_close(multiply.matmul(packed, x), x, dense)


@pytest.mark.parametrize("grid_bits", [0, 8, 16])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_batches_of_any_size(grid_bits, activations):
    mask = random_mask((35, 200), 0.2)
    packed, dense = twin.pack(mask, 16, grid_bits, "by_slot" if activations == "float32" else "by_row")
    x = vectors(70, 200)
    single = np.stack([multiply.matmul(packed, vector, activations=activations) for vector in x])
    for count in range(71):
        found = multiply.matmul(packed, x[:count], activations=activations)
        if grid_bits or activations == "int8":
            np.testing.assert_array_equal(bits_of(found), bits_of(single[:count]))
        else:
            assert_close(found, x[:count], dense)


@pytest.mark.parametrize("grid_bits", [0, 8, 16])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_threads_do_not_change_a_bit(grid_bits, activations):
    # enough pairs times vectors for 4 threads
    packed, _ = twin.pack(
        random_mask((1200, 1000), 0.2), 16, grid_bits, "by_slot" if activations == "float32" else "by_row"
    )
    assert packing.header(packed).length * 9 > 4 * 2048
    for count in (1, 9):
        x = vectors(count, 1000)
        expected = multiply.matmul(packed, x, activations=activations)
        for threads in (2, 3, 4):
            found = multiply.matmul(packed, x, activations=activations, threads=threads)
            np.testing.assert_array_equal(bits_of(found), bits_of(expected))


@pytest.mark.parametrize(("grid_bits", "activations"), INTEGERS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_are_exact(grid_bits, activations, sign):
    columns = 65536
    int8, int16 = np.array([-127], np.int16), np.array([-32639], np.int16)
    codebook = np.array([-32639 if grid_bits == 16 else -127], np.float32)
    bits, codes = np.full(columns // 8, 255, np.uint8), np.zeros(columns, np.uint8)
    digits = _core.Digits(grid_bits, 1, int8, 1, int16 if grid_bits == 16 else None)
    packed = _core.pack("window", _core.Matrix(1, columns, bits, codes, codebook), digits, "by_row")
    x = (sign * np.random.default_rng(5).uniform(0.9, 1, columns)).astype(np.float32)
    digits = np.array([[-127], [-127], [-127]] if grid_bits == 16 else [[-127]])
    window = twin.Window(np.zeros((1, columns), np.int64), codebook, digits, packing.header(packed), 1)
    expected = twin.product(window, x, None, activations == "int8")
    np.testing.assert_array_equal(multiply.matmul(packed, x, activations=activations), expected)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="by_row, by_slot, digits24 or one_window; found by_column"):
        twin.pack(random_mask((3, 5), 0.5), 3, 0, "by_column")
