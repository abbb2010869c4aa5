"""Pooling on boards: windows at borders hold what lies within."""

from __future__ import annotations

import numpy as np
import pytest
from device_layers import Calls, outputs
from layers_twin import Pool, Requantize, average_pool, max_pool

CASES = {
    "halves": Pool(3, 6, 8, 3, 4, 2, 2, 2, 2),
    "overlapping": Pool(2, 7, 7, 5, 3, 3, 3, 1, 2),
    "padded": Pool(2, 5, 6, 5, 6, 3, 3, 1, 1, 1, 1),
    "padded, all count": Pool(2, 5, 6, 5, 6, 3, 3, 1, 1, 1, 1, 1),
    "over the edge": Pool(1, 5, 5, 3, 3, 2, 2, 2, 2),
    "global": Pool(4, 25, 5, 1, 1, 25, 5),
    "one dimension": Pool(3, 1, 11, 1, 5, 1, 3, 1, 2),
    "padding above alone": Pool(1, 4, 4, 4, 3, 3, 2, 1, 1, 2, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_pooling(name: str) -> None:
    pool = CASES[name]
    rng = np.random.default_rng(len(name))
    x = rng.integers(-127, 128, pool[:3]).astype(np.int8)
    x_f = rng.standard_normal(pool[:3]).astype(np.float32)
    x_f[0] = -np.abs(x_f[0])
    shape = (pool.channels, pool.out_height, pool.out_width)
    most = pool.kernel_height * pool.kernel_width
    counts = np.arange(1, most + 1)
    to = Requantize(np.round(2**14 / counts).astype(np.int16), 0, 14, -127, 127)
    one = to._replace(multiplier=to.multiplier[-1:], low=0, high=50)
    calls = Calls()
    calls.add("max_pool_i8", shape, pool, x)
    calls.add("max_pool_f32", shape, pool, x_f)
    calls.add("average_pool_i8", shape, pool, x, to)
    calls.add("average_pool_i8", shape, pool, x, one)
    calls.add("average_pool_f32", shape, pool, x_f)
    found = outputs(calls)
    assert np.array_equal(found[0], max_pool(pool, x))
    assert np.array_equal(found[1], max_pool(pool, x_f))
    assert np.array_equal(found[2], average_pool(pool, x, to))
    assert np.array_equal(found[3], average_pool(pool, x, one))
    assert np.abs(found[4] - average_pool(pool, x_f)).max() <= 1e-6
