"""The form `quad`: every kernel gives the bits of the form `window`. test_segments.py tests what it shares."""

import numpy as np
import pytest
import window_twin as twin
from packed_matrices import assert_close, dense_product, matrix, vectors
from slow_segments import FORMS, sections, unpacked

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.tensors.tensor import CompressedTensor

pytestmark = pytest.mark.usefixtures("instruction_set")

QUAD = FORMS["quad"]
SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (257, 511), (601, 1241)]
CENTROIDS = [1, 16, 17, 32, 33, 256]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_a_product_is_that_of_the_form_window_bit_for_bit(shape, centroids):
    tensor = matrix(*shape, 0.3, centroids)
    packed, window = QUAD.pack(tensor), packing.pack(tensor, "int8", form="window")
    x, bias = vectors(70, shape[1]), vectors(1, shape[0], seed=5)[0]
    for count in (0, 1, 16, 17, 63, 64, 65, 70):
        found = multiply.matmul(packed, x[:count], bias=bias, activations="int8")
        assert np.array_equal(found, multiply.matmul(window, x[:count], bias=bias, activations="int8"))


@pytest.mark.parametrize("centroids", CENTROIDS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_that_of_its_twin_bit_for_bit(centroids, bias):
    tensor = matrix(45, 1300, 0.2, centroids)
    packed = QUAD.pack(tensor)
    parts = sections(QUAD, packed)
    twin_of_it = twin.Window(
        unpacked(QUAD, packed)[0], parts.codebook, parts.digits.astype(np.int64)[None], packing.header(packed), 1
    )
    x, added = vectors(67, 1300), vectors(1, 45, seed=5)[0] if bias else None
    found = multiply.matmul(packed, x, bias=added, activations="int8")
    for y, vector in zip(found, x, strict=True):
        assert np.array_equal(y, twin.product(twin_of_it, vector, added, int8=True))


def test_digits_on_the_grid_are_taken_as_they_are():
    tensor = matrix(40, 300, 0.2, 16)
    codebook = (np.arange(-5, 11) * 0.25).astype(np.float32)
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, tensor.codes)
    packed = QUAD.pack(tensor)
    assert packing.header(packed).grid_bits == 8
    assert np.array_equal(sections(QUAD, packed).digits * np.float32(packing.header(packed).scale8), codebook)
    window = packing.pack(tensor, "int8", form="window")
    x = vectors(64, 300)
    assert np.array_equal(
        multiply.matmul(packed, x, activations="int8"), multiply.matmul(window, x, activations="int8")
    )


def test_sums_of_whole_blocks_of_the_largest_digits_are_exact():
    rows, columns = 5, 4096
    tensor = CompressedTensor(
        (rows, columns), np.arange(rows * columns), np.ones(1, np.float32), np.zeros(rows * columns, np.uint8)
    )
    x = np.ones((64, columns), np.float32)
    x[1::2] *= -1
    window = packing.pack(tensor, "int8", form="window")
    assert np.array_equal(
        multiply.matmul(QUAD.pack(tensor), x, activations="int8"), multiply.matmul(window, x, activations="int8")
    )


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-38, 1e-30, 1e30, 1e36])
def test_vectors_of_any_size_beside_others(size):
    tensor = matrix(40, 300, 0.3, 16)
    x = vectors(64, 300)
    x /= np.abs(x).max()
    x[1::3] *= np.float32(size)
    found, expected = multiply.matmul(QUAD.pack(tensor), x, activations="int8"), dense_product(x, tensor.numpy())
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 3e-2 * np.abs(other).max() + 300 * 2.0**-149


def test_rows_of_more_columns_than_integers_can_add_are_computed_in_floats():
    tensor = matrix(3, 70_000, 0.01, 16)
    x = vectors(3, 70_000)
    assert_close(multiply.matmul(QUAD.pack(tensor), x, activations="int8"), x, tensor.numpy())


def test_digits_that_do_not_fit_are_refused():
    one = _core.Matrix(1, 8, np.ones(1, np.uint8), np.zeros(1, np.uint8), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="between -127 and 127"):
        _core.pack("quad", one, _core.Digits(0, 1.0, np.array([1, 128], np.int16)))
    with pytest.raises(ValueError, match="one digit a centroid"):
        _core.pack("quad", one, _core.Digits(0, 1.0, np.ones(1, np.int16)))
