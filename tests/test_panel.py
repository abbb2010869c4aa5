"""The form `panel`: its bytes mean what core/panel.hpp says, and every kernel multiplies them like the dense matrix."""

import struct
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from deepcompression import _core, packing
from deepcompression.tensor import CompressedTensor

HEADER = struct.Struct("<4sBBBBQQQIIQffQ")
QUARTET = 4
MANY = 1000


@pytest.fixture(params=_core.instruction_sets(), autouse=True)
def instruction_set(request):
    _core.force_instruction_set(request.param)
    yield request.param
    _core.force_instruction_set("")


def matrix(rows, columns, density, centroids, seed=0):
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(rows * columns) < density).astype(np.int64)
    codebook = np.sort(rng.standard_normal(centroids)).astype(np.float32)
    codes = rng.integers(0, centroids, len(positions)).astype(np.uint8)
    return CompressedTensor((rows, columns), positions, codebook, codes)


def pack(tensor):
    packed = packing.pack(tensor, batch=MANY)
    assert packing.header(packed).form == "panel"
    return packed


def vectors(count, columns, seed=1):
    return np.random.default_rng(seed).standard_normal((count, columns)).astype(np.float32)


def assert_close(found, x, dense, bias=0):
    expected = x.astype(np.float64) @ dense.astype(np.float64).T + bias
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= 1e-6 * np.abs(expected).max(initial=0)


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_the_batch_decides_for_the_form(activations):
    tensor = matrix(3, 4, 0.5, 2)
    for batch in (2, 4, 5, 11, 12, 47, 48, MANY):
        form = packing.FORM_FOR_MANY[activations] if batch >= packing.MANY_FROM[activations] else "window"
        assert packing.header(packing.pack(tensor, activations, batch)).form == form
    assert packing.header(packing.pack(tensor, activations)).form in ("window", "wide")


class Sections(NamedTuple):
    rows: int
    columns: int
    block_columns: int
    panel_rows: int
    codebook: NDArray[np.float32]
    ends: NDArray[np.uint32]
    quartet_rows: NDArray[np.uint16]
    turns: NDArray[np.uint16]
    entries: NDArray[np.uint16]


def sections(packed):
    """The parts of packed bytes, found by the comment in core/panel.hpp."""
    data = packed.tobytes()
    magic, form, code_bits, *_, rows, columns, _, _, units, length, _, _, size = HEADER.unpack_from(data)
    assert (magic, form, size) == (b"dcp1", 2, len(data))
    block_columns, panel_rows, quartets = struct.unpack_from("<IIQ", data, 64)
    blocks = -(-columns // block_columns)
    assert units == -(-rows // panel_rows)
    at = 128

    def take(kind, count):
        nonlocal at
        found = np.frombuffer(data, kind, count, at)
        at += -(-found.nbytes // 64) * 64
        return found

    codebook = take("<f4", 1 << code_bits)
    ends = take("<u4", 2 * units * blocks).reshape(units * blocks, 2)
    quartet_rows = take("<u2", QUARTET * quartets).reshape(-1, QUARTET)
    turns = take("<u2", quartets)
    entries = take("<u2", QUARTET * length).reshape(-1, QUARTET)
    assert at == len(data)
    return Sections(rows, columns, block_columns, panel_rows, codebook, ends, quartet_rows, turns, entries)


def unpacked(packed):
    """The dense matrix, and how many entries mean nothing."""
    parts = sections(packed)
    blocks = -(-parts.columns // parts.block_columns)
    dense = np.zeros((parts.rows, parts.columns), np.float32)
    first_quartet = turn = nothing = 0
    for segment, (last_quartet, last_turn) in enumerate(parts.ends):
        panel, block = divmod(segment, blocks)
        for quartet in range(first_quartet, last_quartet):
            for row, column in zip(parts.quartet_rows[quartet], range(QUARTET), strict=True):
                for entry in parts.entries[turn : turn + parts.turns[quartet], column]:
                    local, code = int(entry) >> 8, int(entry) & 255
                    if local == parts.block_columns:
                        assert np.isfinite(parts.codebook[code])
                        nothing += 1
                        continue
                    at = (panel * parts.panel_rows + int(row), block * parts.block_columns + local)
                    assert dense[at] == 0
                    dense[at] = parts.codebook[code]
            turn += parts.turns[quartet]
        first_quartet = last_quartet
        assert turn == last_turn
    return dense, nothing


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (5, 7), (37, 531), (601, 241)])
@pytest.mark.parametrize("density", [0, 0.03, 0.3, 1])
def test_the_bytes_mean_the_matrix(shape, density):
    tensor = matrix(*shape, density, 16)
    packed = pack(tensor)
    _core.check_packed(packed)
    dense, _ = unpacked(packed)
    assert np.array_equal(dense, tensor.numpy())


def test_a_survivor_takes_at_most_two_and_a_half_bytes():
    tensor = matrix(1024, 2048, 0.09, 16)
    packed = pack(tensor)
    assert packed.nbytes <= 2.5 * len(tensor.positions)
    assert unpacked(packed)[1] <= 0.1 * len(tensor.positions)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (5, 7), (37, 131), (257, 511), (601, 241)])
@pytest.mark.parametrize("centroids", [1, 16, 17, 32, 33, 256])
@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_a_product_is_that_of_the_dense_matrix(shape, centroids, activations):
    tensor = matrix(*shape, 0.3, centroids)
    x = vectors(19, shape[1])
    assert_close(packing.matmul(pack(tensor), x, activations=activations), x, tensor.numpy())


@pytest.mark.parametrize("density", [0, 0.01, 0.1, 0.5, 1])
def test_every_density(density):
    tensor = matrix(97, 743, density, 16)
    x = vectors(64, 743)
    assert_close(packing.matmul(pack(tensor), x), x, tensor.numpy())


@pytest.mark.parametrize("centroids", [16, 200])
def test_every_batch(centroids):
    tensor = matrix(45, 260, 0.2, centroids)
    packed = pack(tensor)
    x = vectors(130, 260)
    for count in range(131):
        assert_close(packing.matmul(packed, x[:count]), x[:count], tensor.numpy())


def test_rows_of_very_uneven_length():
    mask = np.zeros((300, 500), bool)
    mask[7] = True
    mask[100:103, ::7] = True
    mask[299, 499] = True
    positions = np.flatnonzero(mask).astype(np.int64)
    codes = (positions % 16).astype(np.uint8)
    tensor = CompressedTensor((300, 500), positions, np.linspace(-1, 1, 16, dtype=np.float32), codes)
    x = vectors(33, 500)
    packed = pack(tensor)
    assert np.array_equal(unpacked(packed)[0], tensor.numpy())
    assert_close(packing.matmul(packed, x), x, tensor.numpy())


def test_a_bias_is_added():
    tensor = matrix(77, 300, 0.2, 16)
    bias = vectors(1, 77, seed=5)[0]
    x = vectors(70, 300)
    assert_close(packing.matmul(pack(tensor), x, bias=bias), x, tensor.numpy(), bias)


def test_any_number_of_threads_gives_the_same_bits():
    tensor = matrix(1100, 900, 0.2, 16)
    packed = pack(tensor)
    x = vectors(100, 900)
    one = packing.matmul(packed, x)
    for threads in (2, 3, 4):
        assert np.array_equal(one, packing.matmul(packed, x, threads=threads))


def dense_product(x, dense):
    with np.errstate(invalid="ignore", over="ignore"):
        return np.stack([(dense.astype(np.float64) * vector).sum(1) for vector in x.astype(np.float64)])


@pytest.mark.parametrize("density", [0.3, 1])
@pytest.mark.parametrize("centroids", [16, 33])
@pytest.mark.parametrize("threads", [1, 2])
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(density, centroids, threads):
    tensor = matrix(40, 300, density, centroids)
    x = vectors(70, 300)
    clean = x.copy()
    x[3, 17] = np.inf
    x[40, 299] = -np.inf
    x[65, 0] = np.nan
    x[66, [1, 2]] = np.inf, -np.inf
    packed = pack(tensor)
    found, expected = packing.matmul(packed, x, threads=threads), dense_product(x, tensor.numpy())
    spoilt = [3, 40, 65, 66]
    assert np.array_equal(found[spoilt], expected[spoilt].astype(np.float32), equal_nan=True)
    others = np.setdiff1d(np.arange(70), spoilt)
    assert np.array_equal(found[others], packing.matmul(packed, clean)[others])


@pytest.mark.parametrize("finite", [0, 7, 15])
def test_entries_that_mean_nothing_add_nothing_beside_centroids_that_are_not_finite(finite):
    tensor = matrix(40, 300, 0.1, 16)
    codebook = np.full(16, np.inf, np.float32)
    codebook[finite] = 0.5
    tensor = CompressedTensor(tensor.shape, tensor.positions, codebook, np.full_like(tensor.codes, finite))
    x = vectors(20, 300)
    assert_close(packing.matmul(pack(tensor), x), x, tensor.numpy())


def refuses(use, *arguments):
    try:
        use(*arguments)
    except ValueError:
        return True
    return False


def test_every_truncation_is_refused():
    packed = pack(matrix(20, 50, 0.1, 16))
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(packed[:size].copy())
        with pytest.raises(ValueError, match="packed weights"):
            packing.matmul(packed[:size].copy(), vectors(2, 50))


def test_bytes_that_are_changed_are_refused_or_harmless():
    packed = pack(matrix(40, 500, 0.1, 16))
    x = vectors(20, 500)
    rng = np.random.default_rng(0)
    places = np.concatenate([np.arange(min(len(packed), 600)), rng.integers(0, len(packed), 600)])
    for place in places:
        spoilt = packed.copy()
        spoilt[place] = rng.choice([0, 1, 127, 128, 255])
        refused = refuses(_core.check_packed, spoilt)
        if refuses(packing.header, spoilt):
            assert refused
        elif packing.header(spoilt).rows < MANY:
            refuses(packing.matmul, spoilt, x)


def test_bytes_that_are_all_noise_behind_the_shape_are_harmless():
    packed = pack(matrix(40, 500, 0.1, 16))
    rng = np.random.default_rng(1)
    for _ in range(50):
        spoilt = packed.copy()
        spoilt[128:] = rng.integers(0, 256, len(packed) - 128, dtype=np.uint8)
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(spoilt)
        assert packing.matmul(spoilt, vectors(40, 500), threads=2).shape == (40, 40)


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("ends", 0xFFFFFFFF, "quartets"),
        ("quartet_rows", 0xFFFF, "row outside"),
        ("turns", 0xFFFF, "fill their segment"),
        ("entries", 0xFF00, "outside of its block"),
        ("entries", 0x0010, "codebook"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(section, value, message):
    packed = pack(matrix(40, 500, 0.1, 16))
    part = getattr(sections(packed), section)
    at = packed.tobytes().find(part.tobytes())
    packed[at : at + part.itemsize] = np.frombuffer(np.array(value, part.dtype).tobytes(), np.uint8)
    with pytest.raises(ValueError, match=message):
        _core.check_packed(packed)
    assert packing.matmul(packed, vectors(2, 500)).shape == (2, 40)
