"""Values shared on a grid, and refusals."""

import numpy as np
import pytest
from grids import HALVES, NEAR, PAIRS, normal
from hypothesis import given
from hypothesis import strategies as st
from models import assert_same, make, snapshot

import deepcompression as dc
from deepcompression import Recipe, Rule, Share
from deepcompression.sharing.codebook import CODEBOOKS, share_values
from deepcompression.sharing.share_weights import share_array
from deepcompression.tensors.dtypes import narrow, widen
from deepcompression.tensors.grid import LIMITS, digits_on_grid, to_grid
from deepcompression.tensors.slices import Weights
from deepcompression.training.model_tensors import read_model


def check_shared(values, shared, grid):
    codebook, codes = shared
    assert (np.diff(codebook) > 0).all()
    assert set(codes.tolist()) == set(range(len(codebook))), "a centroid without a value"
    distances = np.abs(values.astype(np.float64)[:, None] - codebook.astype(np.float64))
    assert np.array_equal(distances.argmin(1), codes)
    assert digits_on_grid(codebook).grid in ("int8", grid)


@pytest.mark.parametrize("grid", LIMITS)
@pytest.mark.parametrize("init", CODEBOOKS)
@given(
    values=st.lists(NEAR, min_size=1, max_size=60).map(lambda values: np.array(values, np.float32)),
    width=st.integers(1, 8),
)
def test_values_go_to_the_nearest_rounded_centroid_and_each_centroid_has_one(grid, init, values, width):
    check_shared(values, share_values(Weights.of(values), width, init, grid=grid), grid)


def test_centroids_that_round_to_one_digit_become_one_when_sharing():
    values = np.array([-1, 0.001, 0.002, 0.5, 1], np.float32)
    assert share_values(Weights.of(values), 3).codebook.size == 5
    assert share_values(Weights.of(values), 3, grid="int8").codebook.size == 4


def test_a_largest_centroid_without_a_nearest_value_is_dropped():
    """In bfloat16, 1.003 is rounded up by most of a step of 1/64, away from its only value."""
    values = np.array([1.0, 1.003], np.float32)
    codebook, codes = share_values(Weights.of(values), 8, grid="int8", dtype="BF16")
    assert codebook.tolist() == [1.0]
    assert codes.tolist() == [0, 0]


@pytest.mark.parametrize("count", [300, 4000])
@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@pytest.mark.parametrize("seed", range(8))
def test_an_array_is_shared_on_the_grid(grid, dtype, seed, count):
    values = widen(narrow(normal(count, seed), dtype), dtype)
    shared = share_array(values, np.ones(count, bool), Share(bits=6, codebook_grid=grid), seed, dtype)
    codebook = widen(shared.codebook, dtype)
    check_shared(values.astype(np.float32), (codebook.astype(np.float32), shared.codes), grid)
    assert to_grid(codebook, grid, dtype).tobytes() == codebook.tobytes()


@pytest.mark.parametrize("dtype", HALVES)
def test_a_dtype_that_cannot_hold_int16_is_refused_by_name_and_nothing_is_changed(dtype):
    model = make(dtype.lower())
    before = snapshot(model)
    rules = [Rule(module="[02]", share=Share(bits=2)), Rule(module="4", share=Share(bits=2, codebook_grid="int16"))]
    message = (
        rf"4\.weight: {dtype} has \d+ significant bits, too few for .* int16 grid: use int8, or make the weights F32"
    )
    with pytest.raises(ValueError, match=message):
        dc.share(model, Recipe(rules=rules))
    assert_same(snapshot(model), before)
    with pytest.raises(ValueError, match=message):
        dc.compress_tensors(read_model(model), Recipe(rules=rules))


def test_a_grid_that_the_dtype_cannot_hold_is_refused_even_if_nothing_survives():
    with pytest.raises(ValueError, match="F16 has 11 significant bits, too few"):
        share_array(np.zeros(3, np.float16), np.zeros(3, bool), Share(bits=2, codebook_grid="int16"), 0, "F16")
