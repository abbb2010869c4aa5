"""Models on a grid: their parametrization rounds like NumPy, in every step of training."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from grids import CODEBOOK, KINDS, PAIRS, check_on_grid, codebook_in, normal, on_grid, recipe, trained
from hypothesis import given
from hypothesis import strategies as st
from models import assert_same, bits, dense, example, make, train_step
from torch import nn

import deepcompression as dc
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.dtypes import narrow
from deepcompression.tensors.from_torch import from_torch, to_torch
from deepcompression.tensors.grid import LIMITS, digits_on_grid, to_grid
from deepcompression.tensors.tensor import DenseTensor
from deepcompression.training.attach import attach_codebook, original
from deepcompression.training.model_tensors import read_model


@pytest.mark.parametrize(("grid", "dtype"), PAIRS)
@given(values=CODEBOOK)
def test_a_model_rounds_as_numpy_does_bit_for_bit(grid, dtype, values):
    codebook = codebook_in(values, dtype)
    expected = DenseTensor(dtype, narrow(to_grid(codebook, grid, dtype), dtype))
    assert bits(on_grid(grid, to_torch(DenseTensor(dtype, narrow(codebook, dtype))))) == bits(to_torch(expected))


@pytest.mark.parametrize("grid", LIMITS)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=9))
def test_doubles_that_no_float32_has_are_rounded_as_numpy_does(grid, values):
    codebook = np.array(values)
    assert (
        on_grid(grid, torch.tensor(values, dtype=torch.float64)).numpy().tobytes()
        == to_grid(codebook, grid, "F64").tobytes()
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_training_that_diverges_shows(bad):
    centroids = torch.tensor([0.3, bad, -1.0])
    assert bits(on_grid("int8", centroids)) == bits(centroids)


@pytest.mark.parametrize("grid", LIMITS)
def test_the_gradient_passes_unchanged(grid):
    centroids = torch.tensor([0.3, -0.001, -1.0, 0.0], requires_grad=True)
    gradient = torch.tensor([1.0, -2.0, 3.0, 4.0])
    (on_grid(grid, centroids) * gradient).sum().backward()
    assert torch.equal(centroids.grad, gradient)


@pytest.mark.parametrize(("grid", "kind"), KINDS)
def test_a_model_computes_on_the_grid_in_every_step_of_training(grid, kind):
    model = trained(kind, grid, steps=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        train_step(model, optimizer, example(kind))
        for target in targets_of(model):
            if target.trained:
                check_on_grid(from_torch(target.name, getattr(*target.places[0])).numpy(), grid)
    parameters = [original(target) for target in targets_of(model) if target.trained and target.count]
    assert not all(torch.equal(on_grid(grid, parameter), parameter) for parameter in parameters)


def test_weights_on_the_grid_that_are_assigned_stay_as_they_are():
    model = trained("mlp", "int8")
    seen = dense(model)["0.weight"]
    model[0].weight = seen
    assert torch.equal(model[0].weight, seen)


def test_int16_does_not_follow_to_a_dtype_that_cannot_hold_it():
    assert trained("mlp", "int8").half()(example("f16")).dtype == torch.float16
    with pytest.raises(ValueError, match="F16 has 11 significant bits, too few"):
        trained("mlp", "int16").half()(example("f16"))


def with_centroids(values, grid="int8"):
    """A layer of one row, one weight for each centroid."""
    model = nn.Linear(len(values), 1, bias=False)
    codes = torch.arange(len(values), dtype=torch.uint8)
    attach_codebook(targets_of(model)[0], torch.arange(len(values)), codes, torch.tensor(values), grid)
    return model


def test_centroids_at_one_point_are_one_in_a_file_and_part_again_in_training(tmp_path):
    model = with_centroids([12.7, 1.01, 0.99, -0.001, 0.001])
    assert torch.equal(model.weight, torch.from_numpy(to_grid(np.array([[12.7, 1, 1, 0, 0]], np.float32), "int8")))
    tensor = read_model(model)["weight"].canonical()
    assert digits_on_grid(tensor.codebook).digits.tolist() == [0, 10, 127]
    assert tensor.codes.tolist() == [2, 1, 1, 0, 0]
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dense(dc.load(tmp_path / "m.dcz", nn.Linear(5, 1, bias=False))), dense(model))
    with torch.no_grad():
        original(targets_of(model)[0])[1] = 1.2
    assert len(model.weight.unique()) == 4


@pytest.mark.parametrize("values", [[-0.0, 0.0], [-0.0, 5.0], [-1e-9, 1.0, 1e-9], [0.0]])
def test_a_centroid_of_zero_has_no_sign_and_is_trained(values, tmp_path):
    model = with_centroids(values)
    assert not np.signbit(model.weight.detach().numpy()[model.weight.detach().numpy() == 0]).any()
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dense(dc.load(tmp_path / "m.dcz", nn.Linear(len(values), 1, bias=False))), dense(model))
    model.weight.sum().backward()
    assert original(targets_of(model)[0]).grad.tolist() == [1.0] * len(values)


@cache
def loss_after_training(grid, seed, width):
    """The loss of a small network that is shared, then trained to imitate another."""
    x = torch.from_numpy(normal(12 * 200, seed).reshape(200, 12))
    teacher, model = make("mlp", seed=seed + 10), make("mlp", seed=seed)
    with torch.no_grad():
        wanted = 5 * teacher(x)

    def train(steps, rate):
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            (model(x) - wanted).square().mean().backward()
            optimizer.step()
            schedule.step()

    train(150, 0.02)
    dc.share(model, recipe(grid, width, module="*"))
    train(150, 0.005)
    with torch.no_grad():
        return float((model(x) - wanted).square().mean())


@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize("grid", LIMITS)
def test_training_on_the_grid_reaches_about_the_loss_of_training_without(grid, width):
    free, found = (sum(loss_after_training(g, seed, width) for seed in range(2)) for g in (None, grid))
    assert found < 1.1 * free
