"""Mistakes of callers of the C interface: each gets a status and a message, and every handle stays usable."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import c_interface as c
import numpy as np
import pytest
from packed_matrices import matrix, vectors

from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


@pytest.fixture
def path(tmp_path) -> Path:
    tensors = {
        "w": matrix(6, 10, 0.5, 4),
        "vector": CompressedTensor((8,), np.arange(8), np.ones(1, np.float32), np.zeros(8, np.uint8)),
        "dense": DenseTensor.from_numpy(vectors(30, 30)),
    }
    save_tensors(tmp_path / "m.dcz", tensors, {"key": "value"})
    return tmp_path / "m.dcz"


@pytest.fixture
def reader(path):
    with c.opened(path) as found:
        yield found
        # after every mistake
        assert len(c.decode(found, 0)) == 240


@pytest.fixture
def weights(reader):
    with c.packed(reader, 0) as found:
        yield found
        assert np.isfinite(c.multiply(found, vectors(2, 10))).all()


def refused(name, *arguments, message):
    with pytest.raises(c.CallError, match=message) as caught:
        c.call(name, *arguments)
    assert caught.value.status == c.BAD_CALL


OUT = ctypes.create_string_buffer(256)


# a call of each function, by the names of its pointers
CALLS = {
    "dcz_reader_open": ("path", 0, "reader"),
    "dcz_reader_open_memory": ("bytes", 9, 0, "reader"),
    "dcz_reader_entry": ("reader", 0, "entry", ctypes.sizeof(c.Entry)),
    "dcz_reader_find": ("reader", "name", "number"),
    "dcz_reader_metadata": ("reader", 0, "key", "value"),
    "dcz_reader_decode": ("reader", 0, "the buffer for tensor 'w'", 240, 1),
    "dcz_reader_check": ("reader", 0),
    "dcz_packed_make": ("reader", 0, 0, 1, 1, "packed"),
    "dcz_packed_describe": ("packed", "facts", ctypes.sizeof(c.Facts)),
    "dcz_packed_multiply": ("packed", "product", ctypes.sizeof(c.Product)),
    "dcz_instruction_set": ("name",),
    "dcz_force_instruction_set": ("name",),
}


@pytest.mark.parametrize(
    ("name", "null"), [(name, each) for name, call in CALLS.items() for each in call if isinstance(each, str)]
)
def test_a_null_pointer_is_named(name, null, path, reader, weights):
    given = {"path": str(path).encode(), "reader": reader, "packed": weights, "bytes": b"x", "name": b"w"}
    kinds = getattr(c.library(), name).argtypes

    def pointer(each, kind):
        if each == null:
            return None
        # results go to memory of their own
        return given[each] if each in given and kind in (c.c_char_p, c.c_void_p) else ctypes.cast(OUT, kind)

    arguments = [
        pointer(each, kind) if isinstance(each, str) else each for each, kind in zip(CALLS[name], kinds, strict=True)
    ]
    refused(name, *arguments, message=f"^{null} is NULL$")


def test_null_handles_are_empty_and_may_be_freed():
    assert c.library().dcz_reader_count(None) == c.library().dcz_reader_metadata_count(None) == 0
    c.library().dcz_reader_close(None)
    c.library().dcz_packed_free(None)


def test_an_unknown_name_is_said(reader):
    number = c.c_size_t(7)
    refused("dcz_reader_find", reader, b"nothing\x1b", c.byref(number), message=r"has the name 'nothing\\x1b'")
    assert number.value == 7


@pytest.mark.parametrize("number", [3, 2**64 - 1])
def test_a_number_that_there_is_not_is_said(number, reader):
    entry, text, packed = c.Entry(), c.Text(), c.c_void_p()
    message = f"there is no tensor number {number} of 3: numbers begin at 0"
    refused("dcz_reader_entry", reader, number, c.byref(entry), ctypes.sizeof(entry), message=message)
    refused("dcz_reader_decode", reader, number, OUT, 240, 1, message=message)
    refused("dcz_reader_check", reader, number, message=message)
    refused("dcz_packed_make", reader, number, 0, 1, 1, c.byref(packed), message=message)
    refused("dcz_reader_metadata", reader, number, c.byref(text), c.byref(text), message="no metadata entry number")
    assert packed.value is None


@pytest.mark.parametrize("size", [0, 239, 241])
def test_a_buffer_of_another_size_is_refused_and_not_touched(size, reader):
    elements = ctypes.create_string_buffer(b"\xaa" * 256, 256)
    message = f"the buffer for tensor 'w' has {size} bytes, expected 240"
    refused("dcz_reader_decode", reader, 0, elements, size, 1, message=message)
    assert elements.raw == b"\xaa" * 256


def test_only_shared_matrices_are_packed(reader):
    packed = c.c_void_p()
    for number, message in [
        (1, r"tensor 'vector' has the shape \[8\]: packed weights have two or more dimensions"),
        (2, "tensor 'dense' is not shared, so it cannot be packed: decode it instead"),
    ]:
        refused("dcz_packed_make", reader, number, 0, 1, 1, c.byref(packed), message=message)
    refused("dcz_packed_make", reader, 0, 2, 1, 1, c.byref(packed), message="activations are .*; found 2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_length": 19}, "x has 19 floats, expected 20"),
        ({"y_length": 13}, "y has 13 floats, expected 12"),
        ({"bias_length": 5}, "bias has 5 floats, expected 6"),
        ({"vectors": 3}, "x has 20 floats, expected 30"),
        ({"vectors": 2**62}, "no memory holds so many vectors"),
        ({"x": None}, "x is NULL"),
        ({"y": None}, "y is NULL"),
        ({"bias": None}, "bias is NULL"),
        ({"activations": -1}, "activations are .*; found -1"),
    ],
)
def test_a_product_that_does_not_fit_is_refused_and_y_is_not_touched(change, message, weights):
    x, y, bias = vectors(2, 10), np.full((2, 6), 7, np.float32), np.zeros(6, np.float32)
    of = c.product(x, y, bias)
    for field, value in change.items():
        setattr(of, field, value)
    refused("dcz_packed_multiply", weights, c.byref(of), ctypes.sizeof(of), message=message)
    assert (y == 7).all()


def test_y_shares_no_memory_with_x_or_bias(weights):
    memory = np.zeros(40, np.float32)
    for x, y, bias in [(memory[:10], memory[9:15], None), (memory[20:30], memory[:6], memory[5:11])]:
        of = c.product(x[None], y[None], bias)
        refused("dcz_packed_multiply", weights, c.byref(of), ctypes.sizeof(of), message="y must share no memory")


def test_a_caller_of_an_older_header_gets_the_fields_that_it_knows(reader, weights):
    found = c.Entry()
    found.tied_to = 99
    c.call("dcz_reader_entry", reader, 1, c.byref(found), c.Entry.tied_to.offset)
    assert (found.dtype, found.tied_to) == (b"F32", 99)
    x, y = vectors(1, 10), np.zeros((1, 6), np.float32)
    of = c.product(x, y)
    of.threads = of.activations = 77  # behind its end
    c.call("dcz_packed_multiply", weights, c.byref(of), c.Product.activations.offset)
    np.testing.assert_array_equal(y, c.multiply(weights, x))


def test_an_instruction_set_that_there_is_not_is_refused():
    refused("dcz_force_instruction_set", b"sse2", message="asks for the instruction set 'sse2', but this CPU and build")


@pytest.mark.parametrize(
    ("place", "message"),
    [("absent.dcz", "No such file"), (".", "Is a directory"), ("/dev/null", "Invalid seek|Illegal")],
)
def test_a_file_that_cannot_be_read_is_the_system_s_fault(place, message, tmp_path):
    with pytest.raises(c.CallError, match=message) as caught, c.opened(tmp_path / place):
        pass
    assert caught.value.status == c.SYSTEM
    assert str(tmp_path / place) in str(caught.value)


def test_messages_are_a_thread_s_own_and_have_at_most_1023_bytes(reader):
    number = c.c_size_t()
    refused("dcz_reader_find", reader, b"first", c.byref(number), message="'first'")

    def elsewhere():
        first = c.library().dcz_message()
        refused("dcz_reader_find", reader, b"x" * 5000, c.byref(number), message="x" * 900)
        return first, len(c.library().dcz_message())

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(elsewhere).result() == (b"", 1023)
    assert b"'first'" in c.library().dcz_message()


def test_a_long_message_is_not_cut_within_a_character():
    with pytest.raises(c.CallError, match=r"^ä{511}$") as caught, c.opened(Path("ä" * 2000)):
        pass
    assert caught.value.status == c.SYSTEM
