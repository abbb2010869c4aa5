"""The forms `panel`, `quad` and `factored`: their bytes follow their headers, every kernel multiplies like the dense
matrix, and spoilt bytes are refused or harmless.
"""

import numpy as np
import pytest
from packed_matrices import assert_close, dense_product, matrix, refuses, vectors
from slow_segments import FORMS, sections, unpacked, weights

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.tensors.tensor import CompressedTensor

QUAD = [("quad", centroids, activations) for centroids in (16, 32, 200) for activations in packing.ACTIVATIONS]
# Forms and activations: those whose products are in floats, and those that the forms serve.
IN_FLOATS = [
    ("panel", "float32"),
    ("panel", "int8"),
    ("factored", "float32"),
    ("factored", "int8"),
    ("quad", "float32"),
]
USED = [("panel", "float32"), ("factored", "float32"), ("quad", "float32"), ("quad", "int8")]


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (5, 7), (37, 531), (601, 241), (601, 1241), (9, 9001)])
@pytest.mark.parametrize("centroids", [16, 32, 200])
@pytest.mark.parametrize("density", [0, 0.03, 0.3, 1])
def test_the_bytes_mean_the_matrix(form, shape, density, centroids):
    tensor = matrix(*shape, density, centroids)
    packed = form.pack(tensor)
    _core.check_packed(packed)
    codes, _ = unpacked(form, packed)
    parts = sections(form, packed)
    assert np.array_equal(weights(codes, parts.codebook), tensor.numpy())
    if form.name == "quad":
        assert np.array_equal(weights(codes, parts.digits.astype(int)).sum(1), parts.sums)


@pytest.mark.parametrize(
    ("name", "columns", "density"),
    [("panel", 2048, 0.09), ("factored", 4096, 0.09), ("quad", 4096, 0.04), ("quad", 4096, 0.09), ("quad", 4096, 0.25)],
)
def test_a_survivor_takes_at_most_two_and_a_half_bytes(name, columns, density):
    tensor = matrix(1024, columns, density, 16)
    packed = FORMS[name].pack(tensor)
    assert packed.nbytes <= 2.5 * len(tensor.positions)
    assert unpacked(FORMS[name], packed)[1] <= 0.1 * len(tensor.positions)


@pytest.mark.parametrize(
    "shape", [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (257, 511), (601, 241), (601, 1241), (5, 20000)]
)
@pytest.mark.parametrize("centroids", [1, 16, 17, 32, 33, 200, 256])
@pytest.mark.parametrize(("name", "activations"), IN_FLOATS)
def test_a_product_is_that_of_the_dense_matrix(name, shape, centroids, activations, instruction_set):
    tensor = matrix(*shape, 0.3, centroids)
    x = vectors(70 if name == "quad" else 19, shape[1])
    assert_close(multiply.matmul(FORMS[name].pack(tensor), x, activations=activations), x, tensor.numpy())


@pytest.mark.parametrize("density", [0, 0.01, 0.1, 0.5, 1])
def test_every_density(form, density, instruction_set):
    tensor = matrix(97, 743, density, 16)
    x = vectors(64, 743)
    assert_close(multiply.matmul(form.pack(tensor), x), x, tensor.numpy())


@pytest.mark.parametrize("centroids", [16, 200])
@pytest.mark.parametrize(("name", "most"), [("panel", 130), ("quad", 130), ("factored", 9)])
def test_every_batch(name, most, centroids, instruction_set):
    tensor = matrix(45, 260, 0.2, centroids)
    packed = FORMS[name].pack(tensor)
    x = vectors(most, 260)
    for count in range(most + 1):
        assert_close(multiply.matmul(packed, x[:count]), x[:count], tensor.numpy())


def test_rows_of_very_uneven_length(form, instruction_set):
    mask = np.zeros((300, 500), bool)
    mask[7] = True
    mask[100:103, ::7] = True
    mask[299, 499] = True
    positions = np.flatnonzero(mask).astype(np.int64)
    codes = (positions % 16).astype(np.uint8)
    tensor = CompressedTensor((300, 500), positions, np.linspace(-1, 1, 16, dtype=np.float32), codes)
    x = vectors(33, 500)
    packed = form.pack(tensor)
    assert np.array_equal(weights(unpacked(form, packed)[0], sections(form, packed).codebook), tensor.numpy())
    assert_close(multiply.matmul(packed, x), x, tensor.numpy())


def test_a_bias_is_added(form, instruction_set):
    tensor = matrix(77, 300, 0.2, 16)
    bias = vectors(1, 77, seed=5)[0]
    x = vectors(70, 300)
    assert_close(multiply.matmul(form.pack(tensor), x, bias=bias), x, tensor.numpy(), bias)


@pytest.mark.parametrize(("name", "activations"), USED)
def test_any_number_of_threads_gives_the_same_bits(name, activations, instruction_set):
    rows, columns, density = (1500, 1900, 0.3) if name == "quad" else (1100, 900, 0.2)
    packed = FORMS[name].pack(matrix(rows, columns, density, 16))
    x = vectors(100, columns)
    one = multiply.matmul(packed, x, activations=activations)
    for threads in (2, 3, 4):
        assert np.array_equal(one, multiply.matmul(packed, x, activations=activations, threads=threads))


@pytest.mark.parametrize("density", [0.3, 1])
@pytest.mark.parametrize("centroids", [16, 33])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("name", "activations"), USED)
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(
    name, activations, density, centroids, threads, instruction_set
):
    tensor = matrix(40, 300, density, centroids)
    x = vectors(70, 300)
    clean = x.copy()
    x[3, 17] = np.inf
    x[40, 299] = -np.inf
    x[65, 0] = np.nan
    x[66, [1, 2]] = np.inf, -np.inf
    packed = FORMS[name].pack(tensor)
    found = multiply.matmul(packed, x, activations=activations, threads=threads)
    spoilt = [3, 40, 65, 66]
    expected = dense_product(x[spoilt], tensor.numpy()).astype(np.float32)
    assert np.array_equal(found[spoilt], expected, equal_nan=True)
    others = np.setdiff1d(np.arange(70), spoilt)
    assert np.array_equal(found[others], multiply.matmul(packed, clean, activations=activations)[others])


@pytest.mark.parametrize("finite", [0, 7, 15])
@pytest.mark.parametrize("name", ["panel", "quad"])
def test_entries_that_mean_nothing_add_nothing_beside_centroids_that_are_not_finite(name, finite, instruction_set):
    tensor = matrix(40, 300, 0.1, 16)
    codebook = np.full(16, np.inf, np.float32)
    codebook[finite] = 0.5
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, np.full_like(tensor.codes, finite))
    x = vectors(20, 300)
    assert_close(multiply.matmul(FORMS[name].pack(tensor), x), x, tensor.numpy())


def test_every_truncation_is_refused(form, instruction_set):
    packed = form.pack(matrix(20, 50, 0.1, 16))
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(packed[:size].copy())
        with pytest.raises(ValueError, match="packed weights"):
            multiply.matmul(packed[:size].copy(), vectors(2, 50))


@pytest.mark.parametrize(
    ("name", "centroids", "activations"), [("panel", 16, "float32"), ("factored", 16, "float32"), *QUAD]
)
def test_bytes_that_are_changed_are_refused_or_harmless(name, centroids, activations, instruction_set):
    columns, more = (1500, 300) if name == "quad" else (500, 600)
    packed = FORMS[name].pack(matrix(40, columns, 0.1, centroids))
    x = vectors(20, columns)
    rng = np.random.default_rng(0)
    places = np.concatenate([np.arange(min(len(packed), 600)), rng.integers(0, len(packed), more)])
    for place in places:
        spoilt = packed.copy()
        spoilt[place] = rng.choice([0, 1, 127, 128, 255])
        refused = refuses(_core.check_packed, spoilt)
        if refuses(packing.header, spoilt):
            assert refused
        elif packing.header(spoilt).rows < 1000:
            refuses(multiply.matmul, spoilt, x, None, None, activations)


@pytest.mark.parametrize(
    ("name", "centroids", "activations"), [("panel", 16, "float32"), ("factored", 16, "float32"), *QUAD]
)
def test_bytes_that_are_all_noise_behind_the_shape_are_harmless(name, centroids, activations, instruction_set):
    packed = FORMS[name].pack(matrix(40, 500, 0.1, centroids))
    rng = np.random.default_rng(1)
    for _ in range(30 if name == "quad" else 50):
        spoilt = packed.copy()
        spoilt[128:] = rng.integers(0, 256, len(packed) - 128, dtype=np.uint8)
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(spoilt)
        assert multiply.matmul(spoilt, vectors(64, 500), activations=activations, threads=2).shape == (64, 40)


@pytest.mark.parametrize(
    ("name", "section", "value", "message"),
    [
        *((name, "ends", 0xFFFFFFFF, "outside of the groups") for name in FORMS),
        *((name, "group_rows", 0xFFFF, "row outside") for name in FORMS),
        *((name, "turns", 0x0000, "fill their segment") for name in FORMS),
        ("panel", "turns", 0xFFFF, "fill their segment"),
        ("panel", "entries", 0xFF00, "outside of its block"),
        ("panel", "entries", 0x0010, "codebook"),
        ("quad", "turns", 0xFFFF, "longer than its block"),
        ("quad", "entries", 0xFFF0, "outside of its block"),
        ("factored", "turns", 0xFFFF, "fill their segment"),
        ("factored", "columns_of_fours", 0xFFFF, "outside of its block"),
        ("factored", "codes", 0x10, "codebook"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(name, section, value, message, instruction_set):
    form = FORMS[name]
    packed = form.pack(matrix(40, 500, 0.1, 16))
    part = getattr(sections(form, packed), section)
    at = packed.tobytes().find(part.tobytes())
    packed[at : at + part.itemsize] = np.frombuffer(np.array(value, part.dtype).tobytes(), np.uint8)
    with pytest.raises(ValueError, match=message):
        _core.check_packed(packed)
    assert multiply.matmul(packed, vectors(2, 500), activations=form.activations).shape == (2, 40)
