"""States that `resume` refuses, before anything is loaded."""

from __future__ import annotations

import re

import pytest
import torch
from models import assert_same, make, snapshot
from stages_to_resume import RECIPES, STAGES
from torch import nn
from torch.nn.utils import parametrizations

import deepcompression as dc
from deepcompression import Recipe, Rule


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
