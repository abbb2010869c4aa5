"""The change of the outputs: its definition by a slow twin, inputs held back, true of the file that is written."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import deepcompression as dc
from deepcompression.calibration.network import change, change_of_each, held_back
from deepcompression.calibration.torch_network import TorchNetwork
from deepcompression.file.effect import KEY
from tests.calibration.test_calibrate import BY_BITS, MASKED, PRUNED, trained_like

RNG = np.random.Generator(np.random.PCG64(0))


def twin(found, exact):
    errors = sum(float(((f.astype(float) - e.astype(float)) ** 2).sum()) for f, e in zip(found, exact, strict=True))
    return math.sqrt(errors / sum(float((e.astype(float) ** 2).sum()) for e in exact))


def test_the_change_is_the_relative_root_mean_square_of_all_outputs():
    exact = {"a": RNG.standard_normal(500).astype(np.float32), "b": RNG.standard_normal(70) * 1e3}
    found = {name: each + 0.1 * RNG.standard_normal(len(each)) for name, each in exact.items()}
    assert change(found, exact) == pytest.approx(twin(found.values(), exact.values()))
    for name, each in change_of_each(found, exact).items():
        assert each == pytest.approx(twin([found[name]], [exact[name]]))
    assert change(exact, exact) == 0
    assert change({"a": np.ones(3)}, {"a": np.zeros(3)}) == math.inf


@pytest.mark.parametrize("mask", [-math.inf, np.finfo(np.float32).min, -1e9])
def test_masks_hide_no_change(mask):
    exact = RNG.standard_normal(400).astype(np.float32)
    found = exact + np.float32(0.3) * RNG.standard_normal(400).astype(np.float32)
    expected = twin([found], [exact])
    places = np.full(50, mask, np.float32)
    assert change({"y": np.r_[found, places]}, {"y": np.r_[exact, places]}) == pytest.approx(expected)


def test_what_cannot_be_compared_is_infinite():
    exact = {"y": np.ones(4, np.float32)}
    for found in ({"y": np.ones(3, np.float32)}, {}, {"y": np.array([1, 1, 1, math.nan], np.float32)}):
        assert change(found, exact) == math.inf
        assert change_of_each(found, exact) == {"y": math.inf}


def test_of_integers_the_part_that_differs_counts():
    exact = {"y": np.ones(4, np.float32), "tokens": np.array([3, 4, 5, 6])}
    found = exact | {"tokens": np.array([3, 0, 5, 6])}
    assert change_of_each(found, exact) == {"y": 0, "tokens": 0.25}
    assert change(found, exact) == 0


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (4, 1), (10, 2), (64, 13), (256, 32), (4000, 32)])
def test_a_fifth_of_the_inputs_is_held_back(count, held):
    numbers = held_back(count)
    assert len(numbers) == held
    assert len(set(numbers.tolist())) == held
    assert all(0 <= number < count for number in numbers)


def rows(network):
    return [tuple(row) for batch in network.batches for row in batch.inputs.tolist()]


@pytest.mark.parametrize("sizes", [[20], [7, 13], [1] * 20, [1] * 40, [5] * 40])
def test_each_input_calibrates_or_measures(sizes):
    x = torch.randn(sum(sizes), 32)
    network = TorchNetwork(trained_like()[0], list(x.split(sizes)))
    seen, held = network.split()
    assert sorted(rows(seen) + rows(held)) == sorted(map(tuple, x.tolist()))
    assert seen.count + held.count == network.count
    assert len(rows(held)) >= len(x) / 6


class Fixed(nn.Module):
    """Takes eight inputs at once."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 8)

    def forward(self, x):
        return self.linear(x.view(8, 32))


def test_a_batch_whose_size_is_fixed_stays_whole():
    effect = dc.calibrate(Fixed(), BY_BITS, list(torch.randn(3, 8, 32)))
    assert (effect.outputs.inputs, effect.outputs.held_back) == (1, True)
    effect = dc.calibrate(Fixed(), BY_BITS, [torch.randn(8, 32)])
    assert (effect.outputs.inputs, effect.outputs.held_back) == (1, False)
    # an input without an axis of rows
    assert dc.calibrate(trained_like()[0], BY_BITS, list(torch.randn(3, 32))).outputs.inputs == 1


@pytest.mark.parametrize("recipe", [BY_BITS, PRUNED, MASKED])
def test_the_change_is_true_of_the_file(recipe, tmp_path):
    model, batches, _ = trained_like()
    before, x = copy.deepcopy(model), torch.cat(batches)
    effect = dc.calibrate(model, recipe, batches)
    dc.save(model, tmp_path / "m.dcz")
    back = dc.load(tmp_path / "m.dcz", trained_like()[0])
    with torch.no_grad():
        exact, found = (each(x[held_back(len(x))]).numpy() for each in (before, back))
    assert effect.change_of_outputs == pytest.approx(twin([found], [exact]), rel=1e-4)
    weights = [twin([back[at].weight.detach().numpy()], [before[at].weight.detach().numpy()]) for at in (0, 2, 4)]
    assert effect.change_of_weights == pytest.approx(math.sqrt(sum(each**2 for each in weights) / 3), rel=1e-4)
    report = dc.Report.of(tmp_path / "m.dcz")
    assert report.outputs.change == pytest.approx(effect.change_of_outputs, rel=1e-4)
    assert report.to_dict()["measuring_inputs"] == 32


def test_the_inputs_that_measure_do_not_calibrate():
    model, batches, _ = trained_like()
    x = torch.cat(batches)
    changed = x.clone()
    changed[held_back(len(x))] *= 3
    other = copy.deepcopy(model)
    effects = [dc.calibrate(each, BY_BITS, [inputs]) for each, inputs in ((model, x), (other, changed))]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    assert effects[0].change_of_outputs != effects[1].change_of_outputs


@pytest.mark.parametrize("act", ["plan", "calibrate"])
def test_the_metadata_of_the_file_have_the_change_until_the_model_changes(act, tmp_path):
    model, batches, _ = trained_like()
    if act == "plan":
        plan = dc.plan(model, batches, target_size=4000)
        plan.apply(model)
        effect = plan.effect
    else:
        effect = dc.calibrate(model, BY_BITS, batches)
    stages = [lambda model: None, dc.finalize, lambda model: model[0].bias.data.add_(1)]
    for stage, noted in zip(stages, (True, True, False), strict=True):
        stage(model)
        dc.save(model, tmp_path / "m.dcz")
        with dc.DczFile(tmp_path / "m.dcz") as file:
            found = file.metadata.get(KEY)
        assert (found is not None) == noted
        assert found is None or json.loads(found)["change"] == pytest.approx(effect.change_of_outputs, rel=1e-4)


class WithState(nn.Linear):
    """Has a state that no file can hold."""

    def get_extra_state(self):
        return {"calls": 3}

    def set_extra_state(self, state):
        pass


def test_a_model_that_cannot_be_saved_can_be_calibrated():
    effect = dc.calibrate(WithState(32, 8), BY_BITS, trained_like()[1])
    assert 0 < effect.change_of_outputs < 1


class Outputs(nn.Module):
    """Outputs in a dict, one by chance, and tokens; one output is the weight itself."""

    def __init__(self):
        super().__init__()
        self.net = trained_like()[0]

    def forward(self, x):
        y = self.net(x)
        masked = y.masked_fill(torch.arange(8) > 5, -math.inf)
        chance = y + 0.1 * torch.randn_like(y)
        return {"y": y, "more": (masked, chance), "small": 1e-4 * y, "tokens": y.argmax(1), "w": self.net[0].weight}


def test_every_output_is_measured_by_its_name():
    _, batches, _ = trained_like()
    state = torch.random.get_rng_state()
    effect = dc.calibrate(Outputs(), BY_BITS, batches)
    assert torch.equal(torch.random.get_rng_state(), state)
    found = effect.outputs.by_output
    assert list(found) == ["y", "more.0", "more.1", "small", "tokens", "w"]
    assert found["small"] == pytest.approx(found["y"], rel=1e-3)
    assert found["more.0"] == pytest.approx(found["y"], rel=0.4)
    assert 0 < found["more.1"] < 1.01 * found["y"]
    assert 0 <= found["tokens"] < 0.2
    assert found["w"] > 0.05


def test_a_plan_without_inputs_says_that_weights_were_measured():
    model, batches, _ = trained_like()
    plan = dc.plan(model, target_ratio=8)
    assert plan.change_of_outputs is None
    assert plan.change is None
    assert plan.predicted is None
    assert "change of the outputs is unknown" in str(plan)
    assert "change of outputs" not in str(plan)
    assert plan.to_dict()[KEY] is None
    assert all(line["change_of_outputs"] is None for line in plan.to_dict()["tensors"])
    before = {name: each.detach().clone() for name, each in model.state_dict().items()}
    plan.apply(model)
    changes = [twin([model[at].weight.detach().numpy()], [before[f"{at}.weight"].numpy()]) for at in (0, 2, 4)]
    assert plan.change_of_weights == pytest.approx(math.sqrt(sum(each**2 for each in changes) / 3), rel=1e-4)
    measured = dc.plan(trained_like()[0], batches, target_ratio=8)
    assert "change of weights" not in str(measured)
    assert measured.to_dict()[KEY] == measured.change_of_outputs == measured.change > 0


@pytest.mark.parametrize("batched", [True, False])
def test_a_plan_that_leaves_few_weights_warns(batched):
    model, batches, _ = trained_like()
    inputs = batches if batched else None
    assert dc.plan(model, inputs, target_ratio=4).warnings == []
    plan = dc.plan(model, inputs, target_ratio=25)
    assert any("2.weight keeps" in warning for warning in plan.warnings)
    assert any(warning.startswith("the outputs" if batched else "weights changed") for warning in plan.warnings)
