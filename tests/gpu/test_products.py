"""Products by Triton's kernels in its interpreter: those of the dense weights, for every layout of the form `word`."""

import numpy as np
import pytest
import torch
from packed_matrices import dense_product, matrix
from torch.nn import functional as F

from deepcompression.gpu import products, rows
from deepcompression.packed import packing
from deepcompression.packed.word import word_shape

# rows, columns, density, centroids -> bits of a skip, parts of a row, and what they show
SHAPES = [
    (1, 1, 1.0, 1),
    (33, 40, 1.0, 16),
    (33, 40, 0.0, 16),
    (257, 20, 0.2, 16),
    (30, 90, 0.3, 32),
    (2, 500, 0.3, 16),
    (9, 70, 0.15, 256),
    pytest.param(7, 2000, 0.1, 16, marks=pytest.mark.long),
    pytest.param(3, 66000, 0.0005, 32, marks=pytest.mark.long),
    pytest.param(1, 1 << 20, 0.00005, 16, marks=pytest.mark.long),
]
VECTORS = [1, 3, 16, pytest.param(2, marks=pytest.mark.long), pytest.param(20, marks=pytest.mark.long)]
FLOATS = [torch.float32, torch.bfloat16, torch.float16]


def word(rows, columns, density, centroids, seed=0):
    """Packed weights, their header, and the dense ones."""
    tensor = matrix(rows, columns, density, centroids, seed)
    packed = packing.pack(tensor, form="word")
    return torch.from_numpy(packed), packing.header(packed), torch.from_numpy(np.array(tensor.numpy()))


def floats(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def assert_near(found, x, dense, bias=None):
    """As near to the exact product as one rounding of float32 sums is."""
    expected = F.linear(x.double(), dense.double(), None if bias is None else bias.double())
    assert (found.shape, found.dtype) == (expected.shape, x.dtype)
    near = max(1e-6, torch.finfo(x.dtype).eps)
    assert not expected.numel() or (found.double() - expected).abs().max() <= near * expected.abs().max()


@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize(("rows", "columns", "density", "centroids"), SHAPES)
def test_products_are_those_of_the_dense_weights(rows, columns, density, centroids, vectors):
    packed, facts, dense = word(rows, columns, density, centroids)
    x, bias = floats(vectors, columns), floats(rows, seed=2)
    assert_near(products.linear(x, packed, facts, bias), x, dense, bias)


@pytest.mark.long
def test_rows_that_32_bits_number():
    packed, facts, dense = word(65536, 2, 0.3, 16)
    x = floats(1, 2)
    assert_near(products.linear(x, packed, facts), x, dense)


def test_the_shapes_have_few_and_many_parts_and_skips_of_many_widths():
    shapes = [getattr(each, "values", each) for each in SHAPES]
    layouts = [packing.header(packing.pack(matrix(*shape), form="word")).layout for shape in shapes]
    assert {layout >> 4 for layout in layouts} >= {0, 1, 2, 4}
    assert len({layout & 15 for layout in layouts}) >= 5


@pytest.mark.parametrize("vectors", [1, 5, pytest.param(70, marks=pytest.mark.long)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_are_float32_and_rounded_once(dtype, vectors):
    packed, facts, dense = word(16, 90, 0.3, 16)
    x, bias = floats(vectors, 90).to(dtype), floats(16, seed=2).to(dtype)
    found = products.linear(x, packed, facts, bias)
    if vectors <= products.MOST_BUNDLE:
        exact = F.linear(x.double(), dense.double(), bias.double()).to(dtype).double()
        assert (found.double() - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()
        # few float32 sums lie on the other side of a middle; of bfloat16 the interpreter itself drops the last bits
        assert (found.double() == exact).double().mean() > 0.9 or dtype != torch.float16
    else:
        # torch multiplies decoded rows, whose centroids are rounded to the dtype of x
        assert_near(found, x, dense.to(dtype), bias)


@pytest.mark.parametrize("leading", [(), (2, 3), (0,), (1, 0, 4)])
def test_any_number_of_leading_dimensions_and_no_vectors(leading):
    packed, facts, dense = word(5, 30, 0.3, 16)
    x = floats(*leading, 30)
    assert_near(products.linear(x, packed, facts), x, dense)


def test_vectors_need_not_be_contiguous_and_stay_as_they_are():
    packed, facts, dense = word(5, 30, 0.3, 16)
    x = floats(30, 3).T
    before = x.clone()
    assert_near(products.linear(x, packed, facts), x, dense)
    every_other = floats(1, 60)[:, ::2]
    assert_near(products.linear(every_other, packed, facts), every_other, dense)
    assert torch.equal(x, before)


def parts_of(packed, facts, dense, x):
    """Each row's sums of parts, as threads add them up: float32, column after column. (rows, parts, vectors)"""
    shape = word_shape(facts)
    begins = packed[shape.columns : shape.words].view({2: torch.int16, 4: torch.int32}[shape.column_bytes])
    begins = begins[: facts.units * 32].long().view(-1, shape.parts)[: facts.rows]
    found = np.zeros((facts.rows, shape.parts, len(x)), np.float32)
    for stored, row in enumerate(rows.order_of(packed, facts).tolist()):
        for column in np.flatnonzero(dense[row]):
            # a part without survivors begins where the next one does
            part = int((begins[stored] <= column).sum()) - 1
            found[row, part] += (dense[row, column] * x[:, column]).numpy()
    return found


@pytest.mark.parametrize("vectors", [1, 3])
def test_sums_have_the_order_of_the_columns_in_a_part_and_then_of_the_parts(vectors):
    """Bit for bit, and of numbers so different in size that another order gives other bits."""
    packed, facts, dense = word(20, 900, 0.3, 16)
    x = floats(vectors, 900) * torch.from_numpy(np.logspace(-4, 4, 900, dtype=np.float32))
    x = x[:, torch.from_numpy(np.random.default_rng(4).permutation(900))]
    of_parts = parts_of(packed, facts, dense, x)
    assert of_parts.shape[1] > 4
    found = products.linear(x, packed, facts)
    assert torch.equal(found.T, torch.from_numpy(of_parts.sum(1)))
    assert not torch.equal(found.T, torch.from_numpy(np.roll(of_parts, 1, 1).sum(1)))
    assert torch.equal(found, products.linear(x, packed, facts))


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (3, 0)])
def test_weights_without_elements(rows, columns):
    packed, facts, dense = word(rows, columns, 0.5, 16)
    for vectors in (1, 3):
        x, bias = floats(vectors, columns), floats(rows, seed=2)
        assert_near(products.linear(x, packed, facts, bias), x, dense, bias)
        assert_near(products.linear(x, packed, facts), x, dense)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("vectors", [1, 3])
def test_what_is_not_finite_reaches_the_outputs_that_it_reaches_in_the_dense_layer(vectors, dtype):
    """0 * inf is NaN, so pruned weights count. A row without pruned ones gives an infinity."""
    tensor = matrix(24, 20, 0.4, 16)
    kept = np.union1d(tensor.positions, np.arange(40))  # the first two rows survive as a whole
    codes = np.random.default_rng(3).integers(0, 16, len(kept)).astype(np.uint8)
    tensor = type(tensor)(tensor.shape, kept, tensor.codebook, codes)
    packed = packing.pack(tensor, form="word")
    dense = np.array(tensor.numpy())
    for spoils in ({3: np.inf}, {3: np.inf, 7: -np.inf}, {0: np.nan}, {19: -np.inf}):
        x = floats(vectors, 20).to(dtype)
        for column, value in spoils.items():
            x[-1, column] = value
        with np.errstate(invalid="ignore"):
            found = products.linear(x, torch.from_numpy(packed), packing.header(packed))
        expected = torch.from_numpy(dense_product(x.float().numpy(), dense))
        assert torch.equal(found.isnan(), expected.isnan())
        assert torch.equal(found.isinf(), expected.isinf())
        finite = expected.isfinite()
        assert torch.allclose(found[finite].double(), expected[finite], rtol=4 * torch.finfo(dtype).eps, atol=1e-3)


@pytest.mark.parametrize("vectors", [1, 4])
def test_half_precision_overflows_to_infinity_as_dense_products_do(vectors):
    packed, facts, dense = word(8, 40, 0.5, 16)
    x = torch.full((vectors, 40), 3e4, dtype=torch.float16) * torch.sign(dense[0] + 0.1).half()
    with np.errstate(over="ignore"):
        found = products.linear(x, packed, facts)
    expected = F.linear(x.double(), dense.double()).to(torch.float16)
    assert expected.isinf().any()
    assert torch.equal(found.isinf(), expected.isinf())
    assert torch.equal(found.isnan(), expected.isnan())


@pytest.mark.long
def test_decoded_pieces_give_the_same_as_one(monkeypatch):
    monkeypatch.setattr(products, "_PIECE_WEIGHTS", 300)
    packed, facts, dense = word(21, 60, 0.4, 16)
    x, bias = floats(40, 60), floats(21, seed=2)
    assert_near(products.linear(x, packed, facts, bias), x, dense, bias)
    assert_near(products.linear(x, packed, facts), x, dense)


@pytest.mark.parametrize("section", ["order", "starts", "columns", "words"])
def test_spoilt_sections_give_wrong_numbers_within_bounds(section):
    """Every place that they name is bounded, whatever their bits."""
    packed, facts, _ = word(12, 50, 0.3, 16)
    sections = ["order", "starts", "columns", "words", "bytes"]
    begin, end = (getattr(word_shape(facts), sections[sections.index(section) + more]) for more in (0, 1))
    for value in (0x00, 0x7F, 0xFF):
        spoilt = packed.clone()
        spoilt[begin:end] = value
        assert products.linear(floats(1, 50), spoilt, facts).shape == (1, 12)
        assert rows.decode_stored(spoilt, facts, 3, torch.empty(9, 50)).shape == (9, 50)


def test_other_forms_and_vectors_that_do_not_fit_are_refused():
    packed = packing.pack(matrix(5, 7, 0.3, 16), form="tile")
    with pytest.raises(ValueError, match="tile"):
        products.linear(floats(1, 7), torch.from_numpy(packed), packing.header(packed))
    packed, facts, _ = word(5, 7, 0.3, 16)
    with pytest.raises(ValueError, match="7 columns"):
        products.linear(floats(1, 8), packed, facts)
