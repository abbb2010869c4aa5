"""Helpers for retraining: dropout by density, frozen modules, dead neurons."""

from __future__ import annotations

import math

import pytest
import torch
from models import assert_same, dense, example, make, snapshot, train_step
from torch import nn

import deepcompression as dc
from deepcompression import Gradual, OneShot, Prune, Recipe, Rounds, Rule, Share
from deepcompression.pruning.criteria import CRITERIA

OPTIMIZERS = {
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01),
    "sgd-nesterov": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.01),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.9, weight_decay=0.01),
}
SCHEDULES = {"one-shot": OneShot(), "rounds": Rounds(rounds=3), "gradual": Gradual(begin=1, end=6, every=2)}


def recipe(density=0.5, schedule=SCHEDULES["one-shot"], criterion="magnitude", seed=0, **selector):
    amount = {CRITERIA[criterion].amount: density}
    rule = Rule(**(selector or {"module": "*"}), prune=Prune(criterion=criterion, **amount))
    return Recipe(rules=(rule,), schedule=schedule, seed=seed)


@pytest.mark.parametrize("density", [0, 0.01, 0.25, 1])
def test_dropout_is_scaled_by_the_root_of_the_density(density):
    assert dc.scaled_dropout(0.5, density) == 0.5 * math.sqrt(density)


@pytest.mark.parametrize(("rate", "density"), [(1.1, 0.5), (-0.1, 0.5), (0.5, 1.1), (0.5, -1), (math.nan, 0.5)])
def test_dropout_of_no_rate_or_density_is_refused(rate, density):
    with pytest.raises(ValueError, match="rate and density are from 0 to 1; found"):
        dc.scaled_dropout(rate, density)


@pytest.mark.parametrize("stage", ["dense", "pruned", "shared"])
def test_frozen_modules_do_not_move_while_others_train(stage):
    model, x = make("conv-net"), example("conv-net")
    rules = Recipe(rules=[Rule(module="*", prune=Prune(density=0.5), share=Share(bits=2))])
    for change in {"dense": [], "pruned": [dc.prune], "shared": [dc.prune, dc.share]}[stage]:
        change(model, rules)
    optimizer = OPTIMIZERS["sgd-momentum"](model.parameters())
    train_step(model, optimizer, x)
    before = dense(model)
    with dc.freeze(model, "conv*"):
        train_step(model, optimizer, x)
    after = dense(model)
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert not changed & {"conv1.weight", "conv1.bias", "conv2.weight"}
    assert {"fc.weight", "fc.bias", "norm.weight"} <= changed
    train_step(model, optimizer, x)
    assert not torch.equal(dense(model)["conv1.weight"], after["conv1.weight"])


def test_freeze_restores_only_trained_parameters_even_after_an_error():
    model = make("own")

    def fail():
        with dc.freeze(model, "*"):
            assert not any(parameter.requires_grad for parameter in model.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"table", "scale"}


def test_freeze_within_freeze_restores_only_its_own_part():
    model = make("mlp")
    with dc.freeze(model, "0"):
        with dc.freeze(model, "*"):
            pass
        assert [p.requires_grad for p in model.parameters()] == [False, False, True, True, True, True]
    assert all(p.requires_grad for p in model.parameters())


def test_freeze_refuses_a_pattern_without_a_module_and_freezes_nothing():
    model = make("conv-net")
    dc.prune(model, recipe(0.5))
    message = r"'cnv\*' matches no module; there are conv1, norm, conv2, fc$"
    with pytest.raises(ValueError, match=message), dc.freeze(model, "conv*", "cnv*"):
        pass
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freeze_names_the_pattern_that_was_meant():
    model = nn.ModuleDict({"blocks": nn.ModuleDict({"conv1": nn.Linear(2, 2)})})
    message = r"'conv\*' matches no module: a pattern is compared with .*: '\*\.conv\*' matches blocks.conv1; there are"
    with pytest.raises(ValueError, match=message), dc.freeze(model, "conv*"):
        pass


def test_dead_neurons_are_rows_and_columns_without_a_survivor():
    model = nn.Sequential(nn.Linear(3, 3), nn.Conv2d(2, 2, 2), nn.ConvTranspose1d(2, 3, 1), nn.Linear(2, 2))
    with torch.no_grad():
        for module in model:
            module.weight.fill_(1)
            module.bias.zero_()
        model[0].weight.copy_(torch.tensor([[0, 1, 0], [0, 0, 0], [0, 0, 2]]))
        model[1].weight[1] = 0
        model[1].weight[0, 0] = torch.tensor([[0, 0], [0, 1]])
        model[2].weight[:, 2] = 0
    before = snapshot(model)
    dead = {name: (found.outputs.tolist(), found.inputs.tolist()) for name, found in dc.dead_neurons(model).items()}
    assert dead == {"0.weight": ([1], [0]), "1.weight": ([1], []), "2.weight": ([2], [])}
    assert_same(snapshot(model), before)


def test_dead_neurons_are_found_under_masks_and_codebooks():
    model = make("mlp")
    with torch.no_grad():
        model[0].weight[3] *= 1e-6
        model[2].weight[:, 3] *= 1e-6
    rules = Recipe(rules=[Rule(module="[02]", prune=Prune(density=0.5), share=Share(bits=3))])
    for stage in (dc.prune, dc.share):
        stage(model, rules)
        dead = dc.dead_neurons(model)
        assert 3 in dead["0.weight"].outputs
        assert 3 in dead["2.weight"].inputs
