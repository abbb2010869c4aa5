"""The common part of all callbacks, without a trainer: steps, density, refused checkpoints."""

import copy
import re

import pytest
import torch
from torch import nn

import deepcompression as dc
from deepcompression.integrations.stage import Stage, density, refuse_other_stages


def recipe(schedule=None, **rule):
    rule = {"type": "Linear", "prune": {"density": 0.25}, "share": {"bits": 2}} | rule
    return dc.Recipe.model_validate({"version": 1, "schedule": schedule or {"kind": "one-shot"}, "rules": [rule]})


GRADUAL = recipe({"kind": "gradual", "end": 4, "every": 2})


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


def in_stage(stage, recipe=GRADUAL):
    model = net()
    if stage != "plain":
        pruner = dc.prune(model, recipe)
    if stage == "shared":
        while not pruner.done:
            pruner.step()
        dc.share(model, recipe)
    return model


STAGES = ["plain", "pruned", "shared"]


@pytest.mark.parametrize("found", STAGES)
@pytest.mark.parametrize("present", STAGES)
@pytest.mark.parametrize("strict", [True, False])
def test_a_checkpoint_of_another_stage_changes_nothing(found, present, strict):
    model, state = in_stage(present), in_stage(found).state_dict()
    with torch.no_grad():
        state[next(iter(state))].add_(1)
    refuse_other_stages(model)
    before = copy.deepcopy(model.state_dict())
    if found == present:
        model.load_state_dict(state, strict=strict)
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        return
    message = f"0.weight is {found} in the checkpoint, {present} in the model; 2.weight is"
    with pytest.raises(ValueError, match=f"another stage or recipe: {re.escape(message)}"):
        model.load_state_dict(state, strict=strict)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_checkpoint_of_a_recipe_for_fewer_tensors_is_refused():
    model = in_stage("pruned")
    refuse_other_stages(model)
    other = in_stage("pruned", recipe(type=None, module="0"))
    with pytest.raises(ValueError, match=r"recipe: 2\.weight is plain in the checkpoint, pruned in the model\. Prune"):
        model.load_state_dict(other.state_dict(), strict=False)


def test_what_wraps_a_model_and_copies_of_it_are_guarded_too():
    model = in_stage("pruned")
    refuse_other_stages(model)
    for guarded in (nn.ModuleDict({"module": model}), nn.ModuleDict({"module": copy.deepcopy(model)})):
        plain = {f"module.{name}": value for name, value in net().state_dict().items()}
        with pytest.raises(ValueError, match=r"0\.weight is plain in the checkpoint, pruned in the model"):
            guarded.load_state_dict(plain, strict=False)


def test_models_with_a_compiled_part_are_guarded_too():
    model = in_stage("pruned")
    model[0] = torch.compile(model[0], backend="eager")
    refuse_other_stages(model)
    model.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match=r"recipe: 0\.weight is plain in the checkpoint, pruned in the model"):
        model.load_state_dict(net().state_dict(), strict=False)


def test_parts_of_a_checkpoint_are_loaded():
    model, other = in_stage("pruned"), in_stage("pruned")
    refuse_other_stages(model)
    state = {name: value + 1 for name, value in other.state_dict().items() if name.startswith("2.bias")}
    model.load_state_dict(state, strict=False)
    assert torch.equal(model[2].bias, other[2].bias + 1)


def test_parametrizations_of_others_are_left_to_torch():
    model, other = in_stage("pruned"), in_stage("pruned")
    for each in (model, other):
        each.append(nn.utils.parametrizations.weight_norm(nn.Linear(8, 2)))
    refuse_other_stages(model)
    model.load_state_dict(other.state_dict())


def test_density_counts_tied_weights_once_and_needs_no_trainer():
    assert density(net()) == 1
    model = nn.ModuleDict({"embedding": nn.Embedding(16, 8), "head": nn.Linear(8, 16, bias=False)})
    model.head.weight = model.embedding.weight
    model["other"] = nn.Linear(8, 16)
    dc.prune(model, recipe(module="head", type=None))
    assert density(model) == 0.25
    dc.share(model, recipe(module="head", type=None))
    assert density(model) == 0.25


def test_a_step_moves_the_pruner_and_returns_whether_masks_changed():
    model = net()
    stage = Stage(dc.prune(model, GRADUAL))
    assert [stage.step() for _ in range(5)] == [False, True, False, True, False]
    assert stage.pruner.steps == 5
    assert stage.finished
    assert density(model) == 0.25


def test_rounds_are_left_to_the_caller():
    model = net()
    stage = Stage(dc.prune(model, recipe({"kind": "rounds", "rounds": 3})))
    assert stage.finished
    stage.begin(1)
    assert not any(stage.step() for _ in range(5))
    assert stage.pruner.steps == 0


def test_a_training_shorter_than_the_schedule_is_warned_of():
    stage = Stage(dc.prune(net(), GRADUAL))
    stage.begin(4)
    with pytest.warns(UserWarning, match="the training has 3 steps left, the schedule 4"):
        stage.begin(3)
    stage.step()
    stage.begin(3)


def test_a_training_that_pruned_nothing_is_warned_of(tmp_path):
    """The pruner was not passed to the callback, and nobody else called its step."""
    model = in_stage("pruned")
    with pytest.warns(UserWarning, match="the masks of the model keep every weight: nothing was pruned; pass the"):
        Stage(path=tmp_path / "m.dcz").end(model)
    assert (tmp_path / "m.dcz").exists()


def test_the_file_follows_recipe_and_profile(tmp_path):
    model = in_stage("shared")
    huffman = recipe(encode={"coder": "huffman"})
    Stage(path=tmp_path / "default.dcz").end(model)
    Stage(path=tmp_path / "huffman.dcz", recipe=huffman).end(model)
    Stage(path=tmp_path / "small.dcz", profile="small").end(model)
    Stage().end(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["default.dcz", "huffman.dcz", "small.dcz"]
    with dc.DczFile(tmp_path / "huffman.dcz") as file:
        assert file.entries["0.weight"].coder == "huffman"
    with dc.DczFile(tmp_path / "default.dcz") as file:
        assert file.entries["0.weight"].coder != "huffman"
    assert (tmp_path / "small.dcz").read_bytes() != (tmp_path / "default.dcz").read_bytes()
