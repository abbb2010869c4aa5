"""Stage 2 on models: trained codebooks over the survivors; errors change nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, dense, example, make, snapshot, train_step
from torch import nn
from torch.nn.utils import parametrizations

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.codebook import CODEBOOKS, share_values
from deepcompression.sharing.share_weights import share_array
from deepcompression.tensors.slices import Weights
from deepcompression.training.attach import parametrization
from deepcompression.training.parametrizations import Codebook

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def recipe(bits=2, init="linear", seed=0, density=None, **selector):
    prune = None if density is None else Prune(density=density)
    rule = Rule(**(selector or {"module": "*"}), prune=prune, share=Share(bits=bits, init=init))
    return Recipe(rules=[rule], seed=seed)


def layer(values, dtype=torch.float32):
    """A linear layer with these weights in one row."""
    model = nn.Linear(len(values), 1, bias=False, dtype=dtype)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([values], dtype=torch.float64))
    return model


@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_weight_becomes_the_centroid_of_its_cluster(kind, init):
    model, plain = make(kind), make(kind)
    dc.share(model, recipe(3, init, seed=4))
    for target, before in zip(targets_of(model), targets_of(plain), strict=True):
        weight = getattr(*before.places[0]).detach()
        if not (target.trained and len(target.shape) >= 2):
            assert torch.equal(getattr(*target.places[0]), weight)
            continue
        values = weight.reshape(-1)
        codebook, codes = share_values(Weights.of(values.float().numpy()), 3, init, 4)
        expected = torch.from_numpy(codebook[codes]).to(weight.dtype).view(weight.shape)
        for place in target.places:
            assert torch.equal(getattr(*place), expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_codebook_of_each_width_has_all_its_centroids(bits):
    model = nn.Linear(40, 40)
    dc.share(model, recipe(bits))
    assert len(model.weight.unique()) == 1 << bits
    assert model.parametrizations.weight.original.shape == (1 << bits,)


@pytest.mark.parametrize("kind", MODELS)
def test_pruned_weights_stay_zero_while_centroids_are_trained(kind):
    model, x = make(kind), example(kind)
    dc.prune(model, recipe(density=0.4))
    zero = {name: weight == 0 for name, weight in dense(model).items()}
    dc.share(model, recipe())
    before = dense(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    for _ in range(3):
        train_step(model, optimizer, x)
    after = dense(model)
    for target in targets_of(model):
        book = parametrization(target)
        if isinstance(book, Codebook) and target.count:
            assert (after[target.name][zero[target.name]] == 0).all()
            assert len(after[target.name][~zero[target.name]].unique()) <= 4
            assert target.name == "fixed" or not torch.equal(after[target.name], before[target.name])


def test_zeros_need_no_mask_to_stay_zero():
    model = layer([0.0, 1, 0, 2, -0.0, 3])
    dc.share(model, recipe(8))
    assert model.weight.tolist() == [[0, 1, 0, 2, 0, 3]]
    assert model.parametrizations.weight.original.tolist() == [1, 2, 3]
    assert model.parametrizations.weight[0].positions.tolist() == [1, 3, 5]


def test_a_survivor_that_happens_to_be_zero_is_still_trained():
    model = layer([0.0, 1, 0, 2])
    dc.prune(model, recipe(density=0.75))
    dc.share(model, recipe())
    assert model.parametrizations.weight[0].positions.tolist() == [0, 1, 3]
    assert model.parametrizations.weight.original.tolist() == [0, 1, 2]


def test_a_bias_is_shared_as_a_weight_is_when_a_rule_names_it():
    model = make("mlp")
    dc.share(model, recipe(1, tensor="0.bias"))
    assert len(model[0].bias.unique()) == 2
    assert [name for name, _ in model.named_parameters() if "parametrizations" in name] == [
        "0.parametrizations.bias.original"
    ]


def test_a_tied_weight_shares_one_codebook():
    model = make("tied")
    dc.share(model, recipe())
    assert model.embedding.parametrizations.weight[0] is model.output.parametrizations.weight[0]
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.5), example("tied"))
    assert torch.equal(model.embedding.weight, model.output.weight)
    assert len(list(model.parameters())) == 2


def test_a_frozen_parameter_stays_frozen():
    model = make("own")
    dc.share(model, recipe())
    assert {name.split(".")[1]: p.requires_grad for name, p in model.named_parameters() if "." in name} == {
        "table": True,
        "fixed": False,
    }


def test_earlier_gradients_are_dropped():
    model = make("mlp")
    model(example("mlp")).sum().backward()
    dc.share(model, recipe())
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if "parametrizations" in name)


# an optimizer

OPTIMIZERS = {
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["mlp", "conv-net", "tied", "recurrent"])
def test_an_optimizer_that_knows_the_dense_weights_fails_loudly(kind, name):
    model, x = make(kind), example(kind)
    optimizer = OPTIMIZERS[name](model.parameters())
    train_step(model, optimizer, x)
    dc.share(model, recipe())
    with pytest.raises(RuntimeError, match=r"size|shape"):
        train_step(model, optimizer, x)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_that_has_not_begun_trains_the_centroids(name):
    model, x = make("mlp"), example("mlp")
    optimizer = OPTIMIZERS[name](model.parameters())
    dc.share(model, recipe())
    before = dense(model)
    train_step(model, optimizer, x)
    assert not torch.equal(dense(model)["0.weight"], before["0.weight"])


# bad input, and the edges


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("layer", [0, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_not_finite_are_refused_and_nothing_is_changed(dtype, layer, bad):
    model = make("mlp").to(dtype)
    with torch.no_grad():
        model[layer].weight[1, 2:4] = bad
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=rf"{layer}\.weight: it has 2 weights that are NaN, infinite or beyond float32"
    ):
        dc.share(model, recipe())
    assert_same(snapshot(model), before)


def test_weights_beyond_float32_are_refused():
    with pytest.raises(ValueError, match="beyond float32"):
        dc.share(layer([1.0, 1e300], torch.float64), recipe())


def test_nan_under_a_mask_does_not_matter():
    model = layer([1.0, 2, 3, 4])
    dc.prune(model, recipe(density=0.5))
    with torch.no_grad():
        model.parametrizations.weight.original[0, 0] = math.nan
    dc.share(model, recipe())
    assert model.weight.tolist() == [[0, 0, 3, 4]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("init", CODEBOOKS)
@pytest.mark.parametrize(
    "values", [[0.0] * 5, [0.5] * 5, [0.5, 0, 0.5, 0], [1.0, -2, 3], [0.25], [-1.0, 1.0, 0, 1.0, -1.0]]
)
def test_zero_constant_and_few_values_are_kept_exactly(values, init, dtype):
    model = layer(values, dtype)
    dc.share(model, recipe(3, init))
    assert model.weight.tolist() == [values]
    assert model.weight.dtype == dtype
    assert model.parametrizations.weight.original.tolist() == sorted(set(values) - {0.0})


def test_an_empty_layer_has_an_empty_codebook():
    model = make("empty")
    dc.share(model, recipe())
    assert model.nothing.shape == (0, 5)
    assert model.parametrizations.nothing.original.shape == (0,)
    train_step(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), example("empty"))


def test_a_shared_layer_is_not_shared_again():
    model = make("mlp")
    dc.share(model, recipe(module="4"))
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight is shared already: call finalize first to share it again"):
        dc.share(model, recipe())
    assert_same(snapshot(model), before)
    dc.share(dc.finalize(model), recipe(1))
    assert len(model[4].weight.unique()) == 2


def test_a_layer_parametrized_by_others_is_not_shared():
    model = make("mlp")
    parametrizations.weight_norm(model[4])
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight is parametrized by _WeightNorm: make it plain first"):
        dc.share(model, recipe())
    assert_same(snapshot(model), before)


def test_a_rule_that_matches_nothing_changes_nothing():
    model = make("mlp")
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"rule 2 .* matches nothing"):
        dc.share(model, Recipe(rules=[Rule(module="*", share=Share(bits=2)), Rule(module="x")]))
    assert_same(snapshot(model), before)


def test_layers_can_be_shared_one_after_the_other():
    model, whole = make("mlp"), make("mlp")
    dc.share(whole, recipe())
    for module in ("4", "0", "2"):
        dc.share(model, recipe(module=module))
    assert_same(dense(model), dense(whole))


# arrays


def test_an_array_is_shared_over_its_survivors():
    weight = np.array([[1.0, 5.0], [1.5, 9.0]], np.float32)
    shared = share_array(weight, np.array([[True, False], [True, True]]), Share(bits=1), 0)
    assert shared.positions.tolist() == [0, 2, 3]
    assert shared.numpy().tolist() == [[1.25, 0], [1.25, 9]]
    assert shared.density == 0.75


@pytest.mark.parametrize(
    ("dtype", "expected"), [("F64", 1 / 3), ("F32", 1 / 3), ("F16", 0.333251953125), ("BF16", 0.333984375)]
)
def test_centroids_are_rounded_to_the_dtype_of_the_tensor(dtype, expected):
    shared = share_array(np.array([0.0, 0.5, 0.5, 2]), np.ones(4, bool), Share(bits=1), 0, dtype)
    assert shared.numpy().tolist() == pytest.approx([expected] * 3 + [2], rel=1e-7)
    assert shared.dtype == dtype


GRADUAL = {"kind": "gradual", "end": 4, "every": 2}


@pytest.mark.parametrize(
    ("schedule", "steps", "words"),
    [
        (GRADUAL, 0, "weight is at step 0 of the schedule gradual, which ends at 4: call"),
        (GRADUAL, 3, r"weight is at step 3 of .* after each optimizer.step\(\) .* schedule one-shot"),
        ({"kind": "rounds", "rounds": 3}, 1, "weight is at step 1 of the schedule rounds, which ends at 2: call"),
    ],
)
def test_a_schedule_that_has_not_come_to_its_end_is_refused_and_nothing_changes(schedule, steps, words):
    wanted = recipe(density=0.25).model_copy(update={"schedule": dc.Recipe(schedule=schedule, rules=[]).schedule})
    model = nn.Linear(16, 16)
    pruner = dc.prune(model, wanted)
    for _ in range(steps):
        pruner.step()
    before = snapshot(model)
    with pytest.raises(ValueError, match=words):
        dc.share(model, wanted)
    assert_same(before, snapshot(model))
    dc.share(model, recipe(density=0.25))
    assert isinstance(parametrization(targets_of(model)[0]), Codebook)


def test_a_schedule_that_has_come_to_its_end_is_shared():
    wanted = recipe(density=0.25).model_copy(update={"schedule": dc.Gradual(end=4)})
    model = nn.Linear(16, 16)
    pruner = dc.prune(model, wanted)
    while not pruner.done:
        pruner.step()
    dc.share(model, wanted)
    assert int((model.weight != 0).sum()) == 64
