"""One-dimensional k-means against its twins: Lloyd, the optimum, nearest centroids."""

from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompression import _core

numbers = st.one_of(
    st.floats(-1000, 1000, width=32), st.integers(-20, 20).map(float), st.floats(-0.125, 0.125, width=32)
)


def floats(min_size=1, max_size=40):
    return st.lists(numbers, min_size=min_size, max_size=max_size).map(lambda values: np.sort(np.float32(values)))


@st.composite
def problems(draw):
    ordered = draw(floats())
    k = draw(st.integers(1, len(np.unique(ordered))))
    return ordered, k


def linear(ordered, k):
    return np.linspace(ordered[0], ordered[-1], k, dtype=np.float32)


def density(ordered, k):
    return ordered[(np.arange(k) * 2 + 1) * len(ordered) // (2 * k)]


def laplace(n, seed):
    return np.sort(np.random.default_rng(seed).laplace(0, 0.02, n).astype(np.float32))


def assert_well_formed(ordered, centroids, k):
    """Strictly ascending, no cluster empty, each centroid the mean of its values."""
    assert centroids.dtype == np.float32
    assert len(centroids) == k
    assert (np.diff(centroids) > 0).all()
    codes = oracle.assign(ordered, centroids)
    assert len(np.unique(codes)) == k
    sums = np.bincount(codes, ordered.astype(np.float64), k)
    np.testing.assert_allclose(centroids, sums / np.bincount(codes), rtol=1e-7, atol=1e-9)


# Nearest centroids


@given(floats(0), floats(1))
def test_codes_are_those_of_the_twin(values, centroids):
    values = np.random.default_rng(0).permutation(values)
    codes = _core.assign(values, centroids)
    assert codes.dtype == np.uint8
    assert codes.tolist() == oracle.assign(values, centroids).tolist()


@given(st.lists(st.integers(-99, 99), max_size=20), st.sets(st.integers(-99, 99), min_size=1, max_size=9))
def test_the_nearest_centroid_is_taken_and_the_lower_of_two(values, centroids):
    codes = _core.assign(np.float32(values) / 8, np.float32(sorted(centroids)) / 8)
    nearest = [min(range(len(centroids)), key=lambda c: abs(Fraction(v) - sorted(centroids)[c])) for v in values]
    assert codes.tolist() == nearest


@pytest.mark.parametrize("k", [1, 2, 3, 31, 32, 33, 255, 256])
def test_codes_of_any_number_of_centroids(k):
    values = np.random.default_rng(k).normal(size=5000).astype(np.float32)
    centroids = np.sort(values[:k])
    assert (_core.assign(values, centroids) == oracle.assign(values, centroids)).all()
    assert _core.assign(np.float32([-np.inf, np.inf]), centroids).tolist() == [0, k - 1]


# Lloyd


@given(problems(), st.data())
def test_lloyd_is_that_of_the_twin(problem, data):
    ordered, k = problem
    start = data.draw(floats(k, k))
    centroids = _core.lloyd(ordered, start)
    assert centroids.tolist() == oracle.lloyd(ordered, start).tolist()
    assert_well_formed(ordered, centroids, k)


@pytest.mark.parametrize("start", [linear, density])
@pytest.mark.parametrize("k", [1, 2, 16, 32, 255, 256])
def test_lloyd_on_a_layer_is_that_of_the_twin(k, start):
    ordered = laplace(3000, seed=k)
    centroids = _core.lloyd(ordered, start(ordered, k))
    assert centroids.tolist() == oracle.lloyd(ordered, start(ordered, k)).tolist()
    assert_well_formed(ordered, centroids, k)


def test_empty_clusters_get_the_farthest_values():
    ordered = np.float32([0, 1, 2, 10, 11, 12, 100])
    everything_far = np.float32([500, 501, 502])
    assert _core.lloyd(ordered, everything_far).tolist() == [1, 11, 100]
    assert _core.lloyd(ordered, np.zeros(7, np.float32)).tolist() == ordered.tolist()


def test_of_equally_far_values_the_lowest_is_taken():
    assert _core.lloyd(np.float32([-1, 0, 1]), np.float32([0, 100])).tolist() == [-1, 0.5]


def test_a_small_cluster_beside_large_values_keeps_its_mean():
    small = np.linspace(1e-7, 3e-7, 1001, dtype=np.float32)
    ordered = np.concatenate([np.full(100_000, -30000, np.float32), small, np.full(100_000, 30001, np.float32)])
    centroids = _core.lloyd(ordered, np.float32([-30000, 0, 30001]))
    assert centroids.tolist() == [-30000, np.float32(small.mean(dtype=np.float64)), 30001]


def test_means_of_many_values_are_rounded_correctly():
    rng = np.random.default_rng(3)
    ordered = np.sort(rng.normal(1, 0.001, 1_000_003).astype(np.float32))
    assert _core.lloyd(ordered, np.float32([0])) == np.float32(np.sum(ordered, dtype=np.longdouble) / len(ordered))


# The optimum


def assert_optimal(ordered, k):
    centroids = _core.optimal_centroids(ordered, k)
    assert_well_formed(ordered, centroids, k)
    error = oracle.partition_error(ordered, _core.assign(ordered, centroids))
    rounding = 1e-14 * float(np.sum((ordered - np.median(ordered).astype(np.float64)) ** 2))
    assert error <= oracle.optimal_error(ordered, k) * (1 + 1e-9) + rounding


@settings(max_examples=200)
@given(problems())
def test_optimum_is_that_of_the_textbook(problem):
    assert_optimal(*problem)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.data())
def test_optimum_where_many_partitions_are_equally_good(steps, data):
    # Few different distances: many numbers of clusters are cheapest at the same penalty.
    ordered = np.float32(np.cumsum(steps))
    assert_optimal(ordered, data.draw(st.integers(1, len(np.unique(ordered)))))


@pytest.mark.parametrize("k", [2, 3, 16, 32, 255])
def test_optimum_of_a_layer_is_that_of_the_textbook(k):
    assert_optimal(laplace(1000, seed=k), k)


@pytest.mark.parametrize("k", range(1, 41))
def test_optimum_of_equally_distant_values(k):
    assert_optimal(np.arange(40, dtype=np.float32), k)


def test_optimum_of_a_large_layer_is_not_beaten_by_any_lloyd():
    ordered = laplace(200_000, seed=5)
    rng = np.random.default_rng(6)
    for k in (4, 32, 256):
        best = oracle.partition_error(ordered, _core.assign(ordered, _core.optimal_centroids(ordered, k)))
        for start in [linear(ordered, k), density(ordered, k), *(np.sort(rng.choice(ordered, k)) for _ in range(10))]:
            other = oracle.partition_error(ordered, _core.assign(ordered, _core.lloyd(ordered, start)))
            assert best <= other * (1 + 1e-9)


def test_optimum_beside_huge_values_does_not_lose_the_small_ones():
    ordered = np.concatenate([np.float32([-1e9, -1e9]), laplace(300, seed=8), np.float32([1e9])])
    for k in (5, 12):
        error = oracle.partition_error(ordered, _core.assign(ordered, _core.optimal_centroids(ordered, k)))
        assert error <= oracle.optimal_error(ordered, k) * (1 + 1e-9)


def test_optimum_finds_the_clusters_that_were_put_there():
    rng = np.random.default_rng(7)
    centres = np.cumsum(rng.uniform(1, 9, 256))
    ordered = np.sort((centres[:, None] + rng.normal(0, 0.01, (256, 500))).ravel()).astype(np.float32)
    codes = _core.assign(ordered, _core.optimal_centroids(ordered, 256))
    assert codes.tolist() == np.repeat(np.arange(256), 500).tolist()


def test_as_many_centroids_as_values_are_the_values():
    values = np.float32([-3, -0.5, 0, 1e-30, 2, 1e30])
    ordered = np.repeat(values, [3, 1, 4, 1, 5, 9])
    assert _core.optimal_centroids(ordered, 6).tolist() == values.tolist()
    assert _core.lloyd(ordered, values[::-1].copy() * 0).tolist() == values.tolist()


# Refusals


def test_more_centroids_than_distinct_values_are_refused():
    ordered = np.float32([1, 1, 2, 2])
    for function in (lambda: _core.lloyd(ordered, np.float32([0, 1, 2])), lambda: _core.optimal_centroids(ordered, 3)):
        with pytest.raises(ValueError, match="3 centroids need at least as many distinct values"):
            function()
    for function in (
        lambda: _core.lloyd(ordered[:0], np.float32([0])),
        lambda: _core.optimal_centroids(ordered[:0], 1),
    ):
        with pytest.raises(ValueError, match="distinct values"):
            function()


@pytest.mark.parametrize("wrong", [[2, 1], [np.nan], [1, np.nan, 2], [1, np.inf], [-np.inf, 1]])
def test_values_that_do_not_ascend_or_are_not_finite_are_refused(wrong):
    wrong, right = np.float32(wrong), np.float32([1, 2, 3])
    for function in (
        lambda: _core.lloyd(wrong, right[:1]),
        lambda: _core.lloyd(right, wrong),
        lambda: _core.optimal_centroids(wrong, 1),
        lambda: _core.assign(right, wrong),
    ):
        with pytest.raises(ValueError, match="finite and ascending"):
            function()


@pytest.mark.parametrize("k", [0, 257])
def test_number_of_centroids_outside_1_to_256_is_refused(k):
    ordered = np.arange(300, dtype=np.float32)
    for function in (
        lambda: _core.lloyd(ordered, ordered[:k]),
        lambda: _core.optimal_centroids(ordered, k),
        lambda: _core.assign(ordered, ordered[:k]),
    ):
        with pytest.raises(ValueError, match=f"{k} centroids, expected 1 to 256"):
            function()


def test_wrong_dtype_is_a_type_error():
    with pytest.raises(TypeError):
        _core.lloyd(np.zeros(3), np.zeros(1, np.float32))
    with pytest.raises(TypeError):
        _core.assign(np.zeros((3, 3), np.float32), np.zeros(1, np.float32))


# --- weights: how often each value occurs


@pytest.mark.parametrize("k", [1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(4))
def test_weighted_values_are_clustered_as_if_they_were_repeated(k, seed):
    rng = np.random.default_rng(seed)
    ordered = np.unique(rng.standard_normal(300).astype(np.float32))
    times = rng.integers(1, 9, len(ordered)).astype(np.uint64)
    repeated = np.repeat(ordered, times.astype(np.int64))
    start = np.linspace(ordered[0], ordered[-1], k, dtype=np.float32)
    for found, expected in (
        (_core.lloyd(ordered, start, times), _core.lloyd(repeated, start)),
        (_core.optimal_centroids(ordered, k, times), _core.optimal_centroids(repeated, k)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_of_one_change_nothing():
    ordered = np.sort(np.random.default_rng(0).standard_normal(500).astype(np.float32))
    ones = np.ones(500, np.uint64)
    assert _core.optimal_centroids(ordered, 9, ones).tobytes() == _core.optimal_centroids(ordered, 9).tobytes()
    assert _core.lloyd(ordered, ordered[:5], ones).tobytes() == _core.lloyd(ordered, ordered[:5]).tobytes()


@pytest.mark.parametrize(("times", "message"), [([1, 2], "not one weight for each value"), ([1, 0, 1], "from 1 on")])
def test_weights_that_do_not_fit_are_refused(times, message):
    values = np.float32([1, 2, 3])
    with pytest.raises(ValueError, match=message):
        _core.lloyd(values, values[:1], np.array(times, np.uint64))
    with pytest.raises(ValueError, match=message):
        _core.optimal_centroids(values, 1, np.array(times, np.uint64))
