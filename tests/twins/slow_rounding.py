"""Rounding column by column in NumPy: the slow twin of core/sharing/column_rounding.cpp."""

from __future__ import annotations

import numpy as np


def codes_of(values, importance, centroids, zero, prices):
    """The codes of one column: float32 values and their importance."""
    numbers = np.arange(len(centroids))
    if prices is None:
        numbers = np.delete(numbers, zero)
    if not len(numbers):
        return np.full(values.shape, zero)
    near = centroids[numbers]
    nearest = numbers[np.searchsorted((near[1:] + near[:-1]) / np.float32(2), values)]
    if prices is None:
        return nearest
    candidates = np.stack([nearest, nearest - np.sign(nearest - zero), np.full_like(nearest, zero)])
    costs = importance * np.square(values - centroids[candidates]) + prices[candidates]
    # the nearest on ties
    return np.take_along_axis(candidates, costs.argmin(axis=0)[None], 0)[0]


def rounded(weights, metric, centroids, zero, prices, survives):
    """(codes, the values that were rounded to them, importance), each (groups, rows, columns)."""
    targets, errors = weights.copy(), np.zeros_like(weights)
    codes = np.zeros(weights.shape, np.int16)
    importance = metric.rows[:, :, None] * metric.importance[:, None, :]
    for j in range(weights.shape[2]):
        if metric.upper is not None:
            taken = errors[:, :, :j].astype(np.float64) @ metric.upper[:, :j, j, None].astype(np.float64)
            targets[:, :, j] += taken[:, :, 0].astype(np.float32)
        code = codes_of(targets[:, :, j], importance[:, :, j], centroids, zero, prices)
        codes[:, :, j] = code if survives is None else np.where(survives[:, :, j], code, zero)
        errors[:, :, j] = weights[:, :, j] - centroids[codes[:, :, j]]
    return codes, targets, importance
