"""Checkpoints of any stage, through safetensors: a resumed run continues as if it had never stopped."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from models import MODELS, assert_same, bits, dense, example, make, snapshot, train_step
from safetensors.torch import load_file, save_file, save_model
from torch import nn
from torch.nn.utils import parametrizations

import deepcompression as dc
from deepcompression import Gradual, Prune, Recipe, Rounds, Rule, Share
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import parametrization

RULE = Rule(tensor="*", prune=Prune(density=0.3), share=Share(bits=2))
RECIPES = {
    "one-shot": Recipe(rules=[RULE]),
    "rounds": Recipe(rules=[RULE], schedule=Rounds(rounds=4)),
    "gradual": Recipe(rules=[RULE], schedule=Gradual(begin=1, end=7, every=2)),
    "random": Recipe(rules=[Rule(tensor="*", prune=Prune(criterion="random", density=0.2))], schedule=Rounds(rounds=4)),
}
MATRICES = Recipe(rules=[Rule(where=lambda target: len(target.shape) != 1, share=Share(bits=2))])


def share_after_pruning(model):
    dc.prune(model, RECIPES["one-shot"])
    dc.share(model, RECIPES["one-shot"])


def share_some_after_pruning(model):
    dc.prune(model, RECIPES["one-shot"])
    dc.share(model, MATRICES)


STAGES = {
    "dense": lambda model: None,
    "masked": lambda model: dc.prune(model, RECIPES["one-shot"]),
    "shared": lambda model: dc.share(model, RECIPES["one-shot"]),
    "pruned and shared": share_after_pruning,
    "mixed": share_some_after_pruning,
}


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
    share_after_pruning(model)
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
    share_after_pruning(model)
    resumed = make("own", seed=1)
    dc.resume(resumed, model.state_dict())
    trained = {name: parameter.requires_grad for name, parameter in resumed.named_parameters()}
    assert trained == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert sorted(trained.values()) == [False, True, True]


# a state that does not fit


def refuse(model, state, message, recipe=None):
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        dc.resume(model, state, recipe)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("stage", STAGES)
def test_the_state_of_another_model_is_refused(stage):
    model = make("mlp")
    STAGES[stage](model)
    refuse(
        make("conv-net"), model.state_dict(), r"the checkpoint does not fit the model: conv1\.weight is missing; .*more"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_the_state_of_other_shapes_is_refused(stage):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    STAGES[stage](model)
    refuse(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), model.state_dict(), r"0\.weight: ")


@pytest.mark.parametrize("stage", STAGES)
def test_the_state_of_another_dtype_is_refused(stage):
    model = make("mlp")
    STAGES[stage](model)
    refuse(make("f16"), model.state_dict(), r"0\.weight: .*torch\.float32.*torch\.float16")


@pytest.mark.parametrize("present", [dc.prune, dc.share])
@pytest.mark.parametrize("stage", STAGES)
def test_a_model_that_is_in_a_stage_already_is_refused(stage, present):
    model, other = make("mlp"), make("mlp")
    STAGES[stage](model)
    present(other, RECIPES["one-shot"])
    refuse(other, model.state_dict(), r"0\.weight is pruned or shared already: resume on a newly built model")


def test_the_parts_of_a_weight_that_others_parametrize_are_resumed_beside_masks():
    def made():
        model = make("mlp")
        parametrizations.weight_norm(model[2])
        return model

    model, other = made(), made()
    dc.prune(model, dc.Recipe(rules=[dc.Rule(module="0", prune=dc.Prune(density=0.5))]))
    with torch.no_grad():
        model[2].parametrizations.weight.original0.add_(1)
    dc.resume(other, model.state_dict())
    assert_same(other.state_dict(), model.state_dict())


def test_a_plain_state_of_a_weight_that_others_parametrize_is_refused():
    other = make("mlp")
    parametrizations.weight_norm(other[2])
    refuse(other, make("mlp").state_dict(), r"2\.weight is not in the model")


def test_a_recipe_that_does_not_fit_is_refused_before_anything_is_loaded():
    model = make("mlp")
    STAGES["masked"](model)
    refuse(make("mlp", seed=1), model.state_dict(), r"matches nothing", Recipe(rules=[Rule(module="fc")]))


PARTS = {"masked": ("original", "0.mask", "0.step", "0.recipe"), "shared": ("original", "0.positions", "0.codes")}
KEY = "4.parametrizations.weight."


@pytest.mark.parametrize(("stage", "part"), [(stage, part) for stage, parts in PARTS.items() for part in parts])
def test_a_part_that_is_missing_is_named(stage, part):
    model = make("mlp")
    STAGES[stage](model)
    state = model.state_dict()
    del state[KEY + part]
    refuse(make("mlp", seed=1), state, re.escape(f"{KEY}{part} is missing"))


@pytest.mark.parametrize("key", ["5.weight", "4.weight", "4.parametrizations.weight.0.extra"])
@pytest.mark.parametrize("stage", PARTS)
def test_a_part_too_many_is_named(stage, key):
    model = make("mlp")
    STAGES[stage](model)
    refuse(
        make("mlp", seed=1), {**model.state_dict(), key: torch.zeros(4, 16)}, re.escape(f"{key} is not in the model")
    )


@pytest.mark.parametrize(
    ("stage", "part", "change", "message"),
    [
        ("masked", "original", lambda t: t[:2], r"original is \[2, 16\] of torch.float32, expected \[4, 16\]"),
        ("masked", "0.mask", lambda t: t[:, :3], r"0.mask is \[4, 3\] of torch.bool, expected \[4, 16\]"),
        ("masked", "0.mask", lambda t: t.float(), r"0.mask is \[4, 16\] of torch.float32, expected .* torch.bool"),
        ("masked", "0.step", lambda t: t.reshape(1), r"0.step is \[1\] of torch.int64, expected \[\]"),
        ("masked", "0.step", lambda t: t.float(), r"0.step is \[\] of torch.float32, expected \[\] of torch.int64"),
        ("shared", "original", lambda t: t[:2], r"code 3 is outside of a codebook of 2 centroids"),
        (
            "shared",
            "original",
            lambda t: t.half(),
            r"its centroids are \[4\] of torch.float16, its weights in the model",
        ),
        (
            "shared",
            "original",
            lambda t: t.reshape(2, 2),
            r"a codebook has at most 256 centroids; found shape \(2, 2\)",
        ),
        ("shared", "0.positions", lambda t: t + 1, r"positions must ascend strictly within 0\.\.63"),
        ("shared", "0.positions", lambda t: t.flip(0), r"positions must ascend strictly"),
        ("shared", "0.positions", lambda t: t.int(), r"positions are int64; found int32"),
        ("shared", "0.codes", lambda t: t[:-1], r".* positions do not go with .* codes"),
        ("shared", "0.codes", lambda t: t.long(), r"codes are uint8; found int64"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(stage, part, change, message):
    """Only the last layer is wrong."""
    model = make("mlp")
    STAGES[stage](model)
    state = model.state_dict()
    state[KEY + part] = change(state[KEY + part])
    refuse(make("mlp", seed=1), state, rf"4\.weight: {message}")


@pytest.mark.parametrize("stage", STAGES)
def test_values_that_differ_although_tied_are_refused(stage):
    model = make("tied")
    STAGES[stage](model)
    state = snapshot(model)
    key = next(name for name in state if name.startswith("output.") and name.endswith(("weight.original", "weight")))
    state[key] += 1
    refuse(
        make("tied", seed=1), state, r"embedding\.weight and output\.weight are tied in the model, but differ in the ch"
    )


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
