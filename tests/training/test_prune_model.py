"""Stage 1 on models: masks that hold under any optimizer, schedules, and helpers for retraining."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, dense, example, make, snapshot, train_step
from torch import nn
from torch.nn.utils import parametrizations

import deepcompression as dc
from deepcompression import Gradual, OneShot, Prune, Recipe, Rounds, Rule, Share
from deepcompression.pruning.criteria import CRITERIA, survivor_count
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import original, parametrization
from deepcompression.training.parametrizations import Mask

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


def survivors(model):
    return {name: int(torch.count_nonzero(weight)) for name, weight in dense(model).items() if weight.dim() >= 2}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", MODELS)
def test_the_masks_on_a_model_are_those_of_the_criterion(kind, criterion):
    model = make(kind)
    pruned = [target for target in targets_of(model) if target.floating and target.trained and len(target.shape) > 1]
    values = [original(target).detach().to(torch.float64).numpy() for target in pruned]
    expected = CRITERIA[criterion].masks(values, 0.4, 3)
    dc.prune(model, recipe(0.4, criterion=criterion, seed=3))
    for target, value, mask in zip(pruned, values, expected, strict=True):
        for module, local in target.places:
            np.testing.assert_array_equal(getattr(module, local).detach().to(torch.float64), np.where(mask, value, 0))


def test_weights_that_differ_only_beyond_float32_are_distinct():
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0 + 1e-12, 1e300]], dtype=torch.float64))
    dc.prune(model, recipe(2 / 3))
    assert model.weight.tolist() == [[0, 1.0 + 1e-12, 1e300]]


@pytest.mark.parametrize("kind", sorted(MODELS.keys() - {"f16"}))  # float16 overflows in some of these optimizers
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_stay_zero_under_an_optimizer_made_before(kind, name):
    model, x = make(kind), example(kind)
    optimizer = OPTIMIZERS[name](model.parameters())
    for _ in range(2):
        train_step(model, optimizer, x)
    dc.prune(model, recipe(0.3))
    pruned, before = {key: weight == 0 for key, weight in dense(model).items()}, dense(model)
    for _ in range(3):
        train_step(model, optimizer, x)
    after = dense(model)
    masks = [key for key, weight in after.items() if weight.dim() >= 2 and weight.numel()]
    assert all((after[key][pruned[key]] == 0).all() for key in masks)
    assert all((after[key] != before[key]).any() for key in masks if key != "fixed")


@pytest.mark.parametrize("kind", MODELS)
def test_density_1_prunes_nothing_and_density_0_everything(kind):
    model = make(kind)
    before = dense(model)
    dc.prune(model, recipe(1.0))
    assert_same(dense(model), before)
    dc.prune(model, recipe(0.0))
    assert set(survivors(model).values()) <= {0}
    model(example(kind)).sum().backward()


@pytest.mark.parametrize("density", [0, 0.1, 1 / 3, 0.5, 1])
def test_each_layer_keeps_an_exact_count(density):
    model = make("mlp")
    dc.prune(model, recipe(density))
    assert survivors(model) == {f"{i}.weight": survivor_count(model[i].weight.numel(), density) for i in (0, 2, 4)}


def test_one_threshold_over_all_layers_of_a_rule():
    model = make("mlp")
    with torch.no_grad():
        model[0].weight.fill_(-100)
    dc.prune(model, recipe(240 / 624, criterion="global-magnitude"))
    assert survivors(model) == {"0.weight": 240, "2.weight": 0, "4.weight": 0}


def test_two_rules_have_two_thresholds():
    rules = [Rule(module=m, prune=Prune(criterion="global-magnitude", density=0.25)) for m in ("0", "[24]")]
    model = make("mlp")
    dc.prune(model, Recipe(rules=rules))
    counts = survivors(model)
    assert counts["0.weight"] == 60
    assert counts["2.weight"] + counts["4.weight"] == 96


# schedules


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_followed_step_by_step(name, criterion):
    schedule, target = SCHEDULES[name], 0.1 if CRITERIA[criterion].amount == "density" else 1.0
    model, x = make("mlp"), example("mlp")
    optimizer = OPTIMIZERS["sgd-momentum"](model.parameters())
    total, count = sum(survivors(model).values()), survivors(model)
    pruner = dc.prune(model, recipe(target, schedule, criterion))
    for step in range(schedule.last_step + 3):
        assert pruner.steps == step
        assert pruner.done == (step >= schedule.last_step)
        now = survivors(model)
        if criterion == "threshold":
            assert all(now[key] <= count[key] for key in now)
        elif schedule.due(step):
            density = schedule.amount(1.0, target, step)
            each = {key: survivor_count(size, density) for key, size in survivors(make("mlp")).items()}
            assert sum(now.values()) == (
                survivor_count(total, density) if "global" in criterion else sum(each.values())
            )
        else:
            assert now == count
        count = now
        train_step(model, optimizer, x)
        pruner.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_pruned_weights_never_come_back(name):
    model, x = make("conv-net"), example("conv-net")
    optimizer = OPTIMIZERS["adam"](model.parameters())
    pruner = dc.prune(model, recipe(0.1, SCHEDULES[name]))
    while not pruner.done:
        zero = {key: weight == 0 for key, weight in dense(model).items() if weight.dim() >= 2}
        train_step(model, optimizer, x)
        pruner.step()
        assert all((dense(model)[key][where] == 0).all() for key, where in zero.items())


def test_pruning_again_is_pruning_the_plain_model_of_the_same_weights():
    model, twin = make("mlp"), make("mlp")
    for net in (model, twin):
        optimizer = OPTIMIZERS["sgd-momentum"](net.parameters())
        dc.prune(net, recipe(0.2))
        train_step(net, optimizer, example("mlp"))
        train_step(net, optimizer, example("mlp"))
    dc.finalize(twin)
    for net in (model, twin):
        dc.prune(net, recipe(0.6))
    assert_same(dense(model), dense(twin))
    assert_same(model.state_dict(), twin.state_dict())
    assert parametrization(targets_of(model)[0]).mask.sum() == 144


def test_parameters_keep_their_identity():
    model = make("mlp")
    before = {id(parameter) for parameter in model.parameters()}
    dc.prune(model, recipe(0.2))
    assert {id(parameter) for parameter in model.parameters()} == before


def test_a_pruner_with_nothing_to_prune_is_done():
    for schedule in SCHEDULES.values():
        pruner = dc.prune(
            make("mlp"), Recipe(rules=[Rule(module="x", optional=True, prune=Prune(density=0))], schedule=schedule)
        )
        assert pruner.done
        pruner.step()


@pytest.mark.parametrize(
    "then", [dc.finalize, lambda model: dc.share(model, Recipe(rules=[Rule(module="0", share=Share(bits=2))]))]
)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_pruner_refuses_a_model_that_was_shared_or_made_plain(name, then):
    model = make("mlp")
    pruner = dc.prune(model, recipe(0.2, SCHEDULES[name]))
    then(model)
    before = snapshot(model)
    message = r"0\.weight has no mask any more: it was shared or made plain; prune it again"
    with pytest.raises(ValueError, match=message):
        pruner.step()
    assert_same(snapshot(model), before)


# bad input


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("layer", [0, 4])
def test_weights_that_are_not_finite_are_refused_and_nothing_is_changed(layer, criterion, bad):
    model = make("mlp")
    with torch.no_grad():
        model[layer].weight[1, 2:4] = bad
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"{layer}\.weight has 2 weights that are NaN or infinite"):
        dc.prune(model, recipe(0.5, criterion=criterion))
    assert_same(snapshot(model), before)
    rules = [recipe(0.5, criterion=criterion, module=str(number)).rules[0] for number in (0, 2, 4)]
    with pytest.raises(ValueError, match=rf"{layer}\.weight has 2 weights that are NaN or infinite"):
        dc.prune(model, Recipe(rules=rules))
    assert_same(snapshot(model), before)


def test_a_step_that_meets_nan_leaves_masks_and_count_of_steps_alone():
    model = make("mlp")
    pruner = dc.prune(model, recipe(0.1, Rounds(rounds=3)))
    with torch.no_grad():
        original(targets_of(model)[-2]).fill_(math.nan)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight has \d+ weights that are NaN"):
        pruner.step()
    assert pruner.steps == 0
    assert_same(snapshot(model), before)


def test_nan_under_a_mask_does_not_matter():
    model = make("mlp")
    pruner = dc.prune(model, recipe(0.0, Gradual(end=1)))
    pruner.step()
    with torch.no_grad():
        original(targets_of(model)[0]).fill_(math.nan)
    dc.prune(model, recipe(0.0))
    assert not dense(model)["0.weight"].any()


def test_a_rule_that_matches_nothing_changes_nothing():
    model = make("mlp")
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"rule 2 .* matches nothing"):
        dc.prune(
            model, Recipe(rules=[Rule(module="*", prune=Prune(density=0.5)), Rule(module="fc", prune=Prune(density=0))])
        )
    assert_same(snapshot(model), before)


def test_a_shared_layer_is_not_pruned():
    model = make("mlp")
    dc.share(model, Recipe(rules=[Rule(module="4", share=Share(bits=2))]))
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight is shared already: prune before sharing, or call finalize first"):
        dc.prune(model, recipe(0.5))
    assert_same(snapshot(model), before)


def test_a_layer_parametrized_by_others_is_not_pruned():
    model = make("mlp")
    parametrizations.weight_norm(model[4])
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight is parametrized by _WeightNorm: make it plain first"):
        dc.prune(model, recipe(0.5))
    assert_same(snapshot(model), before)
    dc.prune(model, recipe(0.5, module="[02]"))
    assert_same(
        {k: v for k, v in snapshot(model).items() if k[0] == "4"}, {k: v for k, v in before.items() if k[0] == "4"}
    )


def test_zero_constant_and_empty_layers_have_exact_counts():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()
        model[1].weight.fill_(0.5)
    dc.prune(model, recipe(0.5))
    masks = [module.parametrizations.weight[0].mask for module in model]
    assert [mask.reshape(-1).tolist() for mask in masks] == [[True] * 8 + [False] * 8] * 2


def test_a_mask_is_a_buffer_and_not_trained():
    model = make("mlp")
    dc.prune(model, recipe(0.5))
    mask = model[0].parametrizations.weight[0]
    assert isinstance(mask, Mask)
    assert not list(mask.parameters())
    assert {name for name, _ in mask.named_buffers()} == {"mask", "step", "recipe"}
