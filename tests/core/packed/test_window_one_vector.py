"""The layouts of the form window for one vector: digits24 and one_window."""

import itertools

import numpy as np
import pytest
from packed_matrices import assert_close, dense_product, vectors
from window_twin import MOST24, Window, fits_short, pack, product, read

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.packed.packing import LAYOUTS
from deepcompression.tensors.tensor import CompressedTensor
from tests.core.packed.test_window import assert_the_bits_of_the_twin, bits_of, random_mask, uneven

pytestmark = pytest.mark.usefixtures("instruction_set")

SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (16, 63), (17, 127), (37, 131), (32, 252), (101, 397)]
CENTROIDS = [1, 2, 16, 17, 32, 33, 256]
# the grid of the codebook, the activations and the layout
KINDS = [(0, "int8", "one_window"), (8, "int8", "one_window"), (8, "float32", "one_window")]
KINDS += [(0, "float32", "digits24"), (16, "float32", "digits24")]
ALL_KINDS = [*KINDS, (16, "int8", "one_window"), (8, "float32", "digits24"), (0, "int8", "digits24")]


def has_digits24(packed):
    return LAYOUTS[packing.header(packed).layout] == "digits24"


@pytest.mark.parametrize("layout", ["digits24", "one_window"])
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_packed_bytes_are_as_described(centroids, layout):
    for shape, density, grid_bits in itertools.product(SHAPES, [0, 0.04, 0.3, 1], [0, 8, 16]):
        packed, dense = pack(random_mask(shape, density), centroids, grid_bits, layout)
        _core.check_packed(packed)
        window = read(packed)
        assert window.layout == layout or (layout == "digits24" and window.layout == "by_slot")
        np.testing.assert_array_equal(window.weights(window.codebook), dense)
        if grid_bits == 8:
            np.testing.assert_array_equal(window.weights(window.digits[0] * window.facts.scale8), dense)
        elif window.layout == "digits24":
            found = window.weights(window.integers() * window.facts.scale16)
            half_a_step = 0 if grid_bits else window.facts.scale16 / 2
            assert half_a_step <= 2.0**-23 * 256 / 254 * np.abs(dense).max(initial=0)
            assert np.abs(found - dense).max(initial=0) <= half_a_step


@pytest.mark.parametrize(
    ("density", "layout", "share"),
    [(0.09, "one_window", 0.89), (0.04, "one_window", 0.77), (0.09, "digits24", 0.78), (0.25, "one_window", 0.96)],
)
def test_slots_find_survivors(density, layout, share):
    packed, _ = pack(random_mask((64, 4096), density), 16, 0, layout)
    assert read(packed).filled >= share


@pytest.mark.parametrize("layout", ["digits24", "one_window"])
def test_rows_whose_survivors_lie_alike_are_packed_together(layout):
    mask = random_mask((128, 2520), 0.3)
    mask[::2, 1260:] = mask[1::2, :1260] = False
    packed, _ = pack(mask, 16, 0, layout)
    # in groups of both kinds, each half would wait for the other
    assert read(packed).filled >= 0.85


@pytest.mark.parametrize("centroids", CENTROIDS)
def test_integers_have_the_bits_of_the_twin(centroids):
    for (grid_bits, activations, layout), shape in itertools.product(ALL_KINDS, SHAPES[2:]):
        packed, _ = pack(random_mask(shape, 0.3), centroids, grid_bits, layout)
        if activations == "float32" and grid_bits != 8 and not has_digits24(packed):
            continue
        bias = vectors(1, shape[0], 2)[0]
        assert_the_bits_of_the_twin(packed, vectors(2, shape[1]), bias, activations)
        assert_the_bits_of_the_twin(packed, vectors(1, shape[1]), None, activations)


@pytest.mark.parametrize(("grid_bits", "activations", "layout"), KINDS)
def test_so_have_rows_that_are_uneven_and_long(grid_bits, activations, layout):
    for mask in (uneven(53, 379), random_mask((20, 25088), 0.02), np.ones((3, 9216), bool)):
        packed, _ = pack(mask, 16, grid_bits, layout)
        assert_the_bits_of_the_twin(packed, vectors(1, mask.shape[1]), None, activations)


@pytest.mark.parametrize(
    ("grid_bits", "layout"), [(0, "one_window"), (0, "digits24"), (8, "one_window"), (16, "digits24")]
)
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_float32_is_as_exact_as_float32_sums(centroids, grid_bits, layout):
    for shape, density in itertools.product(SHAPES, [0, 0.04, 0.3, 1]):
        packed, dense = pack(random_mask(shape, density), centroids, grid_bits, layout)
        x, bias = vectors(3, shape[1]), vectors(1, shape[0], 2)[0]
        assert_close(multiply.matmul(packed, x, bias=bias), x, dense, bias)


def hostile_vectors(columns):
    rng = np.random.default_rng(4)
    x = rng.standard_normal(columns)
    ones, outlier, most = np.ones(columns), x.copy(), x.copy()
    outlier[columns // 2], most[columns // 2] = 1e4, 15 * np.sqrt((x**2).mean())
    return {
        "constant": 0.3 * ones,
        "the lowest digits all the largest": (MOST24 // 2 - 0x3F3F3F + 0x808080 / 2) * ones,
        "a tiny range": 1 + 1e-6 * x,
        "an outlier": outlier,
        "nearly an outlier": most,
        "relu": np.maximum(x, 0),
        "bytes": rng.integers(0, 256, columns) / 255,
        "two values": np.where(rng.random(columns) < 0.5, 0.7, -0.1),
        "large": 1e30 * x,
        "small": 1e-30 * x,
        "denormal": 1e-42 * x,
        "steep": x * 2.0 ** -rng.uniform(0, 30, columns),
    }


def hostile_codebooks():
    x = np.sort(np.random.default_rng(5).standard_normal(16))
    outlier, lone = x.copy(), x.copy()
    outlier[-1], lone[-1] = 1e4, 12
    return {
        "usual": x,
        "one value": np.full(16, 0.1),
        "an outlier": outlier,
        "nearly an outlier": lone,
        "symmetric": np.concatenate([-np.abs(x[:8]), np.abs(x[:8])]),
        "large": 1e30 * x,
        "small": 1e-30 * x,
        "denormal": 1e-42 * x,
        "zeros": 0 * x,
        "the lowest digits all alike": 0.25 + 2.0**-9 * np.arange(16) + 2.0**-17 * 0.49,
    }


@pytest.mark.parametrize("codebook", hostile_codebooks())
@pytest.mark.parametrize("vector", hostile_vectors(9))
def test_hostile_vectors_and_codebooks_lose_no_digits(vector, codebook):
    for shape, density in [((200, 2000), 0.1), ((64, 3000), 0.5), ((40, 200), 1)]:
        packed, dense = pack(random_mask(shape, density), 16, 0, "digits24", codebook=hostile_codebooks()[codebook])
        x = hostile_vectors(shape[1])[vector].astype(np.float32)[None]
        expected = x.astype(np.float64) @ dense.astype(np.float64).T
        least = np.finfo(np.float32).smallest_subnormal * shape[1]
        found = multiply.matmul(packed, x)
        if np.abs(expected).max() > np.finfo(np.float32).max:
            continue
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max() + least


def pruned_codebook(largest, seed=0):
    """Centroids of pruned weights: magnitudes of 1 to `largest`."""
    magnitudes = np.random.default_rng(seed).uniform(1, largest, 16)
    magnitudes[:2] = 1, largest
    return magnitudes * np.repeat([-1, 1], 8)


@pytest.mark.parametrize(("largest", "fewer"), [(1.9, True), (3.9, True), (30, False)])
def test_products_of_the_next_power_are_left_out_where_neither_side_stands_out(largest, fewer):
    for seed, (shape, density) in enumerate([((37, 131), 0.3), ((64, 3000), 0.1), ((20, 25088), 0.02)]):
        codebook = pruned_codebook(largest, seed)
        packed, dense = pack(random_mask(shape, density), 16, 0, "digits24", codebook=codebook)
        x = vectors(1, shape[1])
        assert fits_short(read(packed), x[0]) == fewer
        assert_the_bits_of_the_twin(packed, x, None, "float32")
        assert_close(multiply.matmul(packed, x), x, dense)


@pytest.mark.parametrize("vector", hostile_vectors(9))
def test_hostile_vectors_lose_no_digits_with_pruned_weights(vector):
    for largest, (shape, density) in itertools.product((1.2, 2, 3.9, 5), [((200, 2000), 0.1), ((64, 3000), 0.5)]):
        packed, dense = pack(random_mask(shape, density), 16, 0, "digits24", codebook=pruned_codebook(largest))
        x = hostile_vectors(shape[1])[vector].astype(np.float32)[None]
        expected = x.astype(np.float64) @ dense.astype(np.float64).T
        least = np.finfo(np.float32).smallest_subnormal * shape[1]
        assert np.abs(multiply.matmul(packed, x) - expected).max() <= 1e-6 * np.abs(expected).max() + least


def test_codebooks_with_an_outlier_have_no_digits_of_24_bits():
    for codebook, has in [(1, True), (1000, False)]:
        survives = random_mask((40, 900), 0.3)
        packed, _ = pack(survives, 256, 0, "digits24", codebook=np.append(np.linspace(-1, 1, 255), codebook))
        assert LAYOUTS[packing.header(packed).layout] == ("digits24" if has else "by_slot")


@pytest.mark.parametrize("centroids", [16, 32, 256])
@pytest.mark.parametrize(("grid_bits", "activations", "layout"), [*KINDS, (0, "float32", "one_window")])
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(grid_bits, activations, layout, centroids):
    mask = random_mask((40, 300), 0.3)
    mask[3] = True
    packed, dense = pack(mask, centroids, grid_bits, layout)
    x, bias = vectors(5, 300), vectors(1, 40, 3)[0]
    clean = x.copy()
    x[0, 17], x[1, 299], x[2, 0], x[3, [1, 2]] = np.inf, -np.inf, np.nan, (np.inf, -np.inf)
    found = multiply.matmul(packed, x, bias=bias, activations=activations, threads=2)
    expected = dense_product(x, dense) + bias
    np.testing.assert_array_equal(np.isnan(found[:4]), np.isnan(expected[:4]))
    np.testing.assert_array_equal(found[:4][np.isinf(expected[:4])], expected[:4][np.isinf(expected[:4])])
    last = multiply.matmul(packed, clean, bias=bias, activations=activations)[4]
    np.testing.assert_array_equal(bits_of(found[4]), bits_of(last))


@pytest.mark.parametrize(("grid_bits", "activations", "layout"), KINDS)
@pytest.mark.parametrize("outlier", [False, True])
def test_threads_do_not_change_a_bit(grid_bits, activations, layout, outlier):
    packed, _ = pack(random_mask((1800, 1500), 0.25), 16, grid_bits, layout)
    # enough pairs for 2 threads
    assert packing.header(packed).length > 2 * 2048
    x = vectors(2, 1500)
    x[:, 5] *= 1e5 if outlier else 1
    expected = multiply.matmul(packed, x, activations=activations)
    for threads in (2, 3, 4):
        found = multiply.matmul(packed, x, activations=activations, threads=threads)
        np.testing.assert_array_equal(bits_of(found), bits_of(expected))


@pytest.mark.parametrize(("columns", "digits"), [(43690, [-0x808080]), (65536, [-127])])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_are_exact(columns, digits, sign):
    of24 = columns == 43690
    codebook = np.array([-MOST24] if of24 else digits, np.float32)
    bits, codes = np.full(columns // 8 + (columns % 8 > 0), 255, np.uint8), np.zeros(columns, np.uint8)
    bits[-1] = 255 >> -columns % 8
    grid, int8 = (0, np.array([-127], np.int16)) if of24 else (8, np.array(digits, np.int16))
    weights = _core.Matrix(1, columns, bits, codes, codebook)
    packed = _core.pack("window", weights, _core.Digits(grid, 1, int8, 1), "digits24" if of24 else "one_window")
    x = (sign * np.random.default_rng(5).uniform(0.9, 0.99, (1, columns))).astype(np.float32)
    planes = packed[128 : 128 + 16 * (4 if has_digits24(packed) else 1)].view(np.int8).reshape(-1, 16)
    window = Window(np.zeros((1, columns), np.int64), codebook, planes.astype(np.int64), packing.header(packed), 1)
    for vector in (x, np.full_like(x, sign * 0x7E8080), np.full_like(x, sign * MOST24)):
        found = multiply.matmul(packed, vector)
        np.testing.assert_array_equal(bits_of(found[0]), bits_of(product(window, vector[0], None, False)))


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_vectors_of_zeros_and_none(activations):
    for grid_bits, _, layout in KINDS:
        packed, _ = pack(random_mask((40, 300), 0.3), 16, grid_bits, layout)
        bias = vectors(1, 40, 5)[0]
        for zero in (0.0, -0.0):
            x = np.full((1, 300), zero, np.float32)
            np.testing.assert_array_equal(multiply.matmul(packed, x, bias=bias, activations=activations)[0], bias)
        assert multiply.matmul(packed, np.zeros((0, 300), np.float32), activations=activations).shape == (0, 40)


def shared(shape, density, codebook):
    positions = np.flatnonzero(random_mask(shape, density)).astype(np.int64)
    codes = (positions % len(codebook)).astype(np.uint8)
    return CompressedTensor(shape, positions, np.asarray(codebook, np.float32), codes)


def test_they_are_chosen_where_they_pay(instruction_set):
    usual, on_grid = np.linspace(-1, 1, 16) + 0.01, np.arange(-8, 8) / 8
    many, few = shared((30, 700), 0.3, usual), shared((30, 700), 0.05, usual)
    for tensor, activations, on_avx512, elsewhere in [
        (many, "float32", "digits24", "by_slot"),
        (few, "float32", "by_slot", "by_slot"),
        (few, "int8", "one_window", "by_row"),
        (shared((30, 700), 0.05, on_grid), "float32", "one_window", "by_row"),
        (shared((30, 700), 0.3, [*usual[:15], np.inf]), "float32", "by_slot", "by_slot"),
    ]:
        layouts = [on_avx512 if instruction_set == "avx512" else elsewhere, elsewhere]
        for batch, layout in enumerate(layouts, 1):
            facts = packing.header(packing.pack(tensor, activations, batch=batch, form="window"))
            assert LAYOUTS[facts.layout] == layout
