"""The form `quad`: its bytes mean what core/quad.hpp says, and every kernel multiplies them as the form window does."""

import struct
from typing import NamedTuple

import numpy as np
import pytest
import window_twin as twin
from numpy.typing import NDArray
from test_packing import matrix
from test_panel import assert_close, dense_product, refuses, vectors

from deepcompression import _core, packing
from deepcompression.tensor import CompressedTensor

HEADER = struct.Struct("<4sBBBBQQQIIQffQ")
FOUR = 4
SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (257, 511), (601, 1241)]
CENTROIDS = [1, 16, 17, 32, 33, 256]


@pytest.fixture(autouse=True)
def every_instruction_set(instruction_set):
    return instruction_set


def pack(tensor):
    packed = packing.pack(tensor, "int8", form="quad")
    assert packing.header(packed).form == "quad"
    return packed


class Sections(NamedTuple):
    block_columns: int
    panel_rows: int
    code_bits: int
    codebook: NDArray[np.float32]
    digits: NDArray[np.int8]
    sums: NDArray[np.int32]
    ends: NDArray[np.uint32]
    run_rows: NDArray[np.uint16]
    fours: NDArray[np.uint16]
    entries: NDArray[np.uint16]


def sections(packed):
    """The parts of packed bytes, found by the comment in core/quad.hpp."""
    data = packed.tobytes()
    magic, form, code_bits, *_, rows, columns, _, _, units, length, _, _, size = HEADER.unpack_from(data)
    assert (magic, form, size) == (b"dcp1", 4, len(data))
    block_columns, panel_rows, runs = struct.unpack_from("<IIQ", data, 64)
    blocks = -(-columns // block_columns)
    assert units == -(-rows // panel_rows)
    at = 128

    def take(kind, count):
        nonlocal at
        found = np.frombuffer(data, kind, count, at)
        at += -(-found.nbytes // 64) * 64
        return found

    codebook, digits, sums = take("<f4", 1 << code_bits), take("i1", 1 << code_bits), take("<i4", rows)
    ends = take("<u4", 2 * units * blocks).reshape(-1, 2)
    run_rows, fours, entries = take("<u2", runs), take("<u2", runs), take("<u2", FOUR * length)
    assert at == len(data)
    return Sections(block_columns, panel_rows, code_bits, codebook, digits, sums, ends, run_rows, fours, entries)


def unpacked(packed):
    """The code of each element, -1 where nothing survives, and how many entries mean nothing."""
    facts, parts = packing.header(packed), sections(packed)
    blocks = -(-facts.columns // parts.block_columns)
    codes = np.full((facts.rows, facts.columns), -1, np.int64)
    first = four = nothing = 0
    for segment, (last, last_four) in enumerate(parts.ends):
        panel, block = divmod(segment, blocks)
        assert (np.diff(parts.fours[first:last].astype(int)) <= 0).all()
        for run in range(first, last):
            behind = four + int(parts.fours[run])
            for entry in parts.entries[FOUR * four : FOUR * behind].tolist():
                local, code = entry >> parts.code_bits, entry & (1 << parts.code_bits) - 1
                if local == parts.block_columns:
                    assert np.isfinite(parts.codebook[code])
                    nothing += 1
                    continue
                at = (panel * parts.panel_rows + int(parts.run_rows[run]), block * parts.block_columns + local)
                assert codes[at] == -1
                codes[at] = code
            four = behind
        first = last
        assert four == last_four
    return codes, nothing


def weights(codes, of):
    """One of these for each survivor, zeros between them."""
    return np.where(codes >= 0, np.append(of, 0)[codes], 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", [16, 32, 200])
@pytest.mark.parametrize("density", [0, 0.03, 0.3, 1])
def test_the_bytes_mean_the_matrix(shape, density, centroids):
    tensor = matrix(*shape, density, centroids)
    packed = pack(tensor)
    _core.check_packed(packed)
    codes, _ = unpacked(packed)
    parts = sections(packed)
    assert np.array_equal(weights(codes, parts.codebook), tensor.numpy())
    assert np.array_equal(weights(codes, parts.digits.astype(int)).sum(1), parts.sums)


@pytest.mark.parametrize("density", [0.04, 0.09, 0.25])
def test_a_survivor_takes_at_most_two_and_a_half_bytes(density):
    tensor = matrix(1024, 4096, density, 16)
    packed = pack(tensor)
    assert packed.nbytes <= 2.5 * len(tensor.positions)
    assert unpacked(packed)[1] <= 0.1 * len(tensor.positions)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_a_product_is_that_of_the_form_window_bit_for_bit(shape, centroids):
    tensor = matrix(*shape, 0.3, centroids)
    packed, window = pack(tensor), packing.pack(tensor, "int8", form="window")
    x, bias = vectors(70, shape[1]), vectors(1, shape[0], seed=5)[0]
    for count in (0, 1, 16, 17, 63, 64, 65, 70):
        found = packing.matmul(packed, x[:count], bias=bias, activations="int8")
        assert np.array_equal(found, packing.matmul(window, x[:count], bias=bias, activations="int8"))


@pytest.mark.parametrize("centroids", CENTROIDS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_that_of_its_twin_bit_for_bit(centroids, bias):
    tensor = matrix(45, 1300, 0.2, centroids)
    packed = pack(tensor)
    facts, parts = packing.header(packed), sections(packed)
    twin_of_it = twin.Window(
        unpacked(packed)[0], parts.codebook, parts.digits.astype(np.int64), parts.digits, 0, facts.scale8, 0.0
    )
    x, added = vectors(67, 1300), vectors(1, 45, seed=5)[0] if bias else None
    found = packing.matmul(packed, x, bias=added, activations="int8")
    for y, vector in zip(found, x, strict=True):
        assert np.array_equal(y, twin.product(twin_of_it, vector, added, int8=True))


def test_digits_on_the_grid_are_taken_as_they_are():
    tensor = matrix(40, 300, 0.2, 16)
    codebook = (np.arange(-5, 11) * 0.25).astype(np.float32)
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, tensor.codes)
    packed = pack(tensor)
    assert packing.header(packed).grid_bits == 8
    assert np.array_equal(sections(packed).digits * np.float32(packing.header(packed).scale8), codebook)
    window = packing.pack(tensor, "int8", form="window")
    x = vectors(64, 300)
    assert np.array_equal(packing.matmul(packed, x, activations="int8"), packing.matmul(window, x, activations="int8"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centroids", [16, 32, 200])
def test_vectors_of_floats_are_multiplied_too(shape, centroids):
    tensor = matrix(*shape, 0.3, centroids)
    x = vectors(70, shape[1])
    assert_close(packing.matmul(pack(tensor), x), x, tensor.numpy())


def test_sums_of_whole_blocks_of_the_largest_digits_are_exact():
    rows, columns = 5, 4096
    tensor = CompressedTensor(
        (rows, columns), np.arange(rows * columns), np.ones(1, np.float32), np.zeros(rows * columns, np.uint8)
    )
    x = np.ones((64, columns), np.float32)
    x[1::2] *= -1
    window = packing.pack(tensor, "int8", form="window")
    assert np.array_equal(
        packing.matmul(pack(tensor), x, activations="int8"), packing.matmul(window, x, activations="int8")
    )


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-38, 1e-30, 1e30, 1e36])
def test_vectors_of_any_size_beside_others(size):
    tensor = matrix(40, 300, 0.3, 16)
    x = vectors(64, 300)
    x /= np.abs(x).max()
    x[1::3] *= np.float32(size)
    found, expected = packing.matmul(pack(tensor), x, activations="int8"), dense_product(x, tensor.numpy())
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 3e-2 * np.abs(other).max() + 300 * 2.0**-149


def test_rows_of_more_columns_than_integers_can_add_are_computed_in_floats():
    tensor = matrix(3, 70_000, 0.01, 16)
    x = vectors(3, 70_000)
    assert_close(packing.matmul(pack(tensor), x, activations="int8"), x, tensor.numpy())


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_any_number_of_threads_gives_the_same_bits(activations):
    tensor = matrix(1500, 1900, 0.3, 16)
    packed = pack(tensor)
    x = vectors(100, 1900)
    one = packing.matmul(packed, x, activations=activations)
    for threads in (2, 3, 4):
        assert np.array_equal(one, packing.matmul(packed, x, activations=activations, threads=threads))


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
@pytest.mark.parametrize("density", [0.3, 1])
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(density, activations):
    tensor = matrix(40, 300, density, 16)
    x = vectors(70, 300)
    clean = x.copy()
    x[3, 17] = np.inf
    x[40, 299] = -np.inf
    x[65, 0] = np.nan
    x[66, [1, 2]] = np.inf, -np.inf
    packed = pack(tensor)
    found = packing.matmul(packed, x, activations=activations, threads=2)
    spoilt = [3, 40, 65, 66]
    expected = dense_product(x[spoilt], tensor.numpy()).astype(np.float32)
    assert np.array_equal(found[spoilt], expected, equal_nan=True)
    others = np.setdiff1d(np.arange(70), spoilt)
    assert np.array_equal(found[others], packing.matmul(packed, clean, activations=activations)[others])


@pytest.mark.parametrize("finite", [0, 7, 15])
def test_entries_that_mean_nothing_add_nothing_beside_centroids_that_are_not_finite(finite):
    tensor = matrix(40, 300, 0.1, 16)
    codebook = np.full(16, np.inf, np.float32)
    codebook[finite] = 0.5
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, np.full_like(tensor.codes, finite))
    x = vectors(20, 300)
    assert_close(packing.matmul(pack(tensor), x), x, tensor.numpy())


def test_digits_that_do_not_fit_are_refused():
    one = np.ones(1, np.uint8), np.zeros(1, np.uint8), np.ones(2, np.float32), False, 1.0
    with pytest.raises(ValueError, match="between -127 and 127"):
        _core.pack_quad(1, 8, *one, np.array([1, 128], np.int16))
    with pytest.raises(ValueError, match="one digit a centroid"):
        _core.pack_quad(1, 8, *one, np.ones(1, np.int16))


def test_every_truncation_is_refused():
    packed = pack(matrix(20, 50, 0.1, 16))
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(packed[:size].copy())
        with pytest.raises(ValueError, match="packed weights"):
            packing.matmul(packed[:size].copy(), vectors(2, 50))


@pytest.mark.parametrize("centroids", [16, 32, 200])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_bytes_that_are_changed_are_refused_or_harmless(centroids, activations):
    packed = pack(matrix(40, 1500, 0.1, centroids))
    x = vectors(20, 1500)
    rng = np.random.default_rng(0)
    places = np.concatenate([np.arange(min(len(packed), 600)), rng.integers(0, len(packed), 300)])
    for place in places:
        spoilt = packed.copy()
        spoilt[place] = rng.choice([0, 1, 127, 128, 255])
        refused = refuses(_core.check_packed, spoilt)
        if refuses(packing.header, spoilt):
            assert refused
        elif packing.header(spoilt).rows < 1000:
            refuses(packing.matmul, spoilt, x, None, None, activations)


@pytest.mark.parametrize("centroids", [16, 32, 200])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_bytes_that_are_all_noise_behind_the_shape_are_harmless(centroids, activations):
    packed = pack(matrix(40, 500, 0.1, centroids))
    rng = np.random.default_rng(1)
    for _ in range(30):
        spoilt = packed.copy()
        spoilt[128:] = rng.integers(0, 256, len(packed) - 128, dtype=np.uint8)
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(spoilt)
        assert packing.matmul(spoilt, vectors(64, 500), activations=activations, threads=2).shape == (64, 40)


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("ends", 0xFFFFFFFF, "outside of the runs"),
        ("run_rows", 0xFFFF, "row outside"),
        ("fours", 0xFFFF, "longer than its block"),
        ("fours", 0x0001, "fill their segment"),
        ("entries", 0xFFF0, "outside of its block"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(section, value, message):
    packed = pack(matrix(40, 500, 0.1, 16))
    part = getattr(sections(packed), section)
    at = packed.tobytes().find(part.tobytes())
    packed[at : at + part.itemsize] = np.frombuffer(np.array(value, part.dtype).tobytes(), np.uint8)
    with pytest.raises(ValueError, match=message):
        _core.check_packed(packed)
    assert packing.matmul(packed, vectors(2, 500), activations="int8").shape == (2, 40)
