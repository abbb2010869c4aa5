"""A weight fitted to its inputs: compared with slow, obvious twins, and better than methods without inputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepcompression.pruning.criteria import CRITERIA
from deepcompression.sharing.codebook import share_values
from deepcompression.sharing.error_cost import DAMPING, Metric
from deepcompression.sharing.fit import fit_penalty, fit_share, prune_mask
from deepcompression.tensors.slices import Weights


def case(groups=1, rows=24, columns=40, samples=400, seed=0):
    """A weight, and second moments of correlated inputs of different sizes."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((groups, columns, columns)) * np.exp(rng.normal(0, 1, (groups, 1, columns)))
    inputs = rng.standard_normal((groups, samples, columns)) @ mix
    moments = inputs.transpose(0, 2, 1) @ inputs / samples
    weight = rng.standard_normal((groups, rows, columns)) / columns
    return weight.astype(np.float32), moments.astype(np.float32)


def ones(weight):
    return np.ones(weight.shape[:2], np.float32)


def output_error(weight, values, moments):
    error = (weight - values).astype(np.float64)
    return sum(np.trace(e @ h @ e.T) for e, h in zip(error, moments.astype(np.float64), strict=True))


def damped(moments):
    columns = moments.shape[1]
    mean = np.trace(moments, axis1=1, axis2=2)[:, None, None] / columns
    return moments + DAMPING * mean * np.eye(columns)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_cost_of_an_error_is_its_effect_on_outputs(groups):
    weight, moments = case(groups)
    rows = np.random.default_rng(1).uniform(0.5, 2, weight.shape[:2]).astype(np.float32)
    metric = Metric.of(moments, rows)
    error = np.random.default_rng(2).standard_normal(weight.shape).astype(np.float32)
    expected = np.einsum("gr,grc,gcd,grd->", rows, error, damped(moments), error, dtype=np.float64)
    assert metric.cost(error) == pytest.approx(expected, rel=1e-4)


def test_the_diagonal_of_the_inverse_is_that_of_the_inverse():
    _, moments = case(2)
    metric = Metric.of(moments, np.ones((2, 3), np.float32))
    expected = [np.diag(np.linalg.inv(h.astype(np.float64))) for h in damped(moments)]
    assert np.allclose(metric.inverse_diagonal(), expected, rtol=1e-3)


def test_a_single_pruned_weight_is_the_one_that_brute_force_finds():
    """Optimal Brain Surgeon on a tiny matrix: remove each weight, and let the others of its row compensate exactly."""
    weight, moments = case(rows=3, columns=5)
    h = damped(moments)[0].astype(np.float64)
    costs = np.empty((3, 5))
    for row, column in itertools.product(range(3), range(5)):
        others = [c for c in range(5) if c != column]
        w = weight[0, row].astype(np.float64)
        # least of e H e^T with e[column] = w[column]
        e = np.zeros(5)
        e[column] = w[column]
        e[others] = -np.linalg.solve(h[np.ix_(others, others)], h[others, column] * w[column])
        costs[row, column] = e @ h @ e
    kept = prune_mask(weight, Metric.of(moments, ones(weight)), 14 / 15)
    assert np.flatnonzero(~kept) == costs.argmin()


def test_rounding_column_by_column_is_the_slow_twin_of_one_weight_at_a_time():
    """Each weight goes to its nearest centroid, and the rest of its row to the optimum under the fixed ones."""
    weight, moments = case(rows=4, columns=6)
    metric = Metric.of(moments, ones(weight))
    fitted = fit_share(weight, metric, 2)
    centroids = np.delete(fitted.centroids, fitted.zero).astype(np.float64)
    h = damped(moments)[0].astype(np.float64)
    order = metric.order[0]
    for row in range(4):
        target = weight[0, row].astype(np.float64)
        left = target.copy()
        for at, column in enumerate(order):
            rest = order[at + 1 :]
            before = order[:at]
            # the optimum of this and all later columns, under the errors made so far
            free = np.concatenate([[column], rest])
            if at:
                shift = np.linalg.solve(h[np.ix_(free, free)], h[np.ix_(free, before)] @ (target - left)[before])
                now = target[column] + shift[0]
            else:
                now = target[column]
            left[column] = centroids[np.abs(centroids - now).argmin()]
        # the chosen codebook, the best of several sweeps
        assert np.allclose(left, fitted.values()[0, row], atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("density", "bits"), [(1.0, 2), (1.0, 4), (0.5, 3), (0.3, 4)])
def test_outputs_change_less_than_by_magnitude_and_k_means(density, bits, seed):
    weight, moments = case(seed=seed)
    mask = CRITERIA["magnitude"].masks([weight], density, 0)[0]
    codebook, codes = share_values(Weights.of(weight[mask]), bits, "optimal")
    plain = np.zeros_like(weight)
    plain[mask] = codebook[codes]
    metric = Metric.of(moments, ones(weight))
    fitted = fit_share(weight, metric, bits, prune_mask(weight, metric, density))
    assert np.count_nonzero(fitted.codes != fitted.zero) == np.count_nonzero(mask)
    assert len(np.unique(fitted.codes[fitted.codes != fitted.zero])) <= 1 << bits
    assert output_error(weight, fitted.values(), moments) < 0.8 * output_error(weight, plain, moments)


def entropy_bits(codes):
    _, counts = np.unique(codes, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def test_a_penalty_gives_less_error_than_k_means_of_as_many_bits():
    weight, _ = case(rows=100, seed=3)
    fitted = fit_penalty(weight, Metric.diagonal(ones(weight), weight.shape[2]), 4.0**-3)
    for bits in range(1, 6):
        codebook, codes = share_values(Weights.of(weight.reshape(-1)), bits, "optimal")
        if entropy_bits(codes) <= entropy_bits(fitted.codes):
            plain = np.square(weight.reshape(-1) - codebook[codes]).sum()
    assert np.square(weight - fitted.values()).sum() < plain


def test_a_larger_penalty_gives_fewer_bits_and_more_error():
    weight, moments = case(rows=100)
    metric = Metric.of(moments, ones(weight))
    found = [fit_penalty(weight, metric, 4.0**-bits) for bits in range(1, 7)]
    bits = [entropy_bits(each.codes) for each in found]
    costs = [metric.cost(weight - each.values()) for each in found]
    assert bits == sorted(bits)
    assert costs == sorted(costs, reverse=True)
    # a bit of each weight is a factor of four
    assert (bits[-1] - bits[-2]) / weight.size == pytest.approx(1, abs=0.25)


def test_inputs_that_are_never_seen_cost_nothing():
    weight, moments = case()
    moments[:, 5], moments[:, :, 5] = 0, 0
    fitted = fit_penalty(weight, Metric.of(moments, ones(weight)), 0.01)
    assert np.isfinite(fitted.values()).all()
    assert (np.delete(fitted.values(), 5, 2) != 0).any()
    for dead in (np.zeros_like(moments), moments * 0):
        assert np.isfinite(fit_penalty(weight, Metric.of(dead, ones(weight)), 0.01).values()).all()


def test_fewer_inputs_than_columns_are_enough():
    weight, moments = case(samples=7)
    fitted = fit_share(weight, Metric.of(moments, ones(weight)), 3)
    codebook, codes = share_values(Weights.of(weight.reshape(-1)), 3, "optimal")
    plain = codebook[codes].reshape(weight.shape)
    assert output_error(weight, fitted.values(), moments) < 0.2 * output_error(weight, plain, moments)


def test_rows_that_matter_more_are_kept_better():
    weight, moments = case(rows=60)
    rows = ones(weight)
    rows[:, :30] = 100
    fitted = fit_penalty(weight, Metric.of(moments, rows), 0.02)
    errors = np.square(weight - fitted.values()).mean(axis=(0, 2))
    assert errors[:30].mean() < 0.2 * errors[30:].mean()


def test_pruned_weights_are_zero():
    weight, moments = case()
    metric = Metric.of(moments, ones(weight))
    kept = np.random.default_rng(0).random(weight.shape) < 0.5
    for fitted in (fit_penalty(weight, metric, 0.01, kept), fit_share(weight, metric, 4, survives=kept)):
        assert (fitted.values()[~kept] == 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 0, 4), (3, 2, 0), (5, 1, 9)])
def test_every_shape_is_fitted(shape):
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    moments = np.tile(np.eye(shape[2], dtype=np.float32), (shape[0], 1, 1))
    metric = Metric.of(moments, ones(weight))
    assert fit_penalty(weight, metric, 0.001).values().shape == shape
    assert fit_share(weight, metric, 8).values().shape == shape


@pytest.mark.parametrize("value", [0.0, 0.5, -2.0])
def test_constant_weights_stay_as_they_are(value):
    weight = np.full((1, 4, 5), value, np.float32)
    metric = Metric.diagonal(ones(weight), 5)
    assert np.array_equal(fit_share(weight, metric, 3).values(), weight)
    assert np.allclose(fit_penalty(weight, metric, 1e-4).values(), weight, atol=0.02)


def test_fitting_is_deterministic():
    weight, moments = case(3)
    metric = Metric.of(moments, ones(weight))
    first, second = (fit_penalty(weight, metric, 0.01) for _ in range(2))
    assert np.array_equal(first.values(), second.values())


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_the_compressed_tensor_has_the_values(dtype):
    weight, moments = case(rows=5)
    fitted = fit_penalty(weight, Metric.of(moments, ones(weight)), 0.01)
    tensor = fitted.compressed(weight.shape, dtype)
    assert np.allclose(tensor.numpy(), fitted.values(), rtol=0.01)


def test_few_large_weights_do_not_take_the_centroids_of_all_others():
    weight = np.random.default_rng(0).standard_t(2, (1, 100, 200)).astype(np.float32)
    fitted = fit_penalty(weight, Metric.diagonal(ones(weight), weight.shape[2]), 4.0**-12)
    codebook, codes = share_values(Weights.of(weight.reshape(-1)), 7, "optimal")
    assert entropy_bits(fitted.codes) / weight.size > 6
    assert np.square(weight - fitted.values()).sum() < 0.6 * np.square(weight.reshape(-1) - codebook[codes]).sum()
