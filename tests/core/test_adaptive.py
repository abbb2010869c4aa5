"""The adaptive coder: it gives back all tensors, and agrees with its slow twin about any bytes."""

import hashlib
import math

import numpy as np
import pytest
import slow_adaptive
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression import _core

SHAPES = [
    (), (0,), (1,), (7,), (300,), (3, 0), (1, 1), (5, 1), (1, 9), (13, 17), (40, 60), (2, 3, 1, 1), (6, 5, 3, 3),
    (4, 3, 8, 1), (4, 3, 1, 8), (3, 2, 5), (4, 2, 3, 2, 2), (2, 3, 8, 8), (2, 2, 9, 9), (3, 2, 1, 65),
    (1,) * 32, (2,) * 8 + (1,) * 24,
]  # fmt: skip


def made_up(shape, density, centroids, negative, seed=0):
    """A bitmap and codes like those of a network: rows and columns of different density, few large weights."""
    rng = np.random.default_rng(seed)
    size = math.prod(shape)
    alive = np.sort(rng.random(size).reshape(-1, 4), axis=1).reshape(-1) if size % 4 == 0 else rng.random(size)
    alive = alive < density
    spread = np.minimum(rng.geometric(4 / max(4, centroids), size=int(alive.sum())) - 1, 255)
    signs = rng.random(len(spread)) < 0.6
    codes = np.where(signs, negative + spread, negative - 1 - spread)
    return alive, np.clip(codes, 0, max(0, centroids - 1)).astype(np.uint8) if centroids else np.zeros(0, np.uint8)


def codebook_of(centroids, negative, width=32):
    """Ascending integers with steps of very different sizes."""
    i = np.arange(256, dtype=np.uint64)
    steps = (i * 2654435761 % 2**32 >> 11 + i % 20) + 1
    below, above = np.cumsum(steps[:negative]), np.cumsum(steps[negative:centroids])
    return np.concatenate([below, above + np.uint64(2 ** (width - 1) - 1)]).astype(np.uint64)


def encode(shape, alive, codes, centroids, negative, width=32):
    codebook = codebook_of(centroids, negative, width)
    bitmap = np.packbits(alive, bitorder="little")
    return _core.encode_adaptive(list(shape), int(alive.sum()), codebook, width, bitmap, codes)


def decode(data, shape, survivors, centroids, width=32):
    data = np.frombuffer(data, np.uint8)
    codebook, bitmap, codes = _core.decode_adaptive(data, list(shape), survivors, centroids, width)
    return codebook, np.unpackbits(bitmap, count=math.prod(shape), bitorder="little").astype(bool), codes


def check_round_trip(shape, alive, codes, centroids, negative):
    data = encode(shape, alive, codes, centroids, negative)
    codebook, got_alive, got_codes = decode(data, shape, int(alive.sum()), centroids)
    assert (codebook == codebook_of(centroids, negative)).all()
    assert (got_alive == alive).all()
    assert (got_codes == codes).all()
    return data


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("density", "centroids", "negative"),
    [(0, 0, 0), (0.1, 256, 128), (0.3, 0, 0), (0.6, 31, 20), (0.6, 1, 1), (1, 2, 1), (1, 256, 0), (1, 0, 0)],
)
def test_what_was_coded_comes_back_and_the_twin_reads_the_same(shape, density, centroids, negative):
    alive, codes = made_up(shape, density, centroids, negative)
    data = check_round_trip(shape, alive, codes, centroids, negative)
    codebook, positions, twin_codes = slow_adaptive.decode(data, shape, int(alive.sum()), centroids, 32)
    assert codebook == codebook_of(centroids, negative).tolist()
    assert positions == np.flatnonzero(alive).tolist()
    assert twin_codes == codes.tolist()


@settings(max_examples=60)
@given(st.data())
def test_any_positions_and_codes_come_back(data):
    shape = data.draw(st.lists(st.integers(1, 6), max_size=4).map(tuple))
    centroids = data.draw(st.integers(0, 256))
    negative = data.draw(st.integers(0, centroids))
    size = math.prod(shape)
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    codes = rng.integers(0, max(1, centroids), int(alive.sum()) if centroids else 0).astype(np.uint8)
    coded = check_round_trip(shape, alive, codes, centroids, negative)
    _, positions, twin_codes = slow_adaptive.decode(coded, shape, int(alive.sum()), centroids, 32)
    assert (positions, twin_codes) == (np.flatnonzero(alive).tolist(), codes.tolist())


def test_long_rows_are_cut_whatever_the_axes_and_the_twin_reads_the_same():
    alive, codes = made_up((66_000,), 0.02, 16, 8)
    data = check_round_trip((66_000,), alive, codes, 16, 8)
    assert data == check_round_trip((1, 66_000), alive, codes, 16, 8)
    _, positions, twin_codes = slow_adaptive.decode(data, (66_000,), int(alive.sum()), 16, 32)
    assert positions == np.flatnonzero(alive).tolist()
    assert twin_codes == codes.tolist()


def test_the_bytes_are_always_the_same():
    scrambled = (np.arange(10_800, dtype=np.uint64) * 2654435761 % 2**32) >> 13
    alive = scrambled % 10 < 3
    codes = (scrambled[alive] % 199).astype(np.uint8)
    data = encode((60, 20, 3, 3), alive, codes, 200, 90)
    assert hashlib.sha256(data).hexdigest() == "8185e86d63d7d77c5d56bd72dd881694e805309fc6ae04860995d47d3f7e56e0"


@pytest.mark.parametrize(("density", "centroids", "bound"), [(0.09, 32, 1.006), (0.35, 256, 1.01), (0.9, 1, 1.006)])
def test_independent_weights_cost_hardly_more_than_their_entropy(density, centroids, bound):
    rng = np.random.default_rng(1)
    alive = rng.random(2_000_000) < density
    p = np.full(centroids, 1 / centroids) if centroids < 100 else np.exp(-abs(np.arange(centroids) - 128) / 30)
    codes = rng.choice(centroids, int(alive.sum()), p=p / p.sum()).astype(np.uint8)
    data = encode((1000, 2000), alive, codes, centroids, centroids // 2)
    counts = np.bincount(codes) / len(codes)
    entropy = -(counts[counts > 0] * np.log2(counts[counts > 0])).sum() * len(codes)
    entropy -= len(alive) * (density * math.log2(density) + (1 - density) * math.log2(1 - density))
    assert len(data) * 8 < bound * entropy


def test_rows_and_columns_of_different_density_cost_less():
    rng = np.random.default_rng(2)
    chance = np.outer(rng.random(200), rng.random(300)) ** 2
    alive = (rng.random((200, 300)) < chance).reshape(-1)
    d = alive.mean()
    data = encode((200, 300), alive, np.zeros(0, np.uint8), 0, 0)
    assert len(data) * 8 < 0.8 * len(alive) * -(d * math.log2(d) + (1 - d) * math.log2(1 - d))


@pytest.mark.parametrize("ones", [0, 1])
def test_a_tensor_all_alike_takes_next_to_nothing(ones):
    alive = np.full(1_000_000, bool(ones))
    assert len(encode((1000, 1000), alive, np.zeros(int(alive.sum()) if ones else 0, np.uint8), ones, 0)) < 300


# Hostile bytes


def small_one():
    shape, centroids, negative = (8, 4, 3, 3), 20, 9
    alive, codes = made_up(shape, 0.3, centroids, negative, seed=3)
    return encode(shape, alive, codes, centroids, negative), shape, int(alive.sum()), centroids


def decode_or_refuse(data, *known):
    """The fast decoder and the twin refuse the same, or read the same."""
    try:
        twin = slow_adaptive.decode(data, *known, 32)
    except ValueError:
        with pytest.raises(_core.FormatError):
            decode(data, *known)
        return False
    codebook, alive, codes = decode(data, *known)
    assert (codebook.tolist(), np.flatnonzero(alive).tolist(), codes.tolist()) == twin
    return True


def test_truncated_and_prolonged_bytes_are_refused_or_read_as_the_twin_does():
    data, *known = small_one()
    read = [decode_or_refuse(data[:n], *known) for n in range(len(data))]
    assert sum(read) < 8
    for tail in (b"\0", b"\1" * 9, b"\0" * 20 + b"\1"):
        assert not decode_or_refuse(data + tail, *known)


def test_flipped_and_random_bytes_are_refused_or_read_as_the_twin_does():
    data, *known = small_one()
    rng = np.random.default_rng(4)
    for i in range(len(data)):
        decode_or_refuse(data[:i] + bytes([data[i] ^ 1 << int(rng.integers(8))]) + data[i + 1 :], *known)
    for n in range(0, 200, 3):
        decode_or_refuse(rng.bytes(n), *known)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_survivors_is_refused(change):
    data, shape, survivors, centroids = small_one()
    with pytest.raises(_core.FormatError):
        decode(data, shape, survivors + change, centroids)


def test_more_survivors_than_elements_are_refused_before_allocating():
    with pytest.raises(_core.FormatError, match="survivors"):
        decode(b"", (3, 3), 2**60, 4)


def test_what_does_not_fit_together_is_the_callers_mistake():
    bitmap, codes = np.array([7], np.uint8), np.zeros(3, np.uint8)
    codebook = np.array([1, 2**31], np.uint64)
    _core.encode_adaptive([4], 3, codebook, 32, bitmap, codes)
    none, many = codebook[:0], np.arange(257, dtype=np.uint64)
    for shape, survivors, centroids, width in [
        ([4], 2, codebook, 32), ([4], 3, none, 32), ([4], 3, many, 32), ([9], 3, codebook, 32),
        ([2**40, 2**40], 3, codebook, 32), ([4], 3, codebook, 65), ([4], 3, codebook, 31), ([4], 3, codebook[::-1], 32),
        ([4], 3, codebook[[0, 0]], 32),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=r"fit|centroids|2\^64|ascends|outside"):
            _core.encode_adaptive(shape, survivors, np.ascontiguousarray(centroids), width, bitmap, codes)
    with pytest.raises(ValueError, match="outside"):
        _core.encode_adaptive([4], 3, codebook, 32, bitmap, codes + np.uint8(2))
    with pytest.raises(ValueError, match="survivors"):
        _core.encode_adaptive([4], 3, codebook, 32, np.array([3], np.uint8), codes)


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_any_codebook_comes_back_and_the_twin_reads_the_same(width):
    rng = np.random.default_rng(width)
    largest = 2**width - 1
    some = [largest >> int(shift) for shift in rng.integers(0, width, 300)]
    for values in ([0], [largest], [0, 1, largest], [0, largest - 1, largest], range(200), some):
        codebook = np.unique(np.array(values, np.uint64))
        bitmap, codes = np.array([1], np.uint8), np.zeros(1, np.uint8)
        data = _core.encode_adaptive([1], 1, codebook, width, bitmap, codes)
        assert decode(data, (1,), 1, len(codebook), width)[0].tolist() == codebook.tolist()
        assert slow_adaptive.decode(data, (1,), 1, len(codebook), width) == (codebook.tolist(), [0], [0])
