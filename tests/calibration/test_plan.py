"""Plans: the file meets its target, the recipe gives the measured results, errors name the best reachable target."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from models import assert_same, make, snapshot
from torch import nn

import deepcompression as dc
from deepcompression import Recipe
from deepcompression.calibration.plan import LADDER
from deepcompression.tensors.tensor import DenseTensor
from tests.calibration.test_calibrate import change_of, outputs, trained_like


def size_of(model, recipe, batches, folder, profile="fast"):
    if batches is None:
        dc.share(model, recipe)
    else:
        dc.calibrate(model, recipe, batches)
    dc.save(model, folder / "m.dcz", profile=profile)
    return (folder / "m.dcz").stat().st_size


@pytest.mark.parametrize("profile", ["fast", "small", "device"])
@pytest.mark.parametrize("ratio", [3, 5, 8])
def test_a_file_meets_its_target_with_exactly_the_planned_bytes(ratio, profile, tmp_path):
    model, batches, _ = trained_like()
    before = snapshot(model)
    plan = dc.plan(model, batches, target_ratio=ratio, profile=profile)
    assert_same(snapshot(model), before)
    exact = outputs(model, torch.cat(batches))
    size = size_of(model, plan.recipe, batches, tmp_path, profile)
    assert size == plan.file_bytes
    assert 0.98 * plan.dense_bytes / ratio <= size <= plan.dense_bytes / ratio
    assert change_of(model, exact, torch.cat(batches)) == pytest.approx(plan.change_of_outputs, rel=0.2)
    assert plan.predicted == pytest.approx(plan.change_of_outputs, rel=1)


@pytest.mark.parametrize("batched", [True, False])
def test_an_applied_plan_gives_the_result_of_its_recipe(batched, tmp_path):
    model, batches, _ = trained_like()
    other, inputs = copy.deepcopy(model), batches if batched else None
    plan = dc.plan(model, inputs, target_size=4000)
    plan.apply(model)
    size = size_of(other, plan.recipe, inputs, tmp_path)
    assert_same(snapshot(model), snapshot(other))
    dc.save(model, tmp_path / "applied.dcz")
    assert (tmp_path / "applied.dcz").stat().st_size == size == plan.file_bytes


def test_a_plan_is_for_one_model():
    model, batches, _ = trained_like()
    plan = dc.plan(model, batches, target_size=4000)
    with torch.no_grad():
        next(iter(model.parameters())).mul_(2)
    before = snapshot(model)
    shared, _, _ = trained_like()
    plan.apply(shared)
    for other in (model, nn.Linear(2, 2), shared):
        with pytest.raises(ValueError, match=r"the model differs from the one that was planned for: 0\."):
            plan.apply(other)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("batched", [True, False])
def test_a_size_is_met_with_and_without_data(batched, tmp_path):
    model, batches, _ = trained_like()
    inputs = batches if batched else None
    plan = dc.plan(model, inputs, target_size=4000)
    assert 0.98 * 4000 <= size_of(model, plan.recipe, inputs, tmp_path) == plan.file_bytes <= 4000


@pytest.mark.parametrize("most", [0.3, 0.03])
def test_a_change_is_not_exceeded(most):
    model, batches, _ = trained_like()
    plan = dc.plan(model, batches, max_change=most)
    exact = outputs(model, torch.cat(batches))
    dc.calibrate(model, plan.recipe, batches)
    assert 0.5 * most < change_of(model, exact, torch.cat(batches)) <= most


class Branches(nn.Module):
    """Two equal layers, where the second adds little to the output."""

    def __init__(self):
        super().__init__()
        self.much, self.little = nn.Linear(32, 48), nn.Linear(32, 48)

    def forward(self, x):
        return self.much(x) + 0.05 * self.little(x)


def test_weights_that_matter_less_get_fewer_bytes():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Branches()
    _, batches, _ = trained_like()
    much, little = dc.plan(model, batches, target_ratio=5).lines
    assert little.file_bytes < much.file_bytes / 2
    # squared errors of the first cost 400 times as much; random signs measure that to a quarter
    assert 300 < little.penalty / much.penalty < 530


def test_a_plan_can_be_read():
    model, batches, _ = trained_like()
    plan = dc.plan(model, batches, target_ratio=6)
    assert [line.tensor for line in plan.lines] == ["0.weight", "2.weight", "4.weight"]
    assert json.loads(json.dumps(plan.to_dict()))["file_bytes"] == plan.file_bytes
    assert f"{plan.file_bytes:,} bytes" in str(plan)
    assert Recipe.model_validate(plan.recipe.model_dump()) == plan.recipe


def test_names_that_look_like_patterns_are_names():
    tensors = {
        name: DenseTensor.from_numpy(np.random.default_rng(0).standard_normal((50, 60)).astype(np.float32))
        for name in ("a[1]", "a1", "*", "b?")
    }
    plan = dc.plan(tensors, target_ratio=6)
    found = dc.compress_tensors(tensors, plan.recipe)
    assert all(isinstance(tensor, dc.CompressedTensor) for tensor in found.values())


def test_sensitivity_measures_each_weight_alone():
    model, batches, _ = trained_like()
    lines = dc.sensitivity(model, batches)
    assert len(lines) == 3 * len(LADDER)
    for name in ("0.weight", "2.weight", "4.weight"):
        own = [line for line in lines if line.tensor == name]
        assert [line.file_bytes for line in own] == sorted(line.file_bytes for line in own)
        assert [line.change for line in own] == sorted((line.change for line in own), reverse=True)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "one target"),
        ({"target_size": 10, "target_ratio": 3}, "one target"),
        ({"target_size": 0}, "target_size is a positive number; found 0"),
        ({"target_size": "5 apples"}, "a size is a number with B, KB, MB"),
        ({"target_ratio": math.nan}, "positive number"),
        ({"max_change": -1}, "positive number"),
        ({"target_size": 400}, r"400 bytes cannot be reached: the best reachable is [0-9,]+, with all weights zero"),
        ({"max_change": 1e-7}, r"change of the outputs of 1e-07 cannot be reached .* the best reachable is [0-9.e-]+"),
    ],
)
def test_targets_that_cannot_be_reached_are_named(target, message):
    model, batches, _ = trained_like()
    with pytest.raises(ValueError, match=message):
        dc.plan(model, batches, **target)


def test_a_size_is_a_text_as_on_the_command_line_and_numbers_are_numbers():
    model, _, _ = trained_like()
    assert dc.plan(model, target_size="5 KB").file_bytes == dc.plan(model, target_size=5000).file_bytes
    for wrong in ({"target_ratio": "8"}, {"max_change": [0.1]}, {"target_size": True}):
        word = next(iter(wrong))
        with pytest.raises(TypeError, match=f"{word} is a positive number; found"):
            dc.plan(model, **wrong)


def test_a_model_without_weights_has_no_plan():
    with pytest.raises(ValueError, match="no weight"):
        dc.plan(nn.LayerNorm(4), [torch.ones(2, 4)], target_ratio=2)
    with pytest.raises(ValueError, match=r"no weight .*; packed and exact tensors are kept bit for bit \(q\)"):
        dc.plan({"q": DenseTensor.from_numpy(np.ones((4, 8), np.float32))}, target_ratio=2, exact=["q"])


def test_tied_weights_are_counted_once(tmp_path):
    model = make("tied")
    plan = dc.plan(model, [torch.tensor([[1, 4, 10], [0, 2, 2]])], max_change=0.5)
    assert len(plan.lines) == 1
    assert size_of(model, plan.recipe, [torch.tensor([[1, 4, 10], [0, 2, 2]])], tmp_path) == plan.file_bytes


def test_a_target_is_met_where_few_inputs_are_much_larger_than_the_others(tmp_path):
    """The loss of a mean weight then costs far more than that of most weights."""
    model, batches, _ = trained_like()
    scale = torch.ones(32)
    scale[:2] = 300
    batches = [batch * scale for batch in batches]
    plan = dc.plan(model, batches, target_ratio=4)
    assert 0.98 * plan.dense_bytes / 4 <= plan.file_bytes <= plan.dense_bytes / 4


@pytest.mark.parametrize("batched", [True, False])
def test_weights_stay_as_they_are_for_bytes_that_centroids_cannot_use(batched, tmp_path):
    model, batches, _ = trained_like()
    inputs = batches if batched else None
    dense = model[2].weight.detach().clone()
    plan = dc.plan(model, inputs, target_size=20_000)
    exact = {line.tensor for line in plan.lines if not line.penalty}
    assert "2.weight" in exact
    assert len(plan.lines) == 3
    assert "stored as it is" in str(plan)
    assert 12_000 < size_of(model, plan.recipe, inputs, tmp_path) == plan.file_bytes <= 20_000
    assert torch.equal(model[2].weight, dense)
    assert plan.change_of_weights < 0.01


def test_a_target_beyond_all_weights_changes_nothing(tmp_path):
    model, batches, _ = trained_like()
    before = snapshot(model)
    plan = dc.plan(model, batches, target_size=10**6)
    assert plan.change_of_outputs == plan.change_of_weights == 0
    assert size_of(model, plan.recipe, batches, tmp_path) == plan.file_bytes
    assert_same(snapshot(model), before)
