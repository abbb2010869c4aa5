"""The form `factored`: its choice and its exactness. test_segments.py tests what it shares."""

import numpy as np
import pytest
from packed_matrices import assert_close, matrix, vectors
from slow_segments import FORMS

from deepcompression.packed import multiply, packing
from deepcompression.tensors.tensor import CompressedTensor

pytestmark = pytest.mark.usefixtures("instruction_set")

FACTORED = FORMS["factored"]
MANY = 1000


@pytest.mark.parametrize(
    ("density", "centroids", "form"), [(0.5, 16, "factored"), (0.5, 256, "window"), (0.01, 16, "window")]
)
def test_it_is_chosen_where_it_pays(instruction_set, density, centroids, form):
    tensor = matrix(30, 400, density, centroids)
    for activations, fastest in (("float32", ("portable", "avx2")), ("int8", ("portable",))):
        expected = form if instruction_set in fastest else "window"
        assert packing.header(packing.pack(tensor, activations)).form == expected
    assert packing.header(packing.pack(tensor, batch=MANY)).form == "panel"


def test_centroids_that_are_not_finite_are_refused():
    tensor = matrix(30, 400, 0.5, 16)
    codebook = tensor.codebook.copy()
    codebook[3] = np.inf
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, tensor.codes)
    assert packing.header(packing.pack(tensor)).form == "window"
    with pytest.raises(ValueError, match="finite"):
        FACTORED.pack(tensor)


@pytest.mark.parametrize("density", [0.1, 1])
def test_vectors_whose_sums_of_four_overflow_are_multiplied(density):
    tensor = matrix(40, 300, density, 16)
    small = CompressedTensor(tensor.shape, tensor.positions, tensor.codebook * np.float32(1e-3), tensor.codes)
    x = np.full((2, 300), 3e38, np.float32)
    x[1, ::2] *= -1
    assert_close(multiply.matmul(FACTORED.pack(small), x), x, small.numpy())


@pytest.mark.parametrize("columns", [25088, 70000])
def test_rows_in_which_all_survive_are_as_exact(columns):
    tensor = matrix(5, columns, 1, 16)
    x = np.abs(vectors(2, columns))
    codebook = np.abs(tensor.codebook)
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, tensor.codes)
    assert_close(multiply.matmul(FACTORED.pack(tensor), x), x, tensor.numpy())


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_vector_of_zeros_gives_the_bias(zero):
    bias = vectors(1, 40, seed=5)[0]
    x = np.full((1, 300), zero, np.float32)
    assert np.array_equal(multiply.matmul(FACTORED.pack(matrix(40, 300, 0.3, 16)), x, bias=bias)[0], bias)
