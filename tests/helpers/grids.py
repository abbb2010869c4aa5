"""Codebooks, models and recipes for tests of grids."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import strategies as st
from models import MODELS, example, make, train_step

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, narrow, widen
from deepcompression.tensors.grid import LIMITS, digits_on_grid
from deepcompression.training.parametrizations import Codebook

HALVES = ("F16", "BF16")
PAIRS = [(grid, dtype) for grid in LIMITS for dtype in WEIGHT_DTYPES if grid == "int8" or dtype not in HALVES]
KINDS = [(grid, kind) for grid in LIMITS for kind in MODELS if grid == "int8" or kind not in ("f16", "bf16")]

# every magnitude that float32 has, subnormals and both zeros included, alone and beside others of its own magnitude
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
NEAR = st.builds(lambda value, scale: float(np.float32(value * scale)), st.floats(-1, 1), st.sampled_from([1, 0.03125]))
CODEBOOK = st.lists(ANY, max_size=6) | st.lists(NEAR, min_size=1, max_size=20)


def codebook_in(values, dtype):
    """Centroids as a tensor of the dtype holds them, clipped to its range, as ordinary floats."""
    top = {"F16": 65504.0, "BF16": float((2 - 2.0**-7) * 2.0**127)}.get(dtype, math.inf)
    values = np.clip(np.array(values, np.float64), -top, top).astype(np.float32)
    return widen(narrow(values, dtype), dtype)


def significant_bits(value):
    """Of a positive number: those between its first bit set and its last one."""
    numerator = Fraction(value).numerator
    return (numerator // (numerator & -numerator)).bit_length()


def normal(size, seed=0):
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size).astype(np.float32)


def on_grid(grid, centroids):
    survivors = len(centroids)
    book = Codebook((survivors,), torch.arange(survivors), torch.zeros(survivors, dtype=torch.uint8), survivors, grid)
    return book.on_grid(centroids)


def recipe(grid="int8", width=2, density=None, **selector):
    prune = None if density is None else Prune(density=density)
    share = Share(bits=width, codebook_grid=grid)
    return Recipe(rules=[Rule(**(selector or {"tensor": "*"}), prune=prune, share=share)])


def trained(kind, grid, steps=2, **options):
    """A model shared on a grid and trained a little, so that its parameters are off the grid."""
    model = make(kind)
    if "density" in options:
        dc.prune(model, recipe(grid, **options))
    dc.share(model, recipe(grid, **options))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        train_step(model, optimizer, example(kind))
    return model


def check_on_grid(values, grid):
    found = digits_on_grid(np.unique(values))
    assert found is not None
    assert found.grid in ("int8", grid)
