"""The core rounds columns as its slow twin does, with any number of threads; wrong sizes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from slow_rounding import rounded

from deepcompression import _core
from deepcompression.sharing import fit as fitting
from deepcompression.sharing.error_cost import Metric
from tests.sharing.test_fit import case


def metric_of(weight, moments, related, seed):
    rows = np.random.default_rng(seed).uniform(0.5, 2, weight.shape[:2]).astype(np.float32)
    metric = Metric.of(moments, rows)
    return metric if related else Metric(metric.order, None, metric.importance, metric.rows)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("related", [True, False])
@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("pruned", [True, False])
def test_the_core_rounds_as_its_slow_twin(pruned, priced, related, seed):
    # more columns than are rounded in one go, more rows than one thread takes
    weight, moments = case(2, 37, 150, seed=seed)
    metric = metric_of(weight, moments, related, seed)
    rng = np.random.default_rng(seed)
    centroids = np.unique(np.append(rng.normal(0, 0.01, 1 + 20 * seed), 0)).astype(np.float32)
    zero = int(np.searchsorted(centroids, 0))
    prices = rng.uniform(0, 1e-4, len(centroids)).astype(np.float32) if priced else None
    survives = rng.random(weight.shape) < 0.7 if pruned else None
    found = fitting._sweep(weight, metric, centroids, zero, prices, survives)
    codes, targets, importance = rounded(weight, metric, centroids, zero, prices, survives)
    # sums in another order: a value in the middle between two centroids may go either way, and its row with it
    same = (found.codes == codes).all(axis=2)
    assert same.mean() > 0.95
    left = importance * np.square(targets.astype(np.float64) - centroids[codes])
    assert found.cost == pytest.approx(left.sum(), rel=0.01)
    assert found.cost == pytest.approx(metric_cost(weight - centroids[found.codes], metric), rel=1e-4)
    assert np.array_equal(found.counts, np.bincount(found.codes.reshape(-1), minlength=len(centroids)))
    if same.all():
        weights = np.bincount(codes.reshape(-1), importance.reshape(-1), len(centroids))
        sums = np.bincount(codes.reshape(-1), (importance * targets).reshape(-1), len(centroids))
        means = np.where(weights > 0, sums / np.where(weights > 0, weights, 1), centroids)
        assert np.allclose(found.means, means, rtol=1e-4, atol=1e-6)


def metric_cost(error, metric):
    """`Metric.cost` of an error in the order of rounding."""
    through = error if metric.upper is None else error @ metric.upper
    return np.einsum("grc,gr,gc->", through.astype(np.float64) ** 2, metric.rows, metric.importance)


def arguments(**changes):
    rng = np.random.default_rng(0)
    given = {
        "centroids": np.array([-1, 0, 1], np.float32),
        "zero": 1,
        "prices": None,
        "first": 0,
        "weights": rng.standard_normal((1, 40, 8)).astype(np.float32),
        "upper": np.eye(8, dtype=np.float32)[None],
        "importance": np.ones((1, 8), np.float32),
        "row_weights": np.ones((1, 40), np.float32),
        "survives": None,
        "targets": rng.standard_normal((1, 40, 8)).astype(np.float32),
        "codes": np.zeros((1, 40, 8), np.int16),
        "errors": np.zeros((1, 40, 8), np.float32),
        "counts": np.zeros(3),
        "sums_of_weights": np.zeros(3),
        "sums": np.zeros(3),
    }
    return given | changes


def test_threads_change_nothing():
    found = []
    for threads in (1, 2, 5):
        given = arguments(threads=threads)
        cost = _core.round_columns(**given)
        found.append((cost, given["codes"].tobytes(), given["sums"].tobytes()))
    assert found[0] == found[1] == found[2]


WRONG = {
    "zero": 3,
    "prices": np.zeros(2, np.float32),
    "first": 1,
    "weights": np.zeros((1, 40, 9), np.float32),
    "upper": np.zeros((1, 8, 7), np.float32),
    "importance": np.ones((1, 7), np.float32),
    "row_weights": np.ones((1, 41), np.float32),
    "survives": np.ones((1, 1, 8), bool),
    "targets": np.zeros((1, 40, 9), np.float32),
    "codes": np.zeros((1, 1, 8), np.int16),
    "errors": np.zeros((0, 40, 8), np.float32),
    "counts": np.zeros(4),
    "sums_of_weights": np.zeros(2),
    "sums": np.zeros(0),
}


@pytest.mark.parametrize("name", WRONG)
def test_sizes_that_do_not_fit_are_refused(name):
    with pytest.raises(ValueError, match=r"do not fit together|zero must be one"):
        _core.round_columns(**arguments(**{name: WRONG[name]}))


def test_arrays_of_other_axes_types_or_layouts_are_a_type_error():
    flat = arguments()["weights"].reshape(-1)
    turned = np.zeros((8, 40, 1), np.float32).T
    for changes in ({"weights": flat}, {"errors": turned}, {"codes": np.zeros((1, 40, 8), np.int32)}):
        with pytest.raises(TypeError):
            _core.round_columns(**arguments(**changes))
