"""The form `tile` and a slow twin of its layout: every instruction set, all shapes, hostile bytes."""

import math
import struct

import numpy as np
import pytest

from deepcompression import _core
from deepcompression.packed import multiply, packing
from deepcompression.tensors.tensor import CompressedTensor

SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (64, 128), (7, 13, 3), (16, 3, 5, 5), (4, 2, 3, 2, 3), (2, 3, 0)]
HEADER = struct.Struct("<4sBBBBQQQIIQffQ")


pytestmark = pytest.mark.usefixtures("instruction_set")


def shared(shape, density, centroids, seed=0):
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(math.prod(shape)) < density).astype(np.int64)
    codebook = np.sort(rng.standard_normal(centroids)).astype(np.float32)
    return CompressedTensor(shape, positions, codebook, rng.integers(0, centroids, len(positions)).astype(np.uint8))


def matrix(tensor):
    return tensor.numpy().reshape(tensor.shape[0], math.prod(tensor.shape[1:]))


def section(at):
    return -(-at // 64) * 64


def slow_rows(packed):
    """Every row, found bit by bit as core/packed/tile/tile.hpp describes."""
    data = packed.tobytes()
    magic, form, code_bits, _, _, rows, columns, survivors, centroids, _, _, _, _, size = HEADER.unpack_from(data)
    assert (magic, form, size) == (b"dcp1", 3, len(data))
    codebook = np.frombuffer(data, "<f4", 1 << code_bits, 64)
    assert centroids <= len(codebook)
    starts_at = section(64 + codebook.nbytes)
    starts = np.frombuffer(data, "<u4", rows + 1, starts_at)
    bitmap_at = section(starts_at + starts.nbytes)
    row_bytes = (columns + 7) // 8
    codes_at = section(bitmap_at + rows * row_bytes)
    dense = np.zeros((rows, columns), np.float32)
    code = 0
    for row in range(rows):
        assert starts[row] == code
        for column in range(columns):
            if not data[bitmap_at + row * row_bytes + column // 8] >> column % 8 & 1:
                continue
            nibble = data[codes_at + code // 2] >> 4 * (code % 2) & 15
            number = nibble if code_bits == 4 else data[codes_at + code]
            dense[row, column] = codebook[number]
            code += 1
    assert starts[rows] == code == survivors
    return dense


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", [1, 2, 16, 17, 32, 33, 128, 129, 256])
@pytest.mark.parametrize("density", [0, 0.04, 0.35, 1])
def test_rows_are_those_of_the_dense_matrix(shape, centroids, density):
    tensor = shared(shape, density, centroids)
    packed = packing.pack(tensor, form="tile")
    _core.check_packed(packed)
    expected = matrix(tensor)
    assert np.array_equal(multiply.rows(packed, 0, shape[0]), expected)
    if centroids in (16, 129) and density == 0.35:
        assert np.array_equal(slow_rows(packed), expected)


@pytest.mark.parametrize("centroids", [16, 256])
def test_any_rows_in_any_order_on_any_number_of_threads(centroids):
    tensor = shared((301, 997), 0.2, centroids)
    dense, packed = tensor.numpy(), packing.pack(tensor, form="tile")
    for threads in (1, 2, 5):
        out = np.full((150, 997), np.nan, np.float32)
        assert multiply.rows(packed, 151, 150, out, threads) is out
        assert np.array_equal(out, dense[151:])
        indices = np.random.default_rng(1).integers(0, 301, (40, 7))
        assert np.array_equal(multiply.gather(packed, indices, threads), dense[indices])
    assert multiply.rows(packed, 301, 0).shape == (0, 997)
    assert multiply.gather(packed, np.zeros((0, 3), np.int32)).shape == (0, 3, 997)


def test_empty_and_full_rows_between_others():
    mask = np.zeros((6, 200), bool)
    mask[1], mask[4, 199], mask[4, 64] = True, True, True
    positions = np.flatnonzero(mask).astype(np.int64)
    codes = (np.arange(len(positions)) % 7).astype(np.uint8)
    tensor = CompressedTensor((6, 200), positions, np.arange(7, dtype=np.float32) - 3, codes)
    packed = packing.pack(tensor, form="tile")
    assert np.array_equal(multiply.rows(packed, 0, 6), tensor.numpy())
    assert np.array_equal(multiply.rows(packed, 4, 1), tensor.numpy()[4:5])


def test_bits_of_centroids_survive():
    codebook = np.array([0x80000000, 0x7FC12345, 0xFF800000, 1], np.uint32).view(np.float32)
    tensor = CompressedTensor((2, 70), np.arange(0, 140, 5), codebook, (np.arange(28) % 4).astype(np.uint8))
    found = multiply.rows(packing.pack(tensor, form="tile"), 0, 2)
    assert np.array_equal(found.view(np.uint32), tensor.numpy().view(np.uint32))


def test_a_packed_convolution_takes_few_bytes():
    tensor = shared((64, 64, 3, 3), 0.35, 256)
    dense_bitmap, codes = 64 * 64 * 9 // 8, len(tensor.codes)
    assert packing.pack(tensor, form="tile").nbytes < dense_bitmap + codes + 64 * 4 + 1024 + 5 * 64


def test_mistakes_of_callers_are_named():
    packed = packing.pack(shared((5, 7), 0.5, 4), form="tile")
    with pytest.raises(IndexError, match="rows 3 to 5 of packed weights with 5 rows"):
        multiply.rows(packed, 3, 3)
    with pytest.raises(IndexError, match="rows -1 to"):
        multiply.rows(packed, -1, 1)
    with pytest.raises(ValueError, match=r"of shape \[2, 7\]; found float64"):
        multiply.rows(packed, 0, 2, np.zeros((2, 7)))
    with pytest.raises(IndexError, match="indices lie within 0 to 4; found -1 to 2"):
        multiply.gather(packed, np.array([2, -1]))
    with pytest.raises(IndexError, match="found 5 to 5"):
        multiply.gather(packed, np.array([5]))
    with pytest.raises(TypeError, match="indices are integers; found float64"):
        multiply.gather(packed, np.array([1.0]))
    with pytest.raises(ValueError, match=f"in the form {', '.join(packing.FORMS)}; found 'row'"):
        packing.pack(shared((5, 7), 0.5, 4), form="row")
    with pytest.raises(ValueError, match="does not multiply"):
        multiply.matmul(packed, np.zeros((1, 7), np.float32))
    with pytest.raises(ValueError, match="forms tile and word"):
        multiply.rows(packing.pack(shared((5, 7), 0.5, 4)), 0, 1)


def test_the_core_checks_numbers_of_rows_too():
    packed, out = packing.pack(shared((5, 7), 0.5, 4), form="tile"), np.zeros((5, 7), np.float32)
    for row in (-1, 5, 2**62):
        numbers = np.array([0, row], np.int64)
        with pytest.raises(IndexError, match=f"row {row} of packed weights with 5 rows"):
            _core.gather_rows(packed.ctypes.data, packed.nbytes, numbers.ctypes.data, 2, out.ctypes.data, 1)
    with pytest.raises(IndexError, match="do not have that many rows"):
        _core.decode_rows(packed.ctypes.data, packed.nbytes, 1, 5, out.ctypes.data, 1)
    moved = np.zeros(packed.nbytes + 1, np.uint8)
    moved[1:] = packed
    with pytest.raises(ValueError, match="multiple of 4"):
        _core.decode_rows(moved.ctypes.data + 1, packed.nbytes, 0, 5, out.ctypes.data, 1)


def aligned(data):
    """The bytes at the end of an allocation of their own, so that tools that watch memory see reads behind them."""
    return np.frombuffer(bytearray(data), np.uint8)


def try_all(packed):
    """True if the bytes decode to anything. Any error but a ValueError is a bug."""
    try:
        facts = packing.header(packed)
        if facts.rows * facts.columns > 1 << 20:
            return False
        multiply.rows(packed, 0, facts.rows)
        if facts.rows:
            multiply.gather(packed, np.array([0, facts.rows - 1]))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("centroids", [16, 256])
def test_every_truncation_is_refused(centroids):
    data = packing.pack(shared((9, 77), 0.4, centroids), form="tile").tobytes()
    for size in range(len(data)):
        assert not try_all(aligned(data[:size]))
    assert not try_all(aligned(data + b"\0"))
    assert try_all(aligned(data))


@pytest.mark.parametrize("centroids", [16, 30, 256])
def test_spoilt_bytes_are_refused_or_decode_within_bounds(centroids):
    data = packing.pack(shared((9, 77), 0.4, centroids), form="tile").tobytes()
    rng = np.random.default_rng(centroids)
    for at in range(len(data)):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << rng.integers(8) if at % 2 else 255
        try_all(aligned(spoilt))
    starts = 64 + (64 if centroids == 16 else 128 if centroids == 30 else 1024)
    for row in range(10):
        spoilt = bytearray(data)
        spoilt[starts + 4 * row : starts + 4 * row + 4] = b"\xff" * 4
        assert try_all(aligned(spoilt))
        with pytest.raises(ValueError, match=r"begins elsewhere|another number"):
            _core.check_packed(aligned(spoilt))


def test_a_check_finds_codes_and_survivors_out_of_bounds():
    packed = packing.pack(shared((3, 9), 1, 17), form="tile")
    code, bits = packed.copy(), packed.copy()
    code[-128] = 17
    with pytest.raises(ValueError, match="a code outside"):
        _core.check_packed(code)
    bits[64 + 128 + 64 + 1] |= 128
    with pytest.raises(ValueError, match="behind the last column"):
        _core.check_packed(bits)
