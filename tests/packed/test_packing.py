"""Packing and multiplying: the choice of the form, exactness, infinities and NaNs, mistakes."""

import numpy as np
import pytest
import window_twin as twin
from packed_matrices import matrix

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.tensors.tensor import CompressedTensor

# The form by the number of vectors, for 100 survivors a row and 16 centroids.
CHOSEN = {
    ("portable", "float32"): {1: "factored", 4: "factored", 5: "panel", 1000: "panel"},
    ("portable", "int8"): {1: "factored", 2: "factored", 4: "factored", 5: "panel", 1000: "panel"},
    ("avx2", "float32"): {1: "factored", 2: "panel", 1000: "panel"},
    ("avx2", "int8"): {1: "window", 4: "window", 5: "panel", 1000: "panel"},
    ("avx512", "float32"): {1: "window", 5: "window", 6: "panel", 1000: "panel"},
    ("avx512", "int8"): {1: "window", 47: "window", 48: "quad", 1000: "quad"},
    ("neon", "float32"): {1: "window", 2: "window", 8: "window", 9: "panel", 1000: "panel"},
    ("neon", "int8"): {1: "window", 15: "window", 16: "panel", 1000: "panel"},
}


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_the_instruction_set_in_use_and_the_batch_decide_for_the_form(activations, instruction_set):
    tensor = matrix(20, 400, 0.25, 16)
    for batch, form in CHOSEN[instruction_set, activations].items():
        assert packing.header(packing.pack(tensor, activations, batch)).form == form


@pytest.mark.parametrize(("instruction_set", "activations"), CHOSEN)
def test_packs_for_a_cpu_of_another_kind(instruction_set, activations):
    tensor = matrix(20, 400, 0.25, 16)
    for batch, form in CHOSEN[instruction_set, activations].items():
        packed = packing.pack(tensor, activations, batch, instruction_set=instruction_set)
        assert packing.header(packed).form == form


def choice(
    instruction_set,
    activations="float32",
    survivors=100,
    centroids=16,
    grid_bits=0,
    codebook=None,
    columns=400,
    used=(),
    vectors=1,
):
    """The form for two rows, and the layout of the form window. The codebook has ones by default. All codes but the
    first, `used`, are 0.
    """
    codebook = np.ones(centroids, np.float32) if codebook is None else codebook
    bits, codes = np.zeros(columns // 4, np.uint8), np.zeros(2 * survivors, np.uint8)
    codes[: len(used)] = used
    weights = _core.Matrix(2, columns, bits, codes, codebook)
    digits = _core.Digits(grid_bits, 1, np.ones(len(codebook), np.int16))
    way = (activations, vectors, instruction_set)
    return packing.form_for(weights, digits, *way), packing.layout_for(weights, digits, *way)


@pytest.mark.parametrize(("instruction_set", "activations"), CHOSEN)
def test_a_cpu_need_not_have_the_instruction_set_that_a_form_is_chosen_for(instruction_set, activations):
    assert choice(instruction_set, activations)[0] == CHOSEN[instruction_set, activations][1]


@pytest.mark.parametrize("instruction_set", ["portable", "avx2"])
def test_factored_pays_where_rows_have_the_same_centroid_often(instruction_set):
    assert choice(instruction_set, survivors=24)[0] == "factored"
    assert choice(instruction_set, survivors=23)[0] == "window"
    assert choice(instruction_set, survivors=24, centroids=17)[0] == "window"
    assert choice(instruction_set, survivors=24, columns=8196)[0] == "window"
    assert choice(instruction_set, survivors=48, columns=8196)[0] == "factored"


@pytest.mark.parametrize("grid_bits", [8, 16])
def test_integers_by_row_pay_on_neon_where_codebooks_lie_on_a_grid(grid_bits):
    assert choice("neon", grid_bits=grid_bits) == ("window", "by_row")
    assert choice("neon", grid_bits=grid_bits, vectors=7) == ("window", "by_row")
    # two bytes of a centroid take more instructions than one
    assert choice("neon", grid_bits=grid_bits, vectors=8)[0] == ("window" if grid_bits == 8 else "panel")
    assert choice("neon", grid_bits=grid_bits, vectors=9)[0] == "panel"


def test_factored_pays_on_neon_where_24_bits_do_not_serve():
    assert choice("neon", survivors=64) == ("window", "digits24")
    assert choice("neon", survivors=63)[0] == "factored"
    # one weight of 200 is so many times the others, and nearly so many times the mean
    for times, found in ((10, "factored"), (5, "window")):
        assert choice("neon", codebook=np.array([1, times], np.float32), used=[0, 1])[0] == found


@pytest.mark.parametrize("grid_bits", [8, 16])
def test_codebooks_on_a_grid_stay_integers_for_more_vectors_with_avx512(grid_bits):
    assert choice("avx512", vectors=6)[0] == "panel"
    assert choice("avx512", vectors=11, grid_bits=grid_bits)[0] == "window"
    assert choice("avx512", vectors=12, grid_bits=grid_bits)[0] == "panel"


def test_layouts_for_one_vector_pay_where_their_sums_are_few():
    assert choice("avx512", survivors=64) == ("window", "digits24")
    assert choice("avx512", survivors=63) == ("window", "by_slot")
    assert choice("avx512", survivors=63, grid_bits=16) == ("window", "by_row")
    assert choice("avx512", survivors=63, grid_bits=8) == ("window", "one_window")
    assert choice("avx512", survivors=1, activations="int8") == ("window", "one_window")


@pytest.mark.parametrize(("instruction_set", "activations"), CHOSEN)
def test_centroids_that_are_not_finite_are_packed_for_every_number_of_vectors(instruction_set, activations):
    found = choice(instruction_set, activations, codebook=np.array([-1, np.inf], np.float32))
    assert found == ("window", "by_slot" if activations == "float32" else "by_row")


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (64, 126)])
@pytest.mark.parametrize("centroids", [1, 16, 32, 33, 256])
def test_a_product_is_that_of_the_dense_matrix(shape, centroids, activations, instruction_set):
    tensor = matrix(*shape, 0.3, centroids)
    packed = packing.pack(tensor, activations)
    _core.check_packed(packed)
    x = np.random.default_rng(1).standard_normal((3, shape[1])).astype(np.float32)
    expected = x.astype(np.float64) @ tensor.numpy().astype(np.float64).T
    found = multiply.matmul(packed, x, activations=activations)
    bound = 1e-6 if activations == "float32" else 3e-2
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= bound * np.abs(expected).max(initial=0)


def on_a_grid(grid_bits, rows=40, columns=300, density=0.2):
    mask = np.random.default_rng(7).random((rows, columns)) < density
    return twin.pack(mask, 16, grid_bits, "by_row" if grid_bits else "by_slot")


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("grid_bits", [0, 8, 16])
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(grid_bits, activations, instruction_set):
    rng = np.random.default_rng(8)
    mask = rng.random((50, 90)) < 0.5
    mask[:3] = True
    packed, dense = twin.pack(mask, 16, grid_bits, "by_row")
    bias = rng.standard_normal(50).astype(np.float32)
    for values in ([np.inf], [-np.inf], [np.nan], [np.inf, np.inf], [np.inf, -np.inf], [np.inf, np.nan]):
        x = rng.standard_normal((3, 90)).astype(np.float32)
        x[1, rng.choice(90, len(values), replace=False)] = values
        with np.errstate(invalid="ignore"):
            expected = x @ dense.T + bias
        found = multiply.matmul(packed, x, bias=bias, activations=activations)
        np.testing.assert_array_equal(np.isnan(found[1]), np.isnan(expected[1]))
        infinite = np.isinf(expected[1])
        assert np.isnan(expected[1]).any()
        assert infinite.any() or np.isnan(values).any()
        np.testing.assert_array_equal(found[1, infinite], expected[1, infinite])
        assert np.isfinite(found[::2]).all()


@pytest.mark.parametrize("outlier", [1e2, 1e6, 1e20, 1e30])
@pytest.mark.parametrize("grid_bits", [0, 8, 16])
def test_an_outlier_does_not_drown_the_others(grid_bits, outlier, instruction_set):
    packed, dense = on_a_grid(grid_bits)
    assert (dense != 0).any(0).all()
    x = np.random.default_rng(9).standard_normal(300).astype(np.float32)
    x[5] = outlier
    expected = x.astype(np.float64) @ dense.astype(np.float64).T
    found = multiply.matmul(packed, x)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("outlier", [1e2, 1e6, 1e20, 1e30])
@pytest.mark.parametrize("grid_bits", [8, 16])
def test_an_outlier_that_meets_no_weight_does_not_drown_the_others(grid_bits, outlier, instruction_set):
    mask = np.random.default_rng(7).random((40, 1000)) < 0.2
    mask[:, 5] = False
    packed, dense = twin.pack(mask, 16, grid_bits, "by_row")
    x = np.random.default_rng(9).standard_normal(1000).astype(np.float32)
    x[5] = outlier
    expected = x.astype(np.float64) @ dense.astype(np.float64).T
    assert np.abs(multiply.matmul(packed, x) - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("grid_bits", [0, 8, 16])
@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-38, 1e-30, 1e-20, 1e20, 1e35])
def test_vectors_of_any_size(grid_bits, activations, size, instruction_set):
    packed, dense = on_a_grid(grid_bits)
    x = (np.random.default_rng(10).standard_normal((2, 300)) * size).astype(np.float32)
    expected = x.astype(np.float64) @ dense.astype(np.float64).T
    found = multiply.matmul(packed, x, activations=activations)
    bound = 1e-6 if activations == "float32" or size < 1e-30 else 3e-2
    # products of denormals are off by as much as float32 has room for
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max() + 300 * 2.0**-149


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("grid_bits", [0, 8, 16])
def test_the_largest_float_is_a_number(grid_bits, activations, instruction_set):
    packed, dense = on_a_grid(grid_bits)
    x = np.zeros(300, np.float32)
    x[17] = -np.finfo(np.float32).max
    expected = x.astype(np.float64) @ dense.astype(np.float64).T
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32).astype(np.float64)
    found = multiply.matmul(packed, x, activations=activations).astype(np.float64)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    bound = 1e-6 if activations == "float32" else 1e-2
    assert np.abs(found[finite] - expected[finite]).max(initial=0) <= bound * np.finfo(np.float32).max


def test_y_is_written_to_out():
    packed, dense = on_a_grid(0)
    x = np.random.default_rng(1).standard_normal((2, 3, 300)).astype(np.float32)
    out = np.empty((2, 3, 40), np.float32)
    assert multiply.matmul(packed, x, out) is out
    np.testing.assert_allclose(out, x @ dense.T, atol=1e-4)
    np.testing.assert_array_equal(multiply.matmul(packed, x[..., ::-1][..., ::-1]), out)
    np.testing.assert_array_equal(multiply.matmul(packed, np.asfortranarray(x)), out)


WRONG = {
    "float64": (TypeError, "x is float32; found float64", lambda x, y: (x.astype(np.float64),)),
    "columns": (ValueError, r"x has 300 columns; found shape \[2, 299\]", lambda x, y: (x[:, 1:],)),
    "scalar": (ValueError, r"x has 300 columns; found shape \[\]", lambda x, y: (x[0, 0].reshape(()),)),
    "out of another shape": (ValueError, r"of shape \[2, 40\]; found float32, \[2, 39\]", lambda x, y: (x, y[:, 1:])),
    "out of another dtype": (ValueError, "out is float32", lambda x, y: (x, y.astype(np.float64))),
    "out that is not contiguous": (ValueError, "C-contiguous", lambda x, y: (x, np.asfortranarray(y))),
    "bias of another shape": (ValueError, r"bias is float32 of shape \[40\]", lambda x, y: (x, y, y[0, 1:])),
    "bias of another dtype": (ValueError, "found float64", lambda x, y: (x, y, y[0].astype(np.float64))),
    "activations": (ValueError, "float32 or int8; found 'int4'", lambda x, y: (x, y, None, "int4")),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_of_a_caller_are_named(mistake):
    kind, said, arguments = WRONG[mistake]
    packed, _ = on_a_grid(0)
    with pytest.raises(kind, match=said):
        multiply.matmul(packed, *arguments(np.ones((2, 300), np.float32), np.ones((2, 40), np.float32)))


def test_out_may_not_be_x():
    packed, _ = on_a_grid(0, 40, 40)
    x = np.ones((2, 40), np.float32)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        multiply.matmul(packed, x, x)


def test_out_may_not_be_read_only():
    packed, _ = on_a_grid(0)
    out = np.ones(40, np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is float32"):
        multiply.matmul(packed, np.ones(300, np.float32), out)


def test_tensors_and_activations_that_cannot_be_packed_are_refused():
    tensor = matrix(4, 5, 0.5, 3)
    with pytest.raises(ValueError, match="activations are float32 or int8; found 'int4'"):
        packing.pack(tensor, "int4")
    vector = CompressedTensor((20,), tensor.positions, tensor.codebook, tensor.codes)
    with pytest.raises(ValueError, match=r"two or more dimensions; found shape \[20\]"):
        packing.pack(vector)


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (16, 32639)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_digit_outside_of_its_grid_is_refused(bits, most, sign):
    digits = {8: np.zeros(2, np.int16), 16: np.zeros(2, np.int16)}
    digits[bits][1] = sign * (most + 1)
    weights = _core.Matrix(1, 8, np.ones(1, np.uint8), np.zeros(1, np.uint8), np.ones(2, np.float32))
    with pytest.raises(ValueError, match=f"a digit of {bits} bits lies between -{most} and {most}; found"):
        _core.pack("window", weights, _core.Digits(16, 1, digits[8], 1, digits[16]), "by_row")


def test_unknown_grids_forms_and_layouts_are_refused():
    digits = np.zeros(2, np.int16)
    with pytest.raises(ValueError, match="a grid has 0, 8 or 16 bits; found 4"):
        _core.Digits(4, 1, digits)
    weights = _core.Matrix(1, 8, np.ones(1, np.uint8), np.zeros(1, np.uint8), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="no packed form has the name spiral"):
        _core.pack("spiral", weights, _core.Digits(8, 1, digits))
    with pytest.raises(ValueError, match="layout by_row, by_slot, digits24 or one_window; found two_windows"):
        _core.pack("window", weights, _core.Digits(8, 1, digits), "two_windows")


@pytest.mark.parametrize("layout", packing.LAYOUTS)
# one thread packs few survivors, whatever is asked for
@pytest.mark.parametrize(("rows", "density"), [(1, 0.1), (300, 0.1), (1777, 0.99), (2001, 0.9)])
def test_threads_do_not_change_the_bytes_of_the_form_window(layout, rows, density):
    tensor = matrix(rows, 300, density, 20)
    digits = _core.Digits(0, *packing.nearest_digits(tensor.codebook, 127))
    core = _core.Matrix(rows, 300, tensor.bits, tensor.codes, tensor.codebook)
    alone = _core.pack("window", core, digits, layout)
    for threads in (2, 3, 8):
        assert np.array_equal(_core.pack("window", core, digits, layout, threads), alone)
