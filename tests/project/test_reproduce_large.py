"""The paper's large networks: architectures, the order of phases, pretrained weights, checkpoints that are refused."""

import dataclasses
import hashlib
import json
import re

import pytest
import torch
from torch import nn

import deepcompression as dc
from reproduce.experiment import HERE, RESULTS
from reproduce.large.checkpoint import Checkpoint, Progress
from reproduce.large.networks import LARGE, VGG16, AlexNet, ResponseNorm
from reproduce.large.phases import Rates, check_recipe, rules_of, schedule, without_compression
from reproduce.large.weights import load_weights, names_of_torchvision

PARAMETERS = {"alexnet": 60_965_224, "vgg-16": 138_357_544}
# the column W% of the paper's tables 4 and 5
DENSITIES = {
    "alexnet": (84, 38, 35, 37, 37, 9, 9, 25),
    "vgg-16": (58, 22, 34, 36, 53, 24, 42, 32, 27, 34, 35, 29, 36, 4, 4, 23),
}
RATES = Rates(90, 0.01, 20, 0.001, 3, 3e-5)
SMALL = {"classes": 5, "width": 0.02}


def recipe_of(name):
    return dc.Recipe.load(HERE / "recipes" / f"{name}.yaml")


def small(kind, seed=0):
    torch.manual_seed(seed)
    return kind(**SMALL, size=67)


@pytest.mark.parametrize("name", LARGE)
def test_architectures_have_the_papers_parameters(name):
    with torch.device("meta"):
        model = LARGE[name]()
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    x = torch.zeros(2, 3, model.SIZE, model.SIZE, device="meta")
    assert model(x).shape == (2, 1000)
    assert model(model.features(x)).shape == (2, 1000)


def test_alexnet_is_caffes():
    with torch.device("meta"):
        model = AlexNet()
    groups = {name: module.groups for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert groups == {"conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2}
    assert model.fc6.in_features == 9216


def test_response_norm_is_torchs_and_its_gradient_too():
    x = 30 * torch.randn(2, 16, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    weight = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours, torchs = ResponseNorm(16).double(), nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
    assert torch.allclose(ours(x), torchs(x), rtol=1e-12)
    (found,) = torch.autograd.grad((weight * ours(x)).sum(), x)
    (expected,) = torch.autograd.grad((weight * torchs(x)).sum(), x)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found, weight, rtol=1e-2)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="33 x 33 are too small"):
        AlexNet(**SMALL, size=33)


@pytest.mark.parametrize("name", LARGE)
def test_recipes_have_the_papers_densities_and_bits(name):
    recipe = recipe_of(name)
    with torch.device("meta"):
        matches = recipe.matches(LARGE[name]())
    rules = [match.rule for match in matches if match.rule is not None]
    assert tuple(round(100 * rule.prune.density) for rule in rules) == DENSITIES[name]
    names = [match.target.name for match in matches if match.rule is not None]
    assert [rule.share.bits for rule in rules] == [8 if name.startswith("conv") else 5 for name in names]
    assert recipe.schedule.rounds == {"alexnet": 1, "vgg-16": 5}[name]


def test_convolutions_and_connected_layers_take_turns():
    phases = schedule(recipe_of("vgg-16"), small(VGG16), RATES)
    assert [(phase.prunes, phase.frozen, phase.turn) for phase in phases[1:-1]] == [
        (kind, (other,), turn) for turn in range(5) for kind, other in (("conv", "fc"), ("fc", "conv"))
    ]
    assert (phases[0].name, phases[0].frozen, phases[0].dropout) == ("train", (), (0.5, 0.5))
    assert phases[-1].shares
    assert phases[-1].dropout == pytest.approx((0.5 * 0.04**0.5,) * 2)
    # while convolutions are retrained first, nothing of fc6 is pruned
    assert phases[1].dropout == (0.5, 0.5)
    assert phases[2].dropout == pytest.approx((0.5 * 0.04**0.1,) * 2)


def test_frozen_convolutions_and_given_weights_leave_phases_out():
    model = small(VGG16)
    frozen = schedule(recipe_of("vgg-16"), model, RATES, frozen=("conv",))
    assert {phase.prunes for phase in frozen} == {"", "fc"}
    assert all(phase.frozen == ("conv",) for phase in frozen)
    assert schedule(recipe_of("vgg-16"), model, dataclasses.replace(RATES, epochs=0))[0].name == "prune conv 1/5"


def test_the_dense_network_may_be_trained_for_as_long():
    phases = schedule(recipe_of("alexnet"), small(AlexNet), RATES)
    longer = without_compression(phases, RATES)
    assert sum(phase.epochs for phase in longer) == sum(phase.epochs for phase in phases[1:])
    assert [phase.frozen for phase in longer] == [phase.frozen for phase in phases[1:]]
    assert not any(phase.prunes or phase.shares for phase in longer)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (dc.Rule(type="Linear", prune=dc.Prune(density=0.1), share=dc.Share(bits=5)), "must name modules"),
        (dc.Rule(module="fc*", prune=dc.Prune(density=0.1)), "must name modules"),
        (dc.Rule(module="fc*", prune=dc.Prune(criterion="threshold", quality=1), share=dc.Share(bits=5)), "density"),
        (dc.Rule(module="fc9", prune=dc.Prune(density=0.1), share=dc.Share(bits=5)), "matches nothing"),
    ],
)
def test_recipes_that_phases_cannot_follow_are_refused(rule, message):
    with pytest.raises(ValueError, match=message):
        check_recipe(dc.Recipe(name="mine", rules=(rule,)), small(AlexNet))


def test_a_gradual_schedule_is_refused():
    recipe = recipe_of("alexnet").model_copy(update={"schedule": dc.Gradual(end=10)})
    with pytest.raises(ValueError, match="rounds or one-shot"):
        check_recipe(recipe, small(AlexNet))


def test_rules_of_a_kind_are_those_of_its_modules():
    recipe = recipe_of("alexnet")
    kinds = [rules_of(recipe, kind).rules for kind in ("conv", "fc")]
    assert kinds[0] + kinds[1] == recipe.rules
    assert [rule.module for rule in kinds[1]] == ["fc[67]", "fc8"]


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", LARGE.values())
def test_weights_under_torchvisions_names_are_taken(kind, prefix, tmp_path):
    model = small(kind, 1)
    theirs = {ours: name for name, ours in names_of_torchvision(model).items()}
    state = {
        f"{prefix}{theirs[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor
        for name, tensor in model.state_dict().items()
    }
    assert f"{prefix}classifier.6.weight" in state
    torch.save(state, tmp_path / "theirs.pth")
    other = small(kind, 2)
    load_weights(other, tmp_path / "theirs.pth")
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_torchvisions_vgg_16_is_numbered_as_torchvision_does():
    with torch.device("meta"):
        names = names_of_torchvision(VGG16())
    # configuration D: a convolution and a ReLU each, a pooling after each block
    at, numbers = 0, []
    for _, convolutions in VGG16.BLOCKS:
        numbers += [at + 2 * i for i in range(convolutions)]
        at += 2 * convolutions + 1
    assert [name for name in names if name.startswith("features")] == [f"features.{number}" for number in numbers]
    assert names["features.28"] == "conv5_3"
    assert names["classifier.3"] == "fc7"


def refused(model, tensors, path):
    torch.save(tensors, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        load_weights(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    return str(error.value)


def test_weights_of_another_architecture_are_refused(tmp_path):
    path, model = tmp_path / "other.pth", small(AlexNet)
    message = refused(model, {"features.0.weight": torch.zeros(64, 3, 11, 11)}, path)
    assert "torchvision's AlexNet" in message
    assert "groups" in message
    message = refused(small(VGG16), {"features.1.running_mean": torch.zeros(64)}, path)
    assert "batch normalisation" in message
    state = dict(model.state_dict())
    state["fc8.weight"], state["fc8.bias"] = torch.zeros(7, model.fc8.in_features), torch.zeros(7)
    message = refused(model, state, path)
    assert "expected [5" in message
    assert "--classes" in message
    del state["conv3.bias"]
    assert "conv3.bias is missing" in refused(model, state | {"conv9.bias": torch.zeros(1)}, path)


def checkpoint(**changes):
    phases = [{"name": "train", "rate": 0.1}, {"name": "prune", "rate": 0.01}]
    made = Checkpoint(Progress(0, 3), {"seed": 0, "batch": 4}, phases, {"w": torch.ones(2)}, {"state": {}}, None)
    return dataclasses.replace(made, **changes)


def test_checkpoints_come_back_as_they_were(tmp_path):
    path = tmp_path / "job.checkpoint"
    checkpoint().write(path)
    found = Checkpoint.read(path)
    assert found.progress == Progress(0, 3)
    assert torch.equal(found.model["w"], torch.ones(2))
    found.check(path, {"seed": 0, "batch": 4}, found.phases)
    assert [file.name for file in tmp_path.iterdir()] == ["job.checkpoint"]


def test_an_earlier_checkpoint_stays_if_a_later_one_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "job.checkpoint"
    checkpoint().write(path)
    before = path.read_bytes()

    def full(state, file):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint(progress=Progress(1, 0)).write(path)
    assert path.read_bytes() == before


def test_checkpoints_of_other_settings_are_refused_by_name(tmp_path):
    path, one = tmp_path / "job.checkpoint", checkpoint()
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        one.check(path, {"seed": 1, "batch": 4}, one.phases)
    with pytest.raises(ValueError, match=r"train: rate was 0\.1, is 0\.2"):
        one.check(path, one.settings, [{"name": "train", "rate": 0.2}, one.phases[1]])
    # a phase that has not begun may change
    one.check(path, one.settings, [one.phases[0], {"name": "prune", "rate": 0.5}])
    begun = checkpoint(progress=Progress(1, 1))
    with pytest.raises(ValueError, match=r"prune: rate was 0\.01, is 0\.5"):
        begun.check(path, begun.settings, [one.phases[0], {"name": "prune", "rate": 0.5}])
    with pytest.raises(ValueError, match="2 phases, there are 1 now"):
        begun.check(path, begun.settings, one.phases[:1])


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: b"", lambda data: b"no checkpoint"])
def test_damaged_checkpoints_are_refused(damage, tmp_path):
    path = tmp_path / "job.checkpoint"
    checkpoint().write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"job\.checkpoint is no checkpoint of this job, or damaged"):
        Checkpoint.read(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(ValueError, match="no checkpoint of this job"):
        Checkpoint.read(path)


def committed():
    return [path for name in LARGE for path in RESULTS.glob(f"{name}*.json")]


@pytest.mark.parametrize("path", committed(), ids=lambda path: path.stem)
def test_committed_result_is_what_its_file_holds_and_as_small_as_the_papers(path):
    result, file = json.loads(path.read_text()), path.with_suffix(".dcz")
    assert result["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert result["report"] == json.loads(json.dumps(dc.Report.of(file).to_dict()))
    assert result["report"]["dense_bytes"] == 4 * PARAMETERS[result["network"]]
    assert result["report"]["ratio"] >= result["paper"]["ratio"]
    assert result["test_error_percent"] <= result["dense_test_error_percent"]
    assert not result["environment"]["changed"]
