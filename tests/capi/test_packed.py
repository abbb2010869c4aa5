"""Packed weights through the C interface: the same bytes and the same products as in Python."""

import ctypes

import c_interface as c
import numpy as np
import pytest
from packed_matrices import matrix, vectors

from deepcompression import _core
from deepcompression.coding.coders import CODERS
from deepcompression.coding.encode_part import Encode
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.packed import multiply, packing
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, narrow
from deepcompression.tensors.tensor import CompressedTensor

NAMES = {"float32": c.FLOAT32, "int8": c.INT8}
# where shared tensors can be: as codes, or small and recognised by their values
HOLD_SHARED = ("raw", "sparse", "huffman", "fast", "small", "deflate", "device")


@pytest.fixture
def forced(instruction_set):
    """The instruction set in Python and in C, which have a core each."""
    c.call("dcz_force_instruction_set", instruction_set.encode())
    yield instruction_set
    c.call("dcz_force_instruction_set", b"")


def saved(path, tensor, coder=None):
    save_tensors(path, {"w": tensor}, {}, {"w": Encode(coder=coder)} if coder else {})
    return path


def bytes_of(weights):
    found = c.facts(weights)
    return ctypes.string_at(found.bytes, found.size)


def assert_packed_alike(path, activations="float32", batch=1):
    with DczFile(path) as file, c.opened(path) as reader, c.packed(reader, 0, NAMES[activations], batch) as weights:
        tensor = file.read("w")
        if not isinstance(tensor, CompressedTensor):
            tensor = CompressedTensor.from_dense(tensor)
        assert bytes_of(weights) == packing.pack(tensor, activations, batch).tobytes()


@pytest.mark.parametrize("batch", [1, 4, 12, 64])
@pytest.mark.parametrize("activations", NAMES)
@pytest.mark.parametrize("centroids", [1, 16, 256])
def test_packed_weights_are_python_s_byte_for_byte(centroids, activations, batch, forced, tmp_path):
    assert_packed_alike(saved(tmp_path / "m.dcz", matrix(70, 300, 0.3, centroids)), activations, batch)


def test_every_coder_of_shared_tensors_has_a_test():
    assert set(HOLD_SHARED) == set(CODERS)


@pytest.mark.parametrize("dtype", WEIGHT_DTYPES)
@pytest.mark.parametrize("coder", HOLD_SHARED)
def test_a_shared_tensor_is_packed_from_every_coder_and_dtype(coder, dtype, tmp_path):
    found = matrix(20, 40, 0.2, 9)
    codebook = narrow(found.codebook, dtype).astype(STORAGE[dtype])
    assert_packed_alike(
        saved(tmp_path / "m.dcz", CompressedTensor((20, 8, 5), found.positions, codebook, found.codes, dtype), coder)
    )


def codebooks():
    """Codebooks on grids, nearly so, and off every grid."""
    rng = np.random.default_rng(3)
    for limit in (3, 127, 128, 32639, 32640, 40000):
        for scale in (1.0, 2.0**-149, 3 * 2.0**-20, 0.1, 1e30, 257 / 2**12, 131071.0, 131073.0, 511.0):
            yield np.append(rng.integers(-limit, limit + 1, 14), limit).astype(np.float32) * np.float32(scale)
    yield rng.standard_normal(15).astype(np.float32)
    yield np.zeros(15, np.float32)
    yield np.array([0, -0.0, 1e-45, 1.5, 3e38], np.float32)
    yield np.array([1, np.inf], np.float32)
    yield np.array([np.nan, 1, 2], np.float32)
    yield np.array([2.0**-100, 2.0**100], np.float32)


@pytest.mark.parametrize("activations", NAMES)
def test_digits_of_every_kind_of_codebook_are_python_s(activations, forced, tmp_path):
    for codebook in codebooks():
        codebook = np.unique(codebook)
        codes = (np.arange(600) % len(codebook)).astype(np.uint8)
        tensor = CompressedTensor((10, 60), np.arange(600), codebook, codes)
        assert_packed_alike(saved(tmp_path / "m.dcz", tensor, "huffman"), activations, 2)


@pytest.mark.parametrize("activations", NAMES)
@pytest.mark.parametrize("count", [0, 1, 5, 50])
def test_products_are_python_s_bit_for_bit(count, activations, forced, tmp_path):
    path = saved(tmp_path / "m.dcz", matrix(70, 300, 0.3, 16))
    x, bias = vectors(count, 300), vectors(1, 70)[0]
    with DczFile(path) as file, c.opened(path) as reader, c.packed(reader, 0, NAMES[activations], count) as weights:
        of = packing.pack(file.read("w"), activations, count)
        assert (c.facts(weights).rows, c.facts(weights).columns) == (70, 300)
        assert c.facts(weights).form.decode() == packing.header(of).form
        for added in (None, bias):
            expected = multiply.matmul(of, x, bias=added, activations=activations)
            for threads in (0, 1, 3):
                found = c.multiply(weights, x, added, NAMES[activations], threads)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("activations", NAMES)
def test_infinities_and_nans_reach_y_as_in_python(activations, forced, tmp_path):
    path = saved(tmp_path / "m.dcz", matrix(30, 90, 0.5, 16))
    x = vectors(4, 90)
    x[0, 3], x[1, 5], x[2, 7], x[2, 9] = np.nan, np.inf, np.inf, -np.inf
    with DczFile(path) as file, c.opened(path) as reader, c.packed(reader, 0, NAMES[activations], 4) as weights:
        expected = multiply.matmul(packing.pack(file.read("w"), activations, 4), x, activations=activations)
        found = c.multiply(weights, x, activations=NAMES[activations])
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found[:3]).any(1).all()
    assert np.isfinite(found[3]).all()


def test_packed_weights_outlive_their_reader(tmp_path):
    tensor = matrix(20, 30, 0.3, 4)
    reader, weights = c.c_void_p(), c.c_void_p()
    path = saved(tmp_path / "m.dcz", tensor)
    c.call("dcz_reader_open", str(path).encode(), 0, c.byref(reader))
    c.call("dcz_packed_make", reader, 0, c.FLOAT32, 1, 1, c.byref(weights))
    c.library().dcz_reader_close(reader)
    x = vectors(1, 30)
    np.testing.assert_allclose(c.multiply(weights, x), x @ tensor.numpy().T, rtol=1e-4, atol=1e-5)
    c.library().dcz_packed_free(weights)


def test_both_cores_have_the_same_instruction_sets(forced):
    assert c.library().dcz_instruction_sets().decode().split() == _core.instruction_sets()
    name = c.c_char_p()
    c.call("dcz_instruction_set", c.byref(name))
    assert name.value.decode() == forced
