"""Checkpoints of any stage, through safetensors: a resumed run continues as if it had never stopped."""

from __future__ import annotations

import copy

import pytest
import torch
from models import MODELS, assert_same, bits, dense, example, make, snapshot, train_step
from safetensors.torch import load_file, save_file, save_model
from stages_to_resume import RECIPES, STAGES

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import parametrization


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=0.01)


@pytest.fixture
def through_file(tmp_path):
    """A model's state_dict as it comes back from a safetensors file."""

    def through_file(model):
        path = tmp_path / "checkpoint.safetensors"
        if any(len(target.names) > 1 for target in targets_of(model)):
            save_model(model, str(path))
        else:
            save_file(model.state_dict(), path)
        return load_file(path)

    return through_file


# resuming


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_resumed_run_continues_bit_for_bit(kind, stage, through_file):
    model, x = make(kind), example(kind)
    STAGES[stage](model)
    optimizer = optimizer_of(model)
    for _ in range(2):
        train_step(model, optimizer, x)
    state, moments = through_file(model), copy.deepcopy(optimizer.state_dict())

    resumed = make(kind, seed=1)
    dc.resume(resumed, state)
    assert_same(resumed.state_dict(), model.state_dict())
    other = optimizer_of(resumed)
    other.load_state_dict(moments)
    for _ in range(3):
        train_step(model, optimizer, x)
        train_step(resumed, other, x)
    assert_same(resumed.state_dict(), model.state_dict())
    assert_same(dense(resumed), dense(model))
    assert bits(resumed(x)) == bits(model(x))


@pytest.mark.parametrize("kind", MODELS)
def test_an_optimizer_made_before_pruning_continues_as_one_made_before_resuming(kind, through_file):
    model, x = make(kind), example(kind)
    optimizer = optimizer_of(model)
    STAGES["masked"](model)
    train_step(model, optimizer, x)
    resumed = make(kind, seed=1)
    other = optimizer_of(resumed)
    dc.resume(resumed, through_file(model))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(2):
        train_step(model, optimizer, x)
        train_step(resumed, other, x)
    assert_same(resumed.state_dict(), model.state_dict())


@pytest.mark.parametrize("stop", range(5))
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("kind", ["mlp", "conv-net", "tied", "twice", "recurrent"])
def test_a_schedule_continues_where_it_stopped(kind, name, stop, through_file):
    recipe, x = RECIPES[name], example(kind)
    model = make(kind)
    pruner = dc.prune(model, recipe)
    optimizer = optimizer_of(model)

    def train(model, optimizer, pruner, steps):
        for _ in range(steps):
            train_step(model, optimizer, x)
            pruner.step()

    train(model, optimizer, pruner, stop)
    state, moments = through_file(model), copy.deepcopy(optimizer.state_dict())
    resumed = make(kind, seed=1)
    other_pruner = dc.resume(resumed, state, recipe)
    assert other_pruner.steps == stop
    assert other_pruner.done == pruner.done
    other = optimizer_of(resumed)
    other.load_state_dict(moments)
    train(model, optimizer, pruner, 5)
    train(resumed, other, other_pruner, 5)
    assert_same(resumed.state_dict(), model.state_dict())


@pytest.mark.parametrize("stage", STAGES)
def test_a_pruner_is_returned_only_for_a_model_in_stage_1(stage):
    model = make("mlp")
    STAGES[stage](model)
    pruner = dc.resume(make("mlp"), model.state_dict(), RECIPES["one-shot"])
    assert (pruner is not None) == (stage == "masked")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_resumed_model_goes_through_all_later_stages(kind, stage, tmp_path):
    model = make(kind)
    STAGES[stage](model)
    resumed = make(kind, seed=1)
    dc.resume(resumed, model.state_dict())
    dc.save(model, tmp_path / "a.dcz")
    dc.save(resumed, tmp_path / "b.dcz")
    assert (tmp_path / "a.dcz").read_bytes() == (tmp_path / "b.dcz").read_bytes()
    assert_same(dc.finalize(resumed).state_dict(), dc.finalize(model).state_dict())


def test_a_tied_state_may_have_any_one_of_its_names():
    model = make("tied")
    STAGES["pruned and shared"](model)
    for other in ("embedding.", "output.parametrizations.weight"):
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(other)}
        resumed = make("tied", seed=1)
        dc.resume(resumed, state)
        assert_same(resumed.state_dict(), model.state_dict())
        assert resumed.output.parametrizations.weight.original is resumed.embedding.parametrizations.weight.original


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_model_shares_no_memory_with_the_state(stage):
    model = make("mlp")
    STAGES[stage](model)
    state = snapshot(model)
    resumed = make("mlp", seed=1)
    dc.resume(resumed, state)
    for tensor in state.values():
        tensor.zero_()
    assert_same(resumed.state_dict(), model.state_dict())


def test_a_frozen_parameter_stays_frozen():
    model = make("own")
    STAGES["pruned and shared"](model)
    resumed = make("own", seed=1)
    dc.resume(resumed, model.state_dict())
    trained = {name: parameter.requires_grad for name, parameter in resumed.named_parameters()}
    assert trained == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert sorted(trained.values()) == [False, True, True]


@pytest.mark.parametrize(
    "prefixes", [["module."], ["_orig_mod."], ["module.", "_orig_mod."], ["_orig_mod.", "module."]]
)
def test_a_state_with_the_names_of_ddp_and_compile_is_taken(prefixes):
    model = make("mlp")
    STAGES["masked"](model)
    state = model.state_dict()
    for prefix in prefixes:
        state = {prefix + name: tensor for name, tensor in state.items()}
    resumed = make("mlp", seed=1)
    dc.resume(resumed, state)
    assert_same(resumed.state_dict(), model.state_dict())


def test_one_state_can_hold_several_stages():
    model = make("mlp")
    rules = [Rule(module="0", prune=Prune(density=0.5)), Rule(module="2", share=Share(bits=3))]
    dc.prune(model, Recipe(rules=rules))
    dc.share(model, Recipe(rules=rules))
    resumed = make("mlp", seed=1)
    dc.resume(resumed, model.state_dict())
    kinds = [type(parametrization(target)).__name__ for target in targets_of(resumed) if target.name.endswith("weight")]
    assert kinds == ["Mask", "Codebook", "NoneType"]
    assert_same(resumed.state_dict(), model.state_dict())
