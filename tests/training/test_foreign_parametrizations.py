"""Weights that parametrizations of others compute: what no rule selects passes through every stage and every file."""

from __future__ import annotations

import pytest
import torch
from models import assert_same, snapshot
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import deepcompression as dc
from deepcompression.recipe.targets import computed_by_others, targets_of

LAST = dc.Recipe(rules=[dc.Rule(module="last", prune=dc.Prune(density=0.3), share=dc.Share(bits=4))])
ALL = dc.Recipe(rules=[dc.Rule(module="*", prune=dc.Prune(density=0.3), share=dc.Share(bits=4))])


class Scaled(nn.Module):
    """A user's own parametrization, with a parameter, a buffer, and a parametrized layer inside of it."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.full((8, 1), 2.0))
        self.register_buffer("shift", torch.tensor(0.5))
        self.inner = weight_norm(nn.Linear(8, 8))

    def forward(self, weight):
        return self.inner(weight) * self.gain + self.shift


def by_user(layer):
    parametrize.register_parametrization(layer, "weight", Scaled())
    return layer


def on_a_bias(layer):
    parametrize.register_parametrization(layer, "bias", nn.Tanh())
    return layer


def several(layer):
    return by_user(weight_norm(layer))


FOREIGN = {
    "weight_norm": weight_norm,
    "spectral_norm": spectral_norm,
    "orthogonal": orthogonal,
    "by a user": by_user,
    "of a bias": on_a_bias,
    "several": several,
}


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.first = FOREIGN[kind](nn.Linear(8, 8))
        self.again = self.first
        self.last = nn.Linear(8, 600)

    def forward(self, x):
        return self.last(self.again(self.first(x)))


def made(kind, seed=0):
    torch.manual_seed(seed)
    return Net(kind).eval()


def example():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stage", ["plain", "pruned", "shared"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_it_is_saved_loaded_and_run(tmp_path, kind, stage):
    model, x = made(kind), example()
    if stage != "plain":
        dc.prune(model, LAST)
    if stage == "shared":
        dc.share(model, LAST)
    dc.save(model, tmp_path / "m.dcz")
    other = dc.load(tmp_path / "m.dcz", into=made(kind, seed=1))
    assert torch.equal(other(x), model(x))
    torch.testing.assert_close(dc.run(model)(x), model(x))
    torch.testing.assert_close(dc.run(made(kind, seed=1), tmp_path / "m.dcz")(x), model(x))
    assert_same(other.state_dict(), dc.finalize(model).state_dict())


@pytest.mark.parametrize("kind", FOREIGN)
def test_it_is_planned_and_calibrated_around(kind):
    model, before = made(kind), made(kind).state_dict()
    plan = dc.plan(model, [example()], target_ratio=2)
    assert set(plan.tensors) <= {"last.weight", "last.bias"} | {"first.bias"}
    dc.calibrate(model, LAST, [example()])
    after = model.state_dict()
    assert_same(
        {n: after[n] for n in before if "parametrizations" in n}, {n: before[n] for n in before if "param" in n}
    )


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("change", [dc.prune, dc.share, lambda model, recipe: dc.calibrate(model, recipe, [example()])])
def test_a_rule_that_selects_it_is_refused_with_its_name_and_the_remedy(change, kind):
    model = made(kind)
    before = snapshot(model)
    rule = dc.Rule(tensor="*", prune=dc.Prune(density=0.3), share=dc.Share(bits=4))
    with pytest.raises(ValueError, match=r"first\.(weight|bias) is parametrized by .*: make it plain first .*no rule"):
        change(model, dc.Recipe(rules=[rule]))
    assert_same(snapshot(model), before)


def test_a_rule_that_says_nothing_keeps_it():
    model = made("weight_norm")
    dc.prune(model, dc.Recipe(rules=[dc.Rule(module="first"), *ALL.rules]))
    assert float((model.last.weight == 0).float().mean()) == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_rule_selects_its_parts(kind):
    model = made(kind)
    names = {name for name in model.state_dict() if "parametrizations" in name}
    targets = [target for target in targets_of(model) if target.part_of]
    assert {name for target in targets for name in target.names} == names
    assert not any(not target.kept for target in targets)
    (computed,) = computed_by_others(model)
    assert computed.shape == tuple(getattr(*computed.places[0]).shape)


def test_looking_for_targets_takes_no_step_of_spectral_norm():
    model = made("spectral_norm").train()
    before = snapshot(model)
    LAST.describe(model)
    assert_same(snapshot(model), before)
    assert all(module.training for module in model.modules())


def test_masks_resume_beside_it():
    model, other = made("spectral_norm"), made("spectral_norm", seed=1)
    dc.prune(model, LAST)
    dc.resume(other, model.state_dict(), LAST)
    assert_same(other.state_dict(), model.state_dict())


# modules whose weights are not there


def test_a_lazy_module_is_refused_with_the_remedy():
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match=r"^0\.weight has no shape yet.*run the model on one input first$"):
        dc.prune(model, ALL)
    model(torch.randn(2, 8))
    dc.prune(model, ALL)


def test_an_offloaded_model_is_refused_with_the_remedy():
    accelerate = pytest.importorskip("accelerate")
    model = accelerate.cpu_offload(nn.Sequential(nn.Linear(8, 8)), execution_device=torch.device("cpu"))
    for work in (dc.prune, dc.share, lambda model, recipe: dc.calibrate(model, recipe, [example()])):
        with pytest.raises(ValueError, match=r"^0\.weight has no memory .*accelerate has offloaded it: load the whole"):
            work(model, ALL)


@pytest.mark.parametrize("parametrized", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_checkpoint_of_such_a_model_goes_through_the_format_and_back(tmp_path, parametrized):
    """The file that `dcz compress` makes of a state_dict fits the model."""
    from deepcompression.checkpoint import open_checkpoint
    from deepcompression.convert.to_dcz import compress_checkpoint

    model = nn.Sequential(parametrized(nn.Conv1d(4, 4, 3)))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as source:
        compress_checkpoint(source, tmp_path / "m.dcz")
    other = dc.load(tmp_path / "m.dcz", into=nn.Sequential(parametrized(nn.Conv1d(4, 4, 3))))
    assert_same(other.state_dict(), model.state_dict())
