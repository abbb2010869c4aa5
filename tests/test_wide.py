"""The form wide: its bytes mean what core/wide.hpp says; every kernel multiplies them as the slow twin does."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
import window_twin
from numpy.typing import NDArray
from test_window import assert_as_exact_as_float32_sums, bits_of, random_mask, uneven, vectors

from deepcompression import _core, packing
from deepcompression.packing import nearest_digits
from deepcompression.tensor import CompressedTensor

pytestmark = pytest.mark.usefixtures("instruction_set")

SHAPES = [(0, 5), (3, 0), (1, 1), (5, 7), (16, 63), (17, 127), (37, 131), (32, 252), (101, 397)]
CENTROIDS = [1, 2, 16, 17, 32, 33, 256]
DIGITS24, TWO_WINDOWS = 1, 2
MOST24 = 127 * 0x10101
# the grid of the codebook, what the vectors are rounded to, and whether a pair has two windows
KINDS = [(0, "int8", False), (8, "int8", False), (8, "float32", False), (0, "float32", True), (16, "float32", True)]
ALL_KINDS = [*KINDS, (16, "int8", False), (8, "float32", True), (0, "int8", True)]


class Wide(NamedTuple):
    """A matrix as its packed bytes have it: `codes` is -1 where nothing survives, `digits` are by plane."""

    codes: NDArray[np.int64]
    codebook: NDArray[np.float32]
    digits: NDArray[np.int64]
    facts: packing.Header
    filled: float

    def weights(self, centroids: NDArray[Any]) -> NDArray[Any]:
        """One of these for each survivor, zeros between them."""
        return np.where(self.codes >= 0, np.append(centroids, 0)[self.codes], 0)


def read(packed):
    facts = packing.header(packed)
    assert facts.form == "wide"
    bits, units, pairs = facts.code_bits, facts.units, facts.length
    windows, planes = 2 if facts.slots & TWO_WINDOWS else 1, 4 if facts.slots & DIGITS24 else 1
    stream_bytes = 256 if bits == 8 else 192
    sizes = [4 << bits, planes << bits, 4 * units, 64 * units, 64 * units * planes, 2 * windows * pairs]
    sizes += [16 * pairs * (bits == 5), stream_bytes * pairs]
    codebook, digits, ends, order, sums, starts, fifths, stream = window_twin.sections(packed, sizes)
    ends, order = np.frombuffer(ends, np.uint32), np.frombuffer(order, np.uint32).reshape(-1, 16)
    starts = np.frombuffer(starts, np.uint16).reshape(pairs, windows)
    fifths = np.unpackbits(np.frombuffer(fifths, np.uint8), bitorder="little").reshape(-1, 2, 64)
    stream = np.frombuffer(stream, np.uint8).reshape(-1, stream_bytes)
    codes, filled = np.full((facts.rows, facts.columns), -1, np.int64), 0
    for group, (pair, step, lane, slot) in slots_of(ends):
        byte = 4 * lane + slot
        place = int(stream[pair, 64 * step + byte])
        if place == window_twin.NOTHING:
            continue
        assert place % 64 < 63
        assert place // 64 < 4 // windows
        column = (int(starts[pair, step % windows]) + place // 64) * 63 + place % 64
        if bits == 8:
            code = stream[pair, 128 + 64 * step + byte]
        else:
            code = int(stream[pair, 128 + byte]) >> 4 * step & 15
            code |= int(fifths[pair, step, byte]) << 4 if bits == 5 else 0
        assert codes[order[group, lane], column] == -1
        codes[order[group, lane], column] = code
        filled += 1
    assert filled == facts.survivors
    by_plane = np.frombuffer(digits, np.int8).reshape(planes, -1).astype(np.int64)
    wide = Wide(codes, np.frombuffer(codebook, np.float32), by_plane, facts, filled / max(1, 128 * pairs))
    for plane, of_lanes in zip(by_plane, np.frombuffer(sums, np.int32).reshape(planes, -1), strict=True):
        rows = np.append(wide.weights(plane).sum(1), 0)
        np.testing.assert_array_equal(of_lanes, rows[np.minimum(order.reshape(-1), facts.rows)])
    return wide


def slots_of(ends):
    for group, end in enumerate(ends):
        first = ends[group - 1] if group else 0
        for slot in itertools.product(range(first, end), range(2), range(16), range(4)):
            yield group, slot


def low_digit(number):
    return (number + 128) % 256 - 128


def step24(largest):
    """The power of two of which the largest magnitude has between 2^22 and MOST24."""
    step = np.float32(2.0 ** (np.frexp(largest)[1] - 23))
    return step * 2 if largest > step * np.float32(MOST24) else step


def product(wide, x, bias, int8):
    """Integers, exactly, but for the products of both lowest digits of 24 bits. One vector."""
    largest = np.abs(x).max()
    facts, of24 = wide.facts, not int8 and wide.facts.grid_bits != 8
    step = np.float32(largest / np.float32(127)) if int8 else step24(largest)
    fixed = window_twin.fixed_point(x, step)
    assert np.abs(fixed).max() <= (127 if int8 else MOST24)
    digits = wide.digits[1:] if of24 else wide.digits[:1]
    integers = sum(256**power * plane for power, plane in enumerate(digits))
    totals = wide.weights(integers) @ fixed
    if of24:
        totals -= wide.weights(digits[0]) @ low_digit(fixed)
    unit = np.float64(step) * np.float64(facts.scale16 if of24 else facts.scale8)
    found = (totals.astype(np.float64) * unit).astype(np.float32)
    return found if bias is None else found + bias


def pack(survives, centroids, grid_bits, two_windows, codebook=None, seed=0):
    """Packed weights with random codes and a codebook on the grid, and the same matrix dense."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, centroids, int(survives.sum())).astype(np.uint8)
    int8 = rng.integers(-127, 128, centroids).astype(np.int16)
    int16 = rng.integers(-32639, 32640, centroids).astype(np.int16)
    scale8, scale16 = window_twin.SCALE8, window_twin.SCALE16
    if codebook is None:
        codebook = {0: rng.standard_normal(centroids), 8: int8 * scale8, 16: int16 * scale16}[grid_bits]
    codebook = np.asarray(codebook, np.float32)
    if grid_bits != 8:
        scale8, int8 = nearest_digits(codebook, 127)
    bits = np.packbits(survives.reshape(-1), bitorder="little")
    wide = int16 if grid_bits == 16 else int16[:0]
    packed = _core.pack_wide(
        *survives.shape, bits, codes, codebook, grid_bits, scale8, int8, scale16, wide, two_windows
    )
    dense = np.zeros(survives.shape, np.float32)
    dense[survives] = codebook[codes]
    return packed, dense


def assert_the_bits_of_the_twin(packed, x, bias, activations, threads=1):
    wide = read(packed)
    found = packing.matmul(packed, x, bias=bias, activations=activations, threads=threads)
    for vector, y in zip(x, found, strict=True):
        np.testing.assert_array_equal(bits_of(y), bits_of(product(wide, vector, bias, activations == "int8")))


@pytest.mark.parametrize("two_windows", [False, True])
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_packed_bytes_are_as_described(centroids, two_windows):
    for shape, density, grid_bits in itertools.product(SHAPES, [0, 0.04, 0.3, 1], [0, 8, 16]):
        packed, dense = pack(random_mask(shape, density), centroids, grid_bits, two_windows)
        _core.check_packed(packed)
        wide = read(packed)
        assert bool(wide.facts.slots & TWO_WINDOWS) == two_windows
        np.testing.assert_array_equal(wide.weights(wide.codebook), dense)
        if grid_bits == 8:
            np.testing.assert_array_equal(wide.weights(wide.digits[0] * wide.facts.scale8), dense)
        elif wide.facts.slots & DIGITS24:
            assert two_windows
            found = wide.weights((wide.digits[1:] * 256 ** np.arange(3)[:, None]).sum(0) * wide.facts.scale16)
            half_a_step = 0 if grid_bits else wide.facts.scale16 / 2
            assert half_a_step <= 2.0**-23 * 256 / 254 * np.abs(dense).max(initial=0)
            assert np.abs(found - dense).max(initial=0) <= half_a_step


@pytest.mark.parametrize(
    ("density", "two_windows", "share"), [(0.09, False, 0.89), (0.04, False, 0.72), (0.09, True, 0.77), (0.25, 0, 0.96)]
)
def test_slots_find_survivors(density, two_windows, share):
    packed, _ = pack(random_mask((64, 4096), density), 16, 0, bool(two_windows))
    assert read(packed).filled >= share


@pytest.mark.parametrize("centroids", CENTROIDS)
def test_integers_have_the_bits_of_the_twin(centroids):
    for (grid_bits, activations, two_windows), shape in itertools.product(ALL_KINDS, SHAPES[2:]):
        packed, _ = pack(random_mask(shape, 0.3), centroids, grid_bits, two_windows)
        facts = packing.header(packed)
        if activations == "float32" and grid_bits != 8 and not facts.slots & DIGITS24:
            continue
        bias = vectors(1, shape[0], 2)[0]
        assert_the_bits_of_the_twin(packed, vectors(2, shape[1]), bias, activations)
        assert_the_bits_of_the_twin(packed, vectors(1, shape[1]), None, activations)


@pytest.mark.parametrize(("grid_bits", "activations", "two_windows"), KINDS)
def test_so_have_rows_that_are_uneven_and_long(grid_bits, activations, two_windows):
    for mask in (uneven(53, 379), random_mask((20, 25088), 0.02), np.ones((3, 9216), bool)):
        packed, _ = pack(mask, 16, grid_bits, two_windows)
        assert_the_bits_of_the_twin(packed, vectors(1, mask.shape[1]), None, activations)


@pytest.mark.parametrize(("grid_bits", "two_windows"), [(0, False), (0, True), (8, False), (16, True)])
@pytest.mark.parametrize("centroids", CENTROIDS)
def test_float32_is_as_exact_as_float32_sums(centroids, grid_bits, two_windows):
    for shape, density in itertools.product(SHAPES, [0, 0.04, 0.3, 1]):
        packed, dense = pack(random_mask(shape, density), centroids, grid_bits, two_windows)
        x, bias = vectors(3, shape[1]), vectors(1, shape[0], 2)[0]
        assert_as_exact_as_float32_sums(packing.matmul(packed, x, bias=bias), dense, x, bias)


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
        packed, dense = pack(random_mask(shape, density), 16, 0, True, hostile_codebooks()[codebook])
        x = hostile_vectors(shape[1])[vector].astype(np.float32)[None]
        expected = x.astype(np.float64) @ dense.astype(np.float64).T
        least = np.finfo(np.float32).smallest_subnormal * shape[1]
        found = packing.matmul(packed, x)
        if np.abs(expected).max() > np.finfo(np.float32).max:
            continue
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max() + least


@pytest.mark.parametrize("two_windows", [False, True])
def test_codebooks_with_an_outlier_have_no_digits_of_24_bits(two_windows):
    for codebook, has in [(1, True), (1000, False)]:
        survives = random_mask((40, 900), 0.3)
        packed, _ = pack(survives, 256, 0, two_windows, np.append(np.linspace(-1, 1, 255), codebook))
        assert bool(packing.header(packed).slots & DIGITS24) == (has and two_windows)


@pytest.mark.parametrize("centroids", [16, 32, 256])
@pytest.mark.parametrize(("grid_bits", "activations", "two_windows"), [*KINDS, (0, "float32", False)])
def test_infinities_and_nans_reach_y_as_through_a_dense_layer(grid_bits, activations, two_windows, centroids):
    mask = random_mask((40, 300), 0.3)
    mask[3] = True
    packed, dense = pack(mask, centroids, grid_bits, two_windows)
    x, bias = vectors(5, 300), vectors(1, 40, 3)[0]
    clean = x.copy()
    x[0, 17], x[1, 299], x[2, 0], x[3, [1, 2]] = np.inf, -np.inf, np.nan, (np.inf, -np.inf)
    found = packing.matmul(packed, x, bias=bias, activations=activations, threads=2)
    with np.errstate(invalid="ignore"):
        expected = np.stack([(dense.astype(np.float64) * vector).sum(1) for vector in x.astype(np.float64)]) + bias
    np.testing.assert_array_equal(np.isnan(found[:4]), np.isnan(expected[:4]))
    np.testing.assert_array_equal(found[:4][np.isinf(expected[:4])], expected[:4][np.isinf(expected[:4])])
    last = packing.matmul(packed, clean, bias=bias, activations=activations)[4]
    np.testing.assert_array_equal(bits_of(found[4]), bits_of(last))


@pytest.mark.parametrize(("grid_bits", "activations", "two_windows"), KINDS)
@pytest.mark.parametrize("outlier", [False, True])
def test_threads_do_not_change_a_bit(grid_bits, activations, two_windows, outlier):
    packed, _ = pack(random_mask((1800, 1500), 0.25), 16, grid_bits, two_windows)
    # 2 threads are worth it from so many pairs on
    assert packing.header(packed).length > 2 * 2048
    x = vectors(2, 1500)
    x[:, 5] *= 1e5 if outlier else 1
    expected = packing.matmul(packed, x, activations=activations)
    for threads in (2, 3, 4):
        found = packing.matmul(packed, x, activations=activations, threads=threads)
        np.testing.assert_array_equal(bits_of(found), bits_of(expected))


@pytest.mark.parametrize(("columns", "digits"), [(43690, [-0x808080]), (65536, [-127])])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_are_exact(columns, digits, sign):
    wide = len(bin(digits[0])) > 12
    codebook = np.array(digits, np.float32) if not wide else np.array([-MOST24], np.float32)
    bits, codes = np.full(columns // 8 + (columns % 8 > 0), 255, np.uint8), np.zeros(columns, np.uint8)
    bits[-1] = 255 >> -columns % 8
    grid, int8 = (0, np.array([-127], np.int16)) if wide else (8, np.array(digits, np.int16))
    packed = _core.pack_wide(1, columns, bits, codes, codebook, grid, 1, int8, 1, int8[:0], wide)
    x = (sign * np.random.default_rng(5).uniform(0.9, 0.99, (1, columns))).astype(np.float32)
    for vector in (x, np.full_like(x, sign * 0x7E8080), np.full_like(x, sign * MOST24)):
        found = packing.matmul(packed, vector)
        read_ = Wide(np.zeros((1, columns), np.int64), codebook, digits_of(packed), packing.header(packed), 1)
        np.testing.assert_array_equal(bits_of(found[0]), bits_of(product(read_, vector[0], None, False)))


def digits_of(packed):
    planes = 4 if packing.header(packed).slots & DIGITS24 else 1
    return packed[128 : 128 + 16 * planes].view(np.int8).reshape(planes, 16).astype(np.int64)


@pytest.mark.parametrize("activations", packing.ACTIVATIONS)
def test_vectors_of_zeros_and_none(activations):
    for grid_bits, _, two_windows in KINDS:
        packed, _ = pack(random_mask((40, 300), 0.3), 16, grid_bits, two_windows)
        bias = vectors(1, 40, 5)[0]
        for zero in (0.0, -0.0):
            x = np.full((1, 300), zero, np.float32)
            np.testing.assert_array_equal(packing.matmul(packed, x, bias=bias, activations=activations)[0], bias)
        assert packing.matmul(packed, np.zeros((0, 300), np.float32), activations=activations).shape == (0, 40)


def shared(shape, density, codebook):
    positions = np.flatnonzero(random_mask(shape, density)).astype(np.int64)
    codes = (positions % len(codebook)).astype(np.uint8)
    return CompressedTensor(shape, positions, np.asarray(codebook, np.float32), codes)


def test_it_is_chosen_where_it_pays(instruction_set):
    usual, on_grid = np.linspace(-1, 1, 16) + 0.01, np.arange(-8, 8) / 8
    many, few = shared((30, 700), 0.3, usual), shared((30, 700), 0.05, usual)
    for tensor, activations, form, two_windows in [
        (many, "float32", "wide", True),
        (few, "float32", "window", None),
        (few, "int8", "wide", False),
        (shared((30, 700), 0.05, on_grid), "float32", "wide", False),
        (shared((30, 700), 0.3, [*usual[:15], np.inf]), "float32", "window", None),
    ]:
        facts = packing.header(packing.pack(tensor, activations))
        if instruction_set != "avx512":
            assert facts.form in ("window", "factored")
        else:
            assert facts.form == form
            assert two_windows is None or bool(facts.slots & TWO_WINDOWS) == two_windows
        assert packing.header(packing.pack(tensor, activations, batch=2)).form in ("window", "panel")


def test_centroids_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        packing.pack(shared((30, 70), 0.3, [1, np.nan]), form="wide")


def survives(packed):
    """Whether neither checking nor multiplying refuses the bytes; any other end fails the test."""
    try:
        facts = packing.header(packed)
    except ValueError:
        with pytest.raises(ValueError, match="packed weights"):
            _core.check_packed(packed)
        return False
    x = np.ones((2, facts.columns), np.float32)
    x[1:, :1] = 1e6
    with np.errstate(all="ignore"):
        for activations in packing.ACTIVATIONS if facts.rows < 10000 else ():
            packing.matmul(packed, x, activations=activations, threads=2)
    try:
        _core.check_packed(packed)
    except ValueError:
        return False
    return True


def small(centroids=16, grid_bits=0, two_windows=False):
    return pack(random_mask((20, 400), 0.2, 3), centroids, grid_bits, two_windows)[0]


def test_every_truncation_is_refused():
    packed = small(two_windows=True)
    assert survives(packed)
    for length in range(0, len(packed), 7):
        with pytest.raises(ValueError, match="packed weights"):
            packing.header(packed[:length].copy())


@pytest.mark.parametrize(
    ("centroids", "grid_bits", "two_windows"), [(16, 0, True), (32, 8, False), (20, 0, True), (200, 16, True)]
)
def test_no_byte_does_harm(centroids, grid_bits, two_windows):
    packed = small(centroids, grid_bits, two_windows)
    for at in range(len(packed)):
        copy = packed.copy()
        copy[at] ^= (0x01, 0x80, 0xFF)[at % 3]
        survives(copy)


@pytest.mark.parametrize("seed", range(3))
def test_nor_do_many(seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        packed = small(int(rng.choice([3, 20, 256])), int(rng.choice([0, 8, 16])), bool(rng.integers(2)))
        at = rng.integers(64, len(packed), rng.integers(1, 400))
        packed[at] = rng.integers(0, 256, len(at))
        survives(packed)


@pytest.mark.parametrize(("two_windows", "last"), [(False, 3), (True, 5)])
def test_checking_wants_windows_of_columns(two_windows, last):
    packed = small(two_windows=two_windows)
    facts = packing.header(packed)
    planes = 4 if two_windows else 1
    # behind the codebook, digits, ends and order and sums of 2 groups; 400 columns are 7 blocks
    starts = packed[64 + 64 + 64 * -(-16 * planes // 64) + 64 + 128 + 128 * planes :][: 2 * facts.length].view(
        np.uint16
    )
    before = starts[0]
    for start, good in [(before, True), (last, True), (last + 1, False)]:
        starts[0] = start
        assert survives(packed) == good
    starts[0] = last + 1
    with pytest.raises(ValueError, match="a window behind the last column"):
        _core.check_packed(packed)


@pytest.mark.parametrize(("grid_bits", "slots"), [(0, 1), (0, 4), (8, 3), (16, 1)])
def test_planes_that_there_are_not_are_refused(grid_bits, slots):
    packed = small(grid_bits=grid_bits)
    packed[7] = slots
    with pytest.raises(ValueError, match="contradict themselves"):
        packing.header(packed)
