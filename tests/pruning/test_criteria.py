"""Stage 1's criteria compared with slow twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepcompression.pruning.criteria import CRITERIA, survivor_count
from deepcompression.tensors import slices
from deepcompression.tensors.slices import Weights

FLOATS = st.floats(-4, 4, width=16)
WEIGHTS = st.lists(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), elements=FLOATS),
    min_size=1,
    max_size=3,
)
DENSITIES = st.floats(0, 1)


def twin_magnitude(weights, density, seed):
    masks = []
    for w in weights:
        flat = [abs(float(value)) for value in w.flat]
        ranked = sorted(range(len(flat)), key=lambda i: (-flat[i], i))
        kept = set(ranked[: survivor_count(len(flat), density)])
        masks.append(np.array([i in kept for i in range(len(flat))], bool).reshape(w.shape))
    return masks


def twin_global_magnitude(weights, density, seed):
    (mask,) = twin_magnitude([np.concatenate([w.reshape(-1) for w in weights])], density, seed)
    masks = []
    for w in weights:
        masks.append(mask[: w.size].reshape(w.shape))
        mask = mask[w.size :]
    return masks


def twin_threshold(weights, quality, seed):
    masks = []
    for w in weights:
        left = [float(value) for value in w.flat if value != 0]
        bound = quality * np.std(left) if left else 0
        masks.append(np.array([value != 0 and abs(float(value)) > bound for value in w.flat], bool).reshape(w.shape))
    return masks


def twin_random(weights, density, seed):
    """Draws for all weights of all tensors in turn; the largest draws survive."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return twin_magnitude([rng.random(w.size).reshape(w.shape) for w in weights], density, seed)


TWINS = {
    "magnitude": twin_magnitude,
    "global-magnitude": twin_global_magnitude,
    "threshold": twin_threshold,
    "random": twin_random,
}
BY_DENSITY = [name for name, criterion in CRITERIA.items() if criterion.amount == "density"]


def test_every_criterion_has_a_twin():
    assert TWINS.keys() == CRITERIA.keys()


@pytest.mark.parametrize("name", TWINS)
@given(weights=WEIGHTS, amount=DENSITIES, seed=st.integers(0, 3))
def test_masks_are_those_of_the_slow_twin(name, weights, amount, seed):
    found = CRITERIA[name].masks(weights, amount, seed)
    expected = TWINS[name](weights, amount, seed)
    for mask, other, weight in zip(found, expected, weights, strict=True):
        assert mask.dtype == bool
        assert mask.shape == weight.shape
        assert (mask == other).all()


@pytest.mark.parametrize("name", BY_DENSITY)
@given(weights=WEIGHTS, density=DENSITIES)
def test_a_density_gives_an_exact_count(name, weights, density):
    masks = CRITERIA[name].masks(weights, density, 0)
    if name == "global-magnitude":
        assert sum(map(np.count_nonzero, masks)) == survivor_count(sum(w.size for w in weights), density)
    else:
        assert [np.count_nonzero(m) for m in masks] == [survivor_count(w.size, density) for w in weights]


@pytest.mark.parametrize("name", BY_DENSITY)
@pytest.mark.parametrize("weight", [np.zeros((3, 4)), np.full((3, 4), 2.5), np.arange(12.0).reshape(3, 4)])
def test_density_1_prunes_nothing_and_density_0_everything(name, weight):
    assert CRITERIA[name].masks([weight], 1.0, 0)[0].all()
    assert not CRITERIA[name].masks([weight], 0.0, 0)[0].any()


@pytest.mark.parametrize("name", ["magnitude", "global-magnitude"])
def test_the_first_survive_on_ties(name):
    (mask,) = CRITERIA[name].masks([np.array([1.0, -2, 1, 2, -1, 1])], 4 / 6, 0)
    assert mask.tolist() == [True, True, True, True, False, False]


def test_one_threshold_holds_over_all_tensors():
    masks = CRITERIA["global-magnitude"].masks([np.array([5.0, 1, 4]), np.array([[3.0, 2], [6, 0]])], 3 / 7, 0)
    assert [mask.tolist() for mask in masks] == [[True, False, True], [[False, False], [True, False]]]


def test_random_survivors_of_a_lower_density_are_among_those_of_a_higher_one():
    weights = [np.ones((9, 9)), np.ones(30)]
    previous = CRITERIA["random"].masks(weights, 0.9, 7)
    for density in (0.6, 0.31, 0.1, 0.0):
        masks = CRITERIA["random"].masks(weights, density, 7)
        assert all(not (mask & ~before).any() for mask, before in zip(masks, previous, strict=True))
        previous = masks


def test_random_differs_by_seed_and_not_by_weights():
    weight = np.arange(100.0)
    (mask,) = CRITERIA["random"].masks([weight], 0.5, 1)
    assert (mask == CRITERIA["random"].masks([-weight * 3], 0.5, 1)[0]).all()
    assert (mask != CRITERIA["random"].masks([weight], 0.5, 2)[0]).any()


def test_threshold_is_quality_times_the_deviation_of_the_weights_left():
    weight = np.array([0.0, 0, 0, 0, -1, 1, 3, -3])
    (mask,) = CRITERIA["threshold"].masks([weight], 1.0, 0)
    assert mask.tolist() == [False] * 6 + [True, True]  # sqrt(5) lies between 1 and 3; with the zeros it would be 1.6
    (mask,) = CRITERIA["threshold"].masks([weight], 0.0, 0)
    assert mask.tolist() == (weight != 0).tolist()


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("weight", [np.zeros((0, 4), np.float32), np.zeros(3, np.float16), np.full((2, 2), 0.1)])
def test_empty_zero_and_constant_tensors_have_masks_of_their_shape(name, weight):
    (mask,) = CRITERIA[name].masks([weight], 0.5, 0)
    assert mask.shape == weight.shape


def test_a_constant_tensor_stays_whole_under_a_threshold():
    assert CRITERIA["threshold"].masks([np.full((50, 3), 0.1, np.float32)], 2.0, 0)[0].all()


@pytest.mark.parametrize(
    ("size", "density", "count"), [(10, 0.25, 3), (10, 0.24, 2), (0, 0.5, 0), (3, 1 / 3, 1), (7, 1, 7)]
)
def test_the_count_of_survivors_is_the_nearest_halves_up(size, density, count):
    assert survivor_count(size, density) == count


@pytest.mark.parametrize("name", CRITERIA)
def test_weights_do_not_change(name):
    weight = np.linspace(-1, 1, 20).reshape(4, 5)
    CRITERIA[name].masks([weight], 0.5, 0)
    assert (weight == np.linspace(-1, 1, 20).reshape(4, 5)).all()


# --- large tensors


@pytest.fixture
def short_slices(monkeypatch):
    monkeypatch.setattr(slices, "SLICE", 16)


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("amount", [0.03, 0.5, 0.97])
def test_masks_of_many_slices_are_those_of_the_slow_twin(name, dtype, amount, short_slices):
    rng = np.random.Generator(np.random.PCG64(1))
    weights = [rng.standard_normal(shape).astype(dtype) for shape in [(9, 13), (40,), (0, 3), (7, 5, 5)]]
    weights[1][:30] = weights[0][0, 0]
    found = CRITERIA[name].masks(weights, amount, 3)
    for mask, other in zip(found, TWINS[name](weights, amount, 3), strict=True):
        assert (mask == other).all()


def test_tensors_of_several_dtypes_have_one_threshold(short_slices):
    rng = np.random.Generator(np.random.PCG64(2))
    weights = [rng.standard_normal(90).astype(dtype) for dtype in (np.float16, np.float64, np.float32)]
    found = CRITERIA["global-magnitude"].masks(weights, 0.2, 0)
    for mask, other in zip(found, twin_global_magnitude(weights, 0.2, 0), strict=True):
        assert (mask == other).all()


def test_the_first_survive_on_ties_across_tensors(short_slices):
    weights = [np.full(40, -1.0), np.full(3, 2.0), np.ones(50)]
    masks = CRITERIA["global-magnitude"].masks(weights, 53 / 93, 0)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [list(range(40)), [0, 1, 2], list(range(10))]


@pytest.mark.parametrize("name", CRITERIA)
def test_tensors_may_be_selected_from_in_any_order(name):
    rng = np.random.Generator(np.random.PCG64(3))
    weights = [Weights.of(rng.standard_normal(50)) for _ in range(4)]
    there = [select(each) for select, each in zip(CRITERIA[name].select(weights, 0.3, 5), weights, strict=True)]
    selects = CRITERIA[name].select(weights, 0.3, 5)
    back = [selects[i](weights[i]) for i in (3, 1, 0, 2)]
    assert [back[i].tobytes() for i in (2, 1, 3, 0)] == [bits.tobytes() for bits in there]
