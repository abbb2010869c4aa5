"""Pruning and sharing with calibration inputs: better than without, all or nothing, with the result of `share`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, example, make, snapshot
from torch import nn

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share
from deepcompression.recipe.targets import targets_of
from deepcompression.training.attach import parametrization
from deepcompression.training.parametrizations import Codebook, Mask

BY_BITS = Recipe(rules=[Rule(module="*", share=Share(bits=3))])
BY_PENALTY = Recipe(rules=[Rule(module="*", share=Share(penalty=0.01))])
PRUNED = Recipe(rules=[Rule(module="*", prune=Prune(density=0.5), share=Share(bits=4))])
MASKED = Recipe(rules=[Rule(module="*", prune=Prune(density=0.5))])


def trained_like(seed=0):
    """A network and correlated inputs, as real ones are: (model, batches, fresh inputs)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8)).eval()
    mix = torch.randn(6, 32, generator=generator)
    inputs = torch.randn(512, 6, generator=generator) @ mix + 0.1 * torch.randn(512, 32, generator=generator)
    return model, list(inputs[:256].split(64)), inputs[256:]


def outputs(model, x):
    with torch.no_grad():
        return model(x)


def change_of(model, exact, x):
    return float((outputs(model, x) - exact).norm() / exact.norm())


@pytest.mark.parametrize("recipe", [BY_BITS, BY_PENALTY, PRUNED])
def test_outputs_change_less_than_without_inputs(recipe):
    model, batches, fresh = trained_like()
    exact = outputs(model, fresh)
    dc.calibrate(model, recipe, batches)
    plain = trained_like()[0]
    if recipe is PRUNED:
        dc.prune(plain, recipe)
    dc.share(plain, recipe)
    assert change_of(model, exact, fresh) < 0.6 * change_of(plain, exact, fresh)


@pytest.mark.parametrize("recipe", [BY_BITS, BY_PENALTY, PRUNED, MASKED])
@pytest.mark.parametrize("kind", MODELS)
def test_every_model_is_left_as_prune_and_share_leave_it(kind, recipe, tmp_path):
    model = make(kind)
    dc.calibrate(model, recipe, [example(kind)])
    for target in targets_of(model):
        if target.trained and len(target.shape) >= 2 and target.count:
            assert isinstance(parametrization(target), Mask if recipe is MASKED else Codebook), target.name
            if recipe in (PRUNED, MASKED):
                weight = getattr(*target.places[0])
                assert int((weight != 0).sum()) <= math.floor(target.count / 2 + 0.5)
    dc.save(model, tmp_path / "m.dcz")
    back = dc.load(tmp_path / "m.dcz", make(kind))
    x = example(kind)
    assert torch.equal(outputs(back.eval(), x), outputs(dc.finalize(model).eval(), x))


def test_batches_are_dicts_tuples_or_tensors():
    found = []
    for form in (lambda x: x, lambda x: (x,), lambda x: {"input": x}):
        model, batches, _ = trained_like()
        # Sequential.forward calls its argument `input`
        dc.calibrate(model, BY_BITS, [form(batch) for batch in batches])
        found.append(snapshot(model))
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_biases_take_over_the_mean_error():
    model, batches, _ = trained_like()
    batches = [batch + 2 for batch in batches]
    x = torch.cat(batches)
    exact = outputs(model[0], x)
    dc.calibrate(model, BY_PENALTY, batches)
    error = outputs(model[0], x) - exact
    # the rest may be noise of these inputs
    assert float(error.mean(0).norm()) < float(error.norm()) / len(x)


BAD = {
    "nan": ([torch.full((4, 32), math.nan)], BY_BITS, "not finite"),
    "none": ([], BY_BITS, "no calibration batches"),
    "shape": ([torch.zeros(4, 31)], BY_BITS, "does not fit the model"),
    "no match": ([torch.zeros(4, 32)], Recipe(rules=[Rule(module="fc", share=Share(bits=2))]), "matches nothing"),
    "bias": ([torch.zeros(4, 32)], Recipe(rules=[Rule(tensor="0.bias", share=Share(bits=2))]), "weights of layers"),
    "criterion": (
        [torch.zeros(4, 32)],
        Recipe(rules=[Rule(module="*", prune=Prune(criterion="threshold", quality=1))]),
        "criterion threshold does not go",
    ),
    "grid": (
        [torch.zeros(4, 32)],
        Recipe(rules=[Rule(module="*", share=Share(bits=4, codebook_grid="int8"))]),
        "no codebook_grid",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_mistakes_change_nothing(kind):
    model = trained_like()[0]
    batches, recipe, message = BAD[kind]
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        dc.calibrate(model, recipe, batches)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("stage", [dc.prune, dc.share])
def test_a_model_that_is_compressed_already_is_refused(stage):
    model, batches, _ = trained_like()
    stage(model, PRUNED)
    with pytest.raises(ValueError, match=r"0\.weight is pruned or shared: calibrate needs plain weights"):
        dc.calibrate(model, PRUNED, batches)


def test_weights_that_are_not_finite_are_refused():
    model, batches, _ = trained_like()
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        dc.calibrate(model, BY_BITS, batches)


def test_a_penalty_shares_without_inputs_too():
    model = trained_like()[0]
    tensors = {"w": dc.DenseTensor.from_numpy(model[2].weight.detach().numpy())}
    dc.share(model, Recipe(rules=[Rule(module="2", share=Share(penalty=0.05))]))
    found = dc.compress_tensors(tensors, Recipe(rules=[Rule(tensor="w", share=Share(penalty=0.05))]))["w"]
    assert np.array_equal(found.numpy(), model[2].weight.detach().numpy())
    assert 0 < found.density < 1


@pytest.mark.parametrize("options", [{}, {"bits": 3, "penalty": 0.1}, {"penalty": 0}, {"penalty": math.inf}])
def test_sharing_is_by_bits_or_by_a_penalty(options):
    with pytest.raises(ValueError, match=r"bits|penalty"):
        Share(**options)


def independent(seed):
    """A network and independent inputs: (model, inputs)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4)).eval()
    return model, torch.randn(400, 64, generator=torch.Generator().manual_seed(seed))


def related(seed):
    model, batches, fresh = trained_like(seed)
    return model, torch.cat([*batches, fresh])


@pytest.mark.parametrize("recipe", [BY_BITS, PRUNED])
@pytest.mark.parametrize("kind", [independent, related])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_few_inputs_do_no_harm(count, kind, recipe):
    ratios = []
    for seed in range(8):
        model, inputs = kind(seed)
        plain = kind(seed)[0]
        fresh = inputs[count:]
        exact = outputs(model, fresh)
        dc.calibrate(model, recipe, [inputs[:count]])
        if recipe is PRUNED:
            dc.prune(plain, recipe)
        dc.share(plain, recipe)
        ratios.append(change_of(model, exact, fresh) / change_of(plain, exact, fresh))
    # errors of one network vary by a third by chance
    assert np.exp(np.mean(np.log(ratios))) < 1.05, ratios
