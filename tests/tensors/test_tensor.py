import math
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from cases import CASES, content, dense, numbers, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from second_reader import ITEM_BYTES

from deepcompression.tensors.dtypes import (
    STORAGE,
    WEIGHT_DTYPES,
    item_bits,
    narrow,
    nonzero_bits,
    ordered_bits,
    size_bytes,
    unordered_bits,
    widen,
)
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


def test_elements_take_the_bytes_that_the_page_says():
    assert {dtype: item_bits(dtype) / 8 for dtype in STORAGE} == ITEM_BYTES


def test_no_shape_overflows_the_count_of_its_bytes():
    assert size_bytes("F64", (2**62, 2**62)) == 2**127


NUMPY_DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8", "c16", "q", "Q"]


@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_an_array_comes_back_in_its_dtype_and_shape(dtype, shape):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    back = DenseTensor.from_numpy(array).numpy()
    assert back.dtype == array.dtype
    assert back.shape == shape
    assert np.array_equal(back, array)


def test_an_array_of_other_byte_order_or_layout_keeps_its_values():
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    tensor = DenseTensor.from_numpy(array)
    assert tensor.elements.flags.c_contiguous
    assert np.array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("dtype", ["c32", "O", "U3", "M8[s]"])
def test_a_dtype_that_no_file_can_hold_is_refused(dtype):
    with pytest.raises(TypeError, match=r"cannot be stored; possible are float64"):
        DenseTensor.from_numpy(np.zeros(2, dtype))


def test_elements_in_another_storage_are_refused():
    with pytest.raises(TypeError, match="BF16 elements are held as uint16, found float32"):
        DenseTensor("BF16", np.zeros(2, np.float32))


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="unknown dtype 'F3'; known are F64, F32"):
        DenseTensor("F3", np.zeros(2, np.uint8))


@pytest.mark.parametrize(
    ("dtype", "data", "values"),
    [
        ("U4", [0x21, 0x43, 0x05], [1, 2, 3, 4, 5]),
        ("I2", [0b11100100, 0b01], [0, 1, 2, 3, 1]),
        ("F6_E2M3", [0x41, 0x30, 0x10, 0x05], [1, 1, 3, 4, 5]),
        ("F4", [0xF0, 0x9A, 0x01], [0, 15, 10, 9, 1]),
    ],
)
def test_elements_of_less_than_a_byte_are_given_as_their_bits(dtype, data, values):
    tensor = DenseTensor.of_bytes(dtype, (5,), np.array(data, np.uint8))
    assert tensor.shape == (5,)
    assert tensor.numpy().dtype == np.uint8
    assert tensor.numpy().tolist() == values


def test_a_row_of_another_length_than_the_shape_s_is_refused():
    with pytest.raises(ValueError, match=r"\[3, 3\] of I4 are held as \[5\], found \[4\]"):
        DenseTensor("I4", np.zeros(4, np.uint8), (3, 3))


def test_every_bfloat16_survives_being_widened():
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(narrow(widen(every, "BF16"), "BF16"), every)


@pytest.mark.parametrize(
    ("value", "bits"),
    [(1.0, 0x3F80), (1 + 2**-8, 0x3F80), (1 + 3 * 2**-8, 0x3F82), (1 + 2**-8 + 2**-20, 0x3F81), (-0.0, 0x8000)],
)
def test_bfloat16_is_rounded_to_nearest_even(value, bits):
    assert narrow(np.array([value], np.float32), "BF16")[0] == bits


def test_any_bit_makes_a_boolean_true():
    assert DenseTensor("BOOL", np.array([0, 1, 2, 255], np.uint8)).numpy().tolist() == [False, True, True, True]


def test_a_negative_zero_has_a_bit_set():
    assert nonzero_bits(np.array([[0.0, -0.0, 1.0]])).tolist() == [[False, True, True]]


def test_nonzero_bits_have_the_shape_of_the_elements():
    assert nonzero_bits(np.array(1.0)).shape == ()
    assert nonzero_bits(np.zeros((0, 3))).shape == (0, 3)


def parts(**changed):
    fitting = {
        "shape": (2, 3),
        "positions": np.array([0, 5]),
        "codebook": np.array([1, 2], "<f4"),
        "codes": np.array([1, 0], np.uint8),
        "dtype": "F32",
    }
    return fitting | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "I32"}, "dtype is one of F64, F32, F16, BF16; found I32"),
        ({"positions": np.array([0, 5], np.int32)}, "positions are int64; found int32"),
        ({"codes": np.array([1, 0])}, "codes are uint8; found int64"),
        ({"codebook": np.array([1.0, 2.0])}, "centroids are float32; found float64"),
        ({"codebook": np.zeros(257, "<f4")}, "at most 256 centroids"),
        ({"codebook": np.zeros((2, 2), "<f4")}, "at most 256 centroids; found shape"),
        ({"codes": np.zeros(3, np.uint8)}, r"\(2,\) positions do not go with \(3,\) codes"),
        ({"positions": np.array([0, 6])}, r"positions must ascend strictly within 0..5"),
        ({"positions": np.array([-1, 5])}, "positions must ascend"),
        ({"positions": np.array([5, 5])}, "positions must ascend"),
        ({"positions": np.array([5, 0])}, "positions must ascend"),
        ({"codes": np.array([2, 0], np.uint8)}, "code 2 is outside of a codebook of 2 centroids"),
        ({"codebook": np.zeros(0, "<f4")}, "code 1 is outside of a codebook of 0"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changed, message):
    CompressedTensor(**parts())
    with pytest.raises(ValueError, match=message):
        CompressedTensor(**parts(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "I32"}, "dtype is one of"),
        ({"codes": np.array([1, 0])}, "codes are uint8; found int64"),
        ({"codebook": np.array([1.0, 2.0])}, "centroids are float32; found float64"),
        ({"codes": np.array([2, 0], np.uint8)}, "code 2 is outside of a codebook of 2 centroids"),
    ],
)
def test_parts_that_do_not_go_with_bits_are_refused(changed, message):
    fitting = parts() | {"bits": np.array([0b100001], np.uint8)}
    del fitting["positions"]
    tensor = CompressedTensor.from_bits(**fitting)
    assert tensor.positions.tolist() == [0, 5]
    assert content(tensor) == content(CompressedTensor(**parts()))
    with pytest.raises(ValueError, match=message):
        CompressedTensor.from_bits(**fitting | changed)


def test_a_shared_tensor_does_not_change_and_can_be_pickled():
    tensor = CompressedTensor(**parts())
    with pytest.raises(FrozenInstanceError):
        tensor.codes = np.array([0, 0], np.uint8)
    copy = pickle.loads(pickle.dumps(tensor))
    assert copy.positions.tolist() == [0, 5]
    assert content(copy) == content(tensor)
    assert copy != tensor


def test_a_shared_tensor_is_held_in_contiguous_parts_whatever_it_is_made_of():
    positions, codes, codebook = np.arange(8)[::2], np.array([1, 0] * 4, np.uint8)[::2], np.arange(4, dtype="<f4")[::2]
    tensor = CompressedTensor((2, 4), positions, codebook, codes)
    assert tensor.positions.tolist() == [0, 2, 4, 6]
    assert tensor.numpy().tolist() == [[2, 0, 2, 0], [2, 0, 2, 0]]


def test_no_positions_are_held():
    tensor = CompressedTensor((80_000,), np.arange(80_000), np.ones(1, "<f4"), np.zeros(80_000, np.uint8))
    held = sum(part.nbytes for part in vars(tensor).values() if isinstance(part, np.ndarray))
    assert held == 80_000 // 8 + 80_000 + 4


def test_dense_elements_are_the_centroids_at_their_positions():
    tensor = CompressedTensor(**parts())
    assert tensor.numpy().tolist() == [[2, 0, 0], [0, 0, 1]]
    assert tensor.density == 2 / 6


def test_density_of_nothing_is_zero():
    assert shared(0, [], shape=(0,)).density == 0


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if isinstance(case, CompressedTensor)])
def test_the_canonical_form_is_the_same_tensor(name):
    form = CASES[name].canonical()
    assert content(form) == content(CASES[name])
    assert np.array_equal(form.positions, CASES[name].positions)
    assert set(form.codes) == set(range(len(form.codebook)))
    assert (np.diff(widen(form.codebook, form.dtype).astype(np.float64)) > 0).all()


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(data=st.data())
def test_a_shared_tensor_is_recognised_and_nothing_is_lost(dtype, data):
    item = STORAGE[dtype].itemsize
    distinct = data.draw(st.lists(st.binary(min_size=item, max_size=item), min_size=1, max_size=20))
    choice = data.draw(npst.arrays(np.uint8, st.integers(0, 60), elements=st.integers(0, len(distinct) - 1)))
    elements = np.frombuffer(b"".join(distinct[i] for i in choice), STORAGE[dtype])
    tensor = DenseTensor(dtype, elements)
    found = CompressedTensor.from_dense(tensor)
    assert content(found) == content(tensor)
    assert len(found.codebook) == len({distinct[i] for i in choice} - {bytes(item)})


def test_a_tensor_of_257_values_is_not_shared():
    assert CompressedTensor.from_dense(CASES["257 values"]) is None
    late = np.concatenate([np.ones(5000, "<f4"), np.arange(2, 258, dtype="<f4")])
    assert CompressedTensor.from_dense(DenseTensor("F32", late)) is None


def test_a_tensor_of_integers_is_not_shared():
    assert CompressedTensor.from_dense(dense("I32", (4,))) is None


# The order of a codebook


def of_any_bits(dtype):
    """Every element of 16 bits, or many of more."""
    if STORAGE[dtype].itemsize == 2:
        return np.arange(65536, dtype="<u2").view(STORAGE[dtype])
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, -1.0], STORAGE[dtype])
    return np.concatenate([special, numbers(20_000).view(STORAGE[dtype])])


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
def test_ordered_bits_come_back(dtype):
    elements = of_any_bits(dtype)
    ordered = ordered_bits(elements, dtype)
    assert ordered.dtype == np.uint64
    assert int(ordered.max()) < 2 ** (8 * elements.itemsize)
    back = unordered_bits(ordered, dtype)
    assert back.dtype == STORAGE[dtype]
    assert back.tobytes() == elements.tobytes()


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
def test_ordered_bits_ascend_as_the_values_do(dtype):
    elements = of_any_bits(dtype)
    elements = elements[~np.isnan(widen(elements, dtype))]
    values = widen(elements, dtype)[np.argsort(ordered_bits(elements, dtype))]
    assert (values[1:] >= values[:-1]).all()
    assert values[0] == -np.inf
    assert values[-1] == np.inf


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
def test_a_negative_zero_comes_right_before_zero_and_nan_at_the_ends(dtype):
    values = np.array([-np.inf, -0.0, 0.0, np.inf], np.float32)
    low, minus, plus, high = ordered_bits(narrow(values, dtype), dtype).tolist()
    assert plus == minus + 1 == 2 ** (8 * STORAGE[dtype].itemsize - 1)
    elements = of_any_bits(dtype)
    nan = ordered_bits(elements[np.isnan(widen(elements, dtype))], dtype)
    assert ((nan < low) | (nan > high)).all()


def test_a_canonical_codebook_holds_both_zeros_in_their_order():
    codebook = np.array([0.0, 5.0, -0.0, -1.0], "<f4")
    tensor = CompressedTensor((4,), np.arange(4), codebook, np.array([0, 1, 2, 3], np.uint8))
    form = tensor.canonical()
    assert form.codebook.tobytes() == np.array([-1.0, -0.0, 0.0, 5.0], "<f4").tobytes()
    assert form.codes.tolist() == [2, 3, 1, 0]
