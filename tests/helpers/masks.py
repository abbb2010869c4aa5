"""Masks of many kinds, and their encoding by the core."""

from __future__ import annotations

import math

import numpy as np
from cases import numbers

from deepcompression import _core


def packed(mask):
    return np.packbits(np.asarray(mask, bool).reshape(-1), bitorder="little")


def axes(shape):
    return np.array(shape, np.uint64)


def encode(mask):
    return _core.encode_mask(packed(mask), axes(np.shape(mask)))


def uniform(count, seed=1):
    """Numbers from 0 to 1 that no library's version changes."""
    return numbers(count, seed) / 2.0**32


def independent(shape, density, seed=1):
    return (uniform(math.prod(shape), seed) < density).reshape(shape)


def in_classes(shape, seed=1):
    """A convolution's or a matrix's mask whose outputs and inputs differ in density."""
    rows, columns = shape[0], shape[1]
    level = 3 * uniform(rows, seed + 1)[:, None] + 3 * uniform(columns, seed + 2)[None] - 4.5
    density = 1 / (1 + np.exp(-2 * level))
    return uniform(math.prod(shape), seed).reshape(shape) < density.reshape(rows, columns, *[1] * (len(shape) - 2))


def kernels(shape, seed=1):
    """A convolution whose kernels are pruned whole, or not at all."""
    survives = uniform(shape[0] * shape[1], seed) < 0.3
    mask = np.zeros(shape, bool)
    mask.reshape(len(survives), -1)[survives] = True
    return mask ^ independent(shape, 0.02, seed + 1)
