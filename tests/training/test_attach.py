"""Masks and codebooks on modules: values, gradients, ties, copies, and detaching."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from models import MODELS, assert_same, bits, dense, example, make, snapshot
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import deepcompression as dc
from deepcompression.recipe.targets import computed_by_others, targets_of
from deepcompression.training.attach import attach_codebook, attach_mask, detach, original, parametrization
from deepcompression.training.parametrizations import Codebook, Mask

RECIPE = dc.Recipe(rules=[dc.Rule(tensor="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=2))])


def to_stage(model, stage):
    if stage in ("pruned", "shared"):
        dc.prune(model, RECIPE)
    if stage == "shared":
        dc.share(model, RECIPE)
    return model


# a mask


def test_a_mask_makes_zeros_without_a_sign_whatever_is_under_it():
    mask = Mask(torch.tensor([True, False, False, False]))
    masked = mask(torch.tensor([2.0, -3.0, -math.inf, math.nan]))
    assert masked.tolist() == [2, 0, 0, 0]
    assert not torch.signbit(masked).any()


def test_a_mask_stops_the_gradient_of_pruned_weights():
    weight = torch.tensor([2.0, -3.0, math.inf], requires_grad=True)
    (Mask(torch.tensor([True, False, False]))(weight) * torch.tensor([5.0, 7.0, 9.0])).sum().backward()
    assert weight.grad.tolist() == [5, 0, 0]


def test_attaching_a_mask_keeps_the_parameter_and_puts_it_in_every_place():
    model = make("tied")
    parameter = model.embedding.weight
    (target, _) = targets_of(model)
    attach_mask(target, torch.rand(11, 8) > 0.5, step=4, recipe=7)
    assert original(target) is parameter
    mask = parametrization(target)
    assert (int(mask.step), int(mask.recipe)) == (4, 7)
    for module in (model.embedding, model.output):
        assert module.parametrizations.weight.original is parameter
        assert module.parametrizations.weight[0] is mask


def test_a_mask_that_grows_again_restores_no_weight():
    model = nn.Linear(2, 1, bias=False)
    (target,) = targets_of(model)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    attach_mask(target, torch.tensor([[False, True]]), 0, 0)
    with torch.no_grad():
        original(target).fill_(9)  # as an optimizer with momentum may do
    attach_mask(target, torch.tensor([[True, True]]), 1, 0)
    assert model.weight.tolist() == [[0, 9]]
    assert original(target).tolist() == [[0, 9]]


# a codebook


def test_a_codebook_is_its_centroids_at_its_positions():
    codebook = Codebook((2, 3), torch.tensor([0, 2, 5]), torch.tensor([1, 0, 1], dtype=torch.uint8), 2)
    assert codebook(torch.tensor([5.0, 7.0])).tolist() == [[7, 0, 5], [0, 0, 7]]


def test_the_gradient_of_a_centroid_is_the_sum_over_its_weights():
    """The paper's equation 3, by a loop."""
    torch.manual_seed(0)
    positions = torch.tensor([1, 2, 4, 5, 8, 9, 11])
    codes = torch.tensor([2, 0, 1, 2, 2, 0, 3], dtype=torch.uint8)
    codebook = Codebook((3, 4), positions, codes, 5)
    centroids = torch.randn(5, requires_grad=True)
    gradient = torch.randn(3, 4)
    (codebook(centroids) * gradient).sum().backward()
    expected = [0.0] * 5
    for position, code in zip(positions.tolist(), codes.tolist(), strict=True):
        expected[code] += float(gradient.reshape(-1)[position])
    torch.testing.assert_close(centroids.grad, torch.tensor(expected))


def test_training_the_centroids_is_training_the_weights_with_their_gradients_grouped():
    """One step of SGD on a shared layer moves each weight by the summed gradient of its cluster."""
    model = to_stage(make("mlp"), "shared")
    twin = dc.finalize(copy.deepcopy(model))
    x = example("mlp")
    for net in (model, twin):
        net(x).square().sum().backward()
    layer, plain = model[0], twin[0]
    book = layer.parametrizations.weight[0]
    expected = plain.weight.detach().clone().reshape(-1)
    for code in range(book.centroids):
        own = book.positions[book.codes == code]
        expected[own] -= 0.1 * plain.weight.grad.reshape(-1)[own].sum()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    torch.testing.assert_close(layer.weight.reshape(-1), expected)


def test_the_right_inverse_is_the_mean_of_each_cluster():
    positions, codes = torch.tensor([0, 1, 3, 5]), torch.tensor([0, 1, 0, 1], dtype=torch.uint8)
    codebook = Codebook((2, 3), positions, codes, 2)
    weight = torch.tensor([[1.0, 2.0, 100.0], [4.0, 100.0, 9.0]])
    assert codebook.right_inverse(weight).tolist() == [2.5, 5.5]


def test_a_weight_assigned_to_a_shared_layer_sets_its_centroids():
    model = to_stage(make("mlp"), "shared")
    book = model[0].parametrizations.weight[0]
    model[0].weight = torch.arange(20.0 * 12).reshape(20, 12)
    for code in range(book.centroids):
        own = book.positions[book.codes == code]
        assert model[0].weight.reshape(-1)[own[0]].item() == pytest.approx(float(own.double().mean()))


def test_a_codebook_describes_itself():
    model = to_stage(make("mlp"), "shared")
    assert "Codebook((20, 12), 120 survivors, 4 centroids)" in repr(model)


def test_a_codebook_shares_no_memory_with_the_tensors_passed_to_it():
    model = nn.Linear(2, 1, bias=False)
    (target,) = targets_of(model)
    positions, codes = torch.tensor([0, 1]), torch.tensor([0, 1], dtype=torch.uint8)
    centroids = torch.tensor([3.0, 4.0])
    attach_codebook(target, positions, codes, centroids)
    positions.zero_(), codes.zero_(), centroids.zero_()
    assert model.weight.tolist() == [[3, 4]]


def test_attaching_and_detaching_a_codebook_keep_the_parameter():
    model = make("tied")
    parameter = model.embedding.weight
    to_stage(model, "shared")
    assert parameter.shape == (4,)
    assert model.embedding.parametrizations.weight.original is parameter
    assert model.output.parametrizations.weight.original is parameter
    assert model.output.parametrizations.weight[0] is model.embedding.parametrizations.weight[0]
    dc.finalize(model)
    assert model.embedding.weight is parameter
    assert model.output.weight is parameter


# every model


@pytest.mark.parametrize("stage", ["pruned", "shared"])
@pytest.mark.parametrize("kind", MODELS)
def test_detaching_leaves_plain_modules_with_the_weights_that_were_seen(kind, stage):
    model, plain = to_stage(make(kind), stage), make(kind)
    model.eval(), plain.eval()
    seen, output = dense(model), model(example(kind))
    for target in targets_of(model):
        detach(target)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert not any(module._forward_hooks for module in model.modules())
    assert_same(dense(model), seen)
    assert bits(model(example(kind))) == bits(output)


@pytest.mark.parametrize("stage", ["pruned", "shared"])
@pytest.mark.parametrize("kind", MODELS)
def test_requires_grad_stays_as_it_was(kind, stage):
    model = make(kind)
    model.requires_grad_(True)
    frozen = next(target for target in targets_of(model) if target.trained)
    original(frozen).requires_grad_(False)
    before = {target.name: original(target).requires_grad for target in targets_of(model)}
    to_stage(model, stage)
    assert {target.name: original(target).requires_grad for target in targets_of(model)} == before
    dc.finalize(model)
    assert {target.name: original(target).requires_grad for target in targets_of(model)} == before


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("stage", ["pruned", "shared"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_copy_is_the_same_and_lives_on_its_own(kind, stage, backward):
    model = to_stage(make(kind), stage).eval()
    x = example(kind)
    if backward:
        model(x).sum().backward()
    copied = copy.deepcopy(model)
    assert_same(copied.state_dict(), model.state_dict())
    assert bits(copied(x)) == bits(model(x))
    assert [t.names for t in targets_of(copied)] == [t.names for t in targets_of(model)]
    before = snapshot(model)
    copied.zero_grad()
    copied(x).sum().backward()
    torch.optim.SGD(copied.parameters(), lr=0.1).step()
    assert_same(snapshot(model), before)
    assert bits(copied(x)) != bits(model(x))


@pytest.mark.parametrize("kind", MODELS)
def test_changes_of_a_copy_do_not_reach_the_model(kind):
    """Copies of a parametrized module share its class in torch."""
    model = to_stage(make(kind), "pruned").eval()
    x = example(kind)
    before, output = snapshot(model), model(x)
    to_stage(copy.deepcopy(model), "shared")
    dc.finalize(copy.deepcopy(model))
    assert_same(snapshot(model), before)
    assert bits(model(x)) == bits(output)


def test_a_copy_can_be_parametrized_further():
    model = make("recurrent")
    dc.prune(model, dc.Recipe(rules=[dc.Rule(tensor="gru.weight_ih*", prune=dc.Prune(density=0.5))]))
    copied = copy.deepcopy(model)
    dc.prune(copied, dc.Recipe(rules=[dc.Rule(tensor="gru.weight_hh*", prune=dc.Prune(density=0.5))]))
    assert torch.count_nonzero(model.gru.weight_hh_l0) == model.gru.weight_hh_l0.numel()
    assert torch.count_nonzero(copied.gru.weight_hh_l0) == copied.gru.weight_hh_l0.numel() // 2
    model(example("recurrent"))


@pytest.mark.parametrize("stage", ["pruned", "shared"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_trained_parameter_gets_its_gradient_also_from_cached_weights(kind, stage):
    model = to_stage(make(kind), stage)
    x = example(kind)
    with parametrize.cached():
        model(x)
        model(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("kind", MODELS)
def test_parameters_of_a_shared_model_are_its_centroids_under_the_names_of_torch(kind):
    model = to_stage(make(kind), "shared")
    parameters = dict(model.named_parameters())
    for target in targets_of(model):
        if target.trained:
            module, _, local = target.name.rpartition(".")
            name = f"{module}.parametrizations.{local}.original".removeprefix(".")
            assert parameters.pop(name).shape == (parametrization(target).centroids,)
            assert {f"{name.removesuffix('original')}0.{part}" for part in ("positions", "codes")} <= set(
                model.state_dict()
            )
    assert not parameters


def test_a_shared_model_follows_to_another_dtype():
    model = to_stage(make("mlp"), "shared").double()
    assert model(example("mlp").double()).dtype == torch.float64


def test_the_parametrization_of_others_is_named():
    model = parametrizations.weight_norm(nn.Linear(3, 2))
    (target,) = computed_by_others(model)
    with pytest.raises(ValueError, match=r"weight is parametrized by _WeightNorm: make it plain first"):
        parametrization(target)
