"""The form `word`: its bytes follow its header and are few, and its products and rows are those of the dense matrix."""

import numpy as np
import pytest
from packed_matrices import assert_close, dense_product, matrix, vectors
from word_twin import pairs_of, sections, weights_of

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.packed.word import word_shape
from deepcompression.tensors.tensor import CompressedTensor

SHAPES = [(0, 5), (3, 0), (1, 1), (40, 1), (5, 7), (37, 531), (2, 66000), (65535, 2), (65536, 2)]


def pack(tensor):
    packed = packing.pack(tensor, form="word")
    _core.check_packed(packed)
    return packed


def sparse(mask, centroids=16):
    """A matrix whose survivors are those of the mask."""
    positions = np.flatnonzero(mask).astype(np.int64)
    codebook = np.linspace(-1, 1, centroids, dtype=np.float32)
    return CompressedTensor(mask.shape, positions, codebook, (positions * 7 % centroids).astype(np.uint8))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", [1, 16, 17, 33, 256])
@pytest.mark.parametrize("density", [0, 0.002, 0.1, 1])
def test_the_bytes_mean_the_matrix(shape, density, centroids):
    tensor = matrix(*shape, density, centroids)
    packed = pack(tensor)
    assert np.array_equal(weights_of(packed), tensor.numpy())
    assert np.array_equal(multiply.rows(packed, 0, shape[0]), tensor.numpy())
    x = vectors(3, shape[1])
    assert_close(multiply.matmul(packed, x), x, tensor.numpy())


def test_rows_of_very_uneven_length():
    mask = np.zeros((300, 500), bool)
    mask[7] = True
    mask[100:103, ::7] = True
    mask[299, 499] = mask[0, 0] = True
    tensor = sparse(mask)
    packed = pack(tensor)
    assert np.array_equal(weights_of(packed), tensor.numpy())
    assert sections(packed).order[0, 0] == 7


@pytest.mark.parametrize("parts", [1, 2, 4, 8, 16, 32])
def test_rows_of_every_number_of_parts(parts):
    tensor = matrix(64, 100 * parts, 0.4, 16)
    packed = pack(tensor)
    assert word_shape(packing.header(packed)).parts == parts
    assert np.array_equal(weights_of(packed), tensor.numpy())


def test_few_rows_have_many_parts_rather_than_a_block_of_their_own():
    packed = pack(matrix(2, 3000, 0.2, 16))
    assert sections(packed).parts == 16
    assert packed.nbytes <= 2 * len(matrix(2, 3000, 0.2, 16).positions)


def test_the_shape_says_where_sections_begin():
    for tensor in (matrix(70, 1300, 0.2, 32), matrix(3, 66000, 0.01, 256), matrix(65536, 2, 0.1, 16)):
        packed = pack(tensor)
        shape, found = word_shape(packing.header(packed)), sections(packed)
        assert shape[:6] == (
            *(found.skip_bits, found.pair_bits, found.word_pairs),
            *(found.parts, found.block_rows, found.blocks),
        )
        assert shape.bytes == len(packed)
        assert (shape.row_bytes, shape.column_bytes) == (found.order.itemsize, found.part_columns.itemsize)
        behind = {"codebook": found.codebook, "order": found.order, "starts": found.starts, "words": found.words}
        for name, section in {**behind, "columns": found.part_columns}.items():
            assert packed[getattr(shape, name) :].tobytes().startswith(section.tobytes())
    with pytest.raises(ValueError, match="those of the form word; found weights packed in the form tile"):
        word_shape(packing.header(packing.pack(matrix(3, 3, 1, 2), form="tile")))


def fewest_bits(density, code_bits):
    """Bits of a survivor in pairs of the best width, where a filler takes a code of its own."""
    widths = []
    for skip_bits in range(1, 13):
        long = (1 - density) ** (2**skip_bits - 1)
        widths.append((code_bits + 1 + skip_bits) / (1 - long))
    return min(widths)


@pytest.mark.parametrize(("centroids", "code_bits"), [(16, 4), (256, 8)])
@pytest.mark.parametrize(
    ("rows", "columns", "density"),
    [*((1024, 1024, density) for density in (0.02, 0.04, 0.1, 0.25, 0.5, 1)), (1024, 4096, 0.02), (1024, 4096, 0.1)],
)
def test_all_bytes_are_at_most_1_3_times_what_codes_skips_and_fillers_need(
    rows, columns, density, centroids, code_bits
):
    tensor = matrix(rows, columns, density, centroids)
    packed = packing.pack(tensor, form="word")
    assert 8 * packed.nbytes <= 1.3 * fewest_bits(density, code_bits) * len(tensor.positions)


def test_many_parts_share_the_work_of_few_rows():
    found = sections(packing.pack(matrix(512, 4096, 0.25, 16), form="word"))
    assert found.parts == 32
    lengths = np.diff(found.starts.astype(int))
    assert lengths.min() >= 8
    skips = np.stack([skip for block in range(0, found.blocks, 16) for skip, _ in pairs_of(found, block)])
    assert (skips == 2**found.skip_bits - 1).mean() <= 0.15


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_bias_and_any_number_of_vectors_and_threads(threads):
    tensor = matrix(77, 900, 0.2, 16)
    packed, bias = pack(tensor), vectors(1, 77, seed=5)[0]
    for count in (0, 1, 2, 17):
        x = vectors(count, 900)
        found = multiply.matmul(packed, x, bias=bias, threads=threads)
        assert_close(found, x, tensor.numpy(), bias)
        assert np.array_equal(found, multiply.matmul(packed, x, bias=bias))
    assert np.array_equal(multiply.matmul(packed, x), multiply.matmul(packed, x, activations="int8"))


@pytest.mark.parametrize("threads", [1, 2])
def test_any_rows_in_any_order(threads):
    tensor = matrix(301, 997, 0.2, 16)
    packed, dense = pack(tensor), tensor.numpy()
    indices = np.random.default_rng(1).integers(0, 301, (40, 7))
    assert np.array_equal(multiply.gather(packed, indices, threads), dense[indices])
    assert np.array_equal(multiply.rows(packed, 151, 150, threads=threads), dense[151:])
    assert multiply.rows(packed, 301, 0).shape == (0, 997)


@pytest.mark.parametrize("density", [0.3, 1])
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(density):
    tensor = matrix(40, 300, density, 16)
    x = vectors(5, 300)
    x[0, 17], x[1, 299], x[2, 0] = np.inf, -np.inf, np.nan
    x[3, [1, 2]] = np.inf, -np.inf
    found = multiply.matmul(pack(tensor), x)
    expected = dense_product(x, tensor.numpy()).astype(np.float32)
    assert np.array_equal(found[:4], expected[:4], equal_nan=True)
    assert_close(found[4:], x[4:], tensor.numpy())


def test_fillers_add_nothing_beside_centroids_that_are_not_finite():
    mask = np.zeros((5, 40_000), bool)
    mask[:, [20_000, 39_999]] = True
    tensor = sparse(mask, 2)
    tensor = CompressedTensor(tensor.shape, tensor.positions, np.float32([np.nan, 2]), np.ones_like(tensor.codes))
    x = vectors(2, 40_000)
    assert_close(multiply.matmul(pack(tensor), x), x, tensor.numpy())


def test_2_to_the_31_survivors_are_refused():
    codes = np.zeros(1 << 31, np.uint8)  # no page of it is touched
    codebook = np.zeros(1, np.float32)
    big = _core.Matrix(1 << 16, 1 << 15, np.zeros(1, np.uint8), codes, codebook)
    digits = _core.Digits(0, 1.0, np.zeros(1, np.int16))
    with pytest.raises(ValueError, match=r"at most 2147483647 survivors .*found 2147483648 .*pack fewer rows at once"):
        _core.pack("word", big, digits)
