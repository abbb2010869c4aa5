"""Stage 2's codebooks compared with slow twins."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompression.sharing import codebook
from deepcompression.sharing.codebook import CODEBOOKS, share_values
from deepcompression.tensors.dtypes import narrow, widen
from deepcompression.tensors.grid import digits_on_grid
from deepcompression.tensors.slices import Weights

FLOATS = st.floats(-1, 1, width=16)
VALUES = st.lists(FLOATS, min_size=1, max_size=60).map(lambda values: np.array(values, np.float32))


def normal(size, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size).astype(np.float32)


def twin_assign(values, codebook):
    """The nearest centroid of each value by looking at all, the lower one on ties."""
    return [min(range(len(codebook)), key=lambda c: (abs(float(v) - float(codebook[c])), c)) for v in values]


def twin_linear(ordered, count, seed):
    low, high = float(ordered[0]), float(ordered[-1])
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def twin_density(ordered, count, seed):
    """The values below which (i + 1/2) / count of all values lie."""
    return [ordered[math.floor((i + 0.5) * len(ordered) / count)] for i in range(count)]


def twin_random(ordered, count, seed):
    distinct = sorted({float(value) for value in ordered})
    return sorted(np.random.Generator(np.random.PCG64(seed)).choice(distinct, count, replace=False))


def twin_optimal(ordered, count, seed):
    """Tries every way to cut the ordered values into clusters, and returns the means of the best."""
    values = [float(value) for value in ordered]

    def error(cuts):
        parts = [values[a:b] for a, b in zip((0, *cuts), (*cuts, len(values)), strict=True)]
        return sum(sum((v - sum(p) / len(p)) ** 2 for v in p) for p in parts), [sum(p) / len(p) for p in parts]

    return min(error(cuts) for cuts in combinations(range(1, len(values)), count - 1))[1]


TWINS = {"linear": twin_linear, "density": twin_density, "random": twin_random, "optimal": twin_optimal}


def test_every_initialization_has_a_twin():
    assert TWINS.keys() == CODEBOOKS.keys()


@pytest.mark.parametrize("init", TWINS)
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_initial_centroids_are_those_of_the_slow_twin(init, count, seed):
    ordered = np.sort(normal(13, seed))
    found = CODEBOOKS[init](ordered, count, seed)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, TWINS[init](ordered, count, seed), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("init", CODEBOOKS)
@given(values=VALUES, bits=st.integers(1, 5), seed=st.integers(0, 2))
def test_lloyd_ends_when_nothing_changes(init, values, bits, seed):
    codebook, codes = share_values(Weights.of(values), bits, init, seed)
    assert codebook.dtype == np.float32
    assert codes.dtype == np.uint8
    assert codes.tolist() == twin_assign(values, codebook)
    for code, centroid in enumerate(codebook):
        cluster = values[codes == code].astype(np.float64)
        assert np.float32(math.fsum(cluster) / len(cluster)) == pytest.approx(centroid, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("init", CODEBOOKS)
@given(values=VALUES, bits=st.integers(1, 8))
def test_the_codebook_is_full_ascending_and_every_centroid_has_a_value(init, values, bits):
    codebook, codes = share_values(Weights.of(values), bits, init)
    assert len(codebook) == min(1 << bits, len(set(values.tolist())))
    assert (np.diff(codebook) > 0).all()
    assert set(codes.tolist()) == set(range(len(codebook)))


@pytest.mark.parametrize("init", CODEBOOKS)
@given(values=VALUES)
def test_no_more_distinct_values_than_centroids_lose_nothing(init, values):
    codebook, codes = share_values(Weights.of(values), 8, init)
    assert (codebook[codes] == values).all()


@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_width_from_1_to_8_bits_gives_all_its_centroids(init, bits):
    values = normal(3000)
    codebook, codes = share_values(Weights.of(values), bits, init)
    assert len(codebook) == 1 << bits
    assert len(codes) == len(values)


def test_clusters_that_are_empty_at_first_are_seeded_again():
    """Linear centroids between -1 and 100: nearly all of them have no value nearby."""
    values = np.concatenate([np.linspace(-1, 1, 500), [100]]).astype(np.float32)
    codebook, codes = share_values(Weights.of(values), 4, "linear")
    assert len(codebook) == 16
    assert np.bincount(codes, minlength=16).min() >= 1
    assert codebook[codes[-1]] == 100


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_no_initialization_beats_optimal(bits, seed):
    values = normal(40, seed)

    def error(init):
        codebook, codes = share_values(Weights.of(values), bits, init, seed)
        return float(((values - codebook[codes]).astype(np.float64) ** 2).sum())

    assert all(error("optimal") <= error(init) * (1 + 1e-6) for init in CODEBOOKS)


@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize("values", [[], [2.5], [2.5] * 9])
def test_none_or_one_distinct_value_is_kept(init, values):
    codebook, codes = share_values(Weights.of(np.array(values, np.float32)), 3, init)
    assert codebook.tolist() == sorted(set(values))
    assert codes.tolist() == [0] * len(values)


@pytest.mark.parametrize("init", CODEBOOKS)
def test_the_same_seed_gives_the_same_codebook_in_any_order_of_values(init):
    values = normal(500)
    first, second = (
        share_values(Weights.of(values), 4, init, 3),
        share_values(Weights.of(values[::-1].copy()), 4, init, 3),
    )
    assert first.codebook.tobytes() == second.codebook.tobytes()
    assert first.codes.tolist() == second.codes[::-1].tolist()


def test_another_seed_draws_another_codebook():
    values = normal(500)
    assert (
        share_values(Weights.of(values), 4, "random", 1).codebook.tobytes()
        != share_values(Weights.of(values), 4, "random", 2).codebook.tobytes()
    )


# --- more values than are sorted


def cauchy(size, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).standard_cauchy(size).astype(np.float32)


def laplace_pruned(size, seed=0):
    values = np.random.Generator(np.random.PCG64(seed)).laplace(0, 0.01, 3 * size).astype(np.float32)
    return values[np.abs(values) > 0.011][:size]


def far_from_zero(size, seed=0):
    return np.float32(1000) + np.float32(30) * normal(size, seed)


def with_outliers(size, seed=0):
    values = np.float32(0.01) * normal(size, seed)
    values[:: size // 5] *= np.float32(1e5)
    return values


DISTRIBUTIONS = [normal, cauchy, laplace_pruned, far_from_zero, with_outliers]
SIZE = 60_000


@pytest.fixture
def few_are_sorted(monkeypatch):
    """Makes SIZE values many: only a sixteenth are sorted, and there are fewer bins than values."""
    monkeypatch.setattr(codebook, "_MOST_SORTED", SIZE // 16)
    monkeypatch.setattr(codebook, "_MOST_BINS", SIZE // 4)


def squared_error(values, shared):
    return float(((values - shared.codebook[shared.codes]).astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("bits", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_many_values_are_shared_nearly_as_well_as_if_they_were_sorted(make, bits, monkeypatch):
    """With as many bins as values; for half a million values and more there are 2^18."""
    values = make(SIZE)
    exact = share_values(Weights.of(values), bits, "optimal")
    monkeypatch.setattr(codebook, "_MOST_SORTED", SIZE // 16)
    monkeypatch.setattr(codebook, "_MOST_BINS", SIZE)
    found = share_values(Weights.of(values), bits, "optimal")
    assert squared_error(values, found) <= squared_error(values, exact) * (1 + 1e-4)


@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize("make", DISTRIBUTIONS)
def test_many_values_go_to_the_nearest_centroid_and_each_centroid_has_some(make, init, few_are_sorted):
    values = make(SIZE)
    found = share_values(Weights.of(values), 4, init)
    assert (np.diff(found.codebook) > 0).all()
    assert np.bincount(found.codes, minlength=16).min() > 0
    some = slice(0, 500)
    assert found.codes[some].tolist() == twin_assign(values[some], found.codebook)


@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_many_values_of_two_bytes_are_shared_as_if_they_were_sorted(dtype, init, monkeypatch):
    values = widen(narrow(normal(SIZE), dtype), dtype).astype(np.float32)
    exact = share_values(Weights.of(values), 5, init, dtype=dtype)
    monkeypatch.setattr(codebook, "_MOST_SORTED", SIZE // 16)
    found = share_values(Weights.of(values), 5, init, dtype=dtype)
    np.testing.assert_allclose(found.codebook, exact.codebook, rtol=1e-6)
    assert np.count_nonzero(found.codes != exact.codes) == 0


@pytest.mark.parametrize("distinct", [1, 2, 16, 17])
def test_few_distinct_among_many_values_lose_nothing(distinct, few_are_sorted):
    """Neighbouring floats: bins alone would not separate them."""
    some = np.float32(1) + np.arange(distinct, dtype=np.float32) * np.spacing(np.float32(1))
    values = np.concatenate([some, some[np.arange(SIZE) % distinct], -np.float32(1e-30) * normal(40)])
    values = values[: SIZE + distinct]
    found = share_values(Weights.of(values), 4, "optimal")
    assert len(found.codebook) == min(distinct, 16)
    if distinct <= 16:
        assert (found.codebook[found.codes] == values).all()


def test_slices_are_shared_like_one_array(few_are_sorted):
    values = cauchy(SIZE)
    whole = share_values(Weights.of(values), 5, "optimal")
    parts = share_values(Weights(SIZE, values.dtype, lambda: iter(np.array_split(values, 7))), 5, "optimal")
    assert parts.codes.tobytes() == whole.codes.tobytes()
    np.testing.assert_allclose(parts.codebook, whole.codebook, rtol=1e-6)


@pytest.mark.parametrize("grid", ["int8", "int16"])
def test_many_values_can_be_shared_on_a_grid(grid, few_are_sorted):
    found = share_values(Weights.of(normal(SIZE)), 4, "optimal", grid=grid)
    assert digits_on_grid(found.codebook).grid == grid
    assert np.bincount(found.codes, minlength=len(found.codebook)).min() > 0
