"""Writing into a pruned or shared weight, which would be lost: it is refused, and reading is like of any tensor."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, example, make, snapshot
from torch import Tensor, nn

import deepcompression as dc
from deepcompression.recipe.targets import targets_of
from deepcompression.training.computed_weight import ComputedWeight

STAGES = ["pruned", "shared", "int8"]


def in_stage(stage, model=None):
    model = make("mlp") if model is None else model
    grid = "int8" if stage == "int8" else None
    rule = dc.Rule(module="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=3, codebook_grid=grid))
    dc.prune(model, dc.Recipe(rules=[rule]))
    if stage != "pruned":
        dc.share(model, dc.Recipe(rules=[rule]))
    return model


def by_data(layer, values):
    layer.weight.data += values


def by_new_data(layer, values):
    layer.weight.data = layer.weight.data.clone() + values


def without_gradient(layer, values):
    with torch.no_grad():
        layer.weight.add_(values)


def by_a_view(layer, values):
    layer.weight.detach()[3].view(-1)[2:] = 7


def by_parts(layer, values):
    with torch.no_grad():
        for row in layer.weight.unbind():
            row.mul_(2)


def by_a_parts_transpose(layer, values):
    layer.weight.data.t().chunk(2)[1].zero_()


def by_output(layer, values):
    with torch.no_grad():
        torch.add(values, 1, out=layer.weight)


def by_a_list(layer, values):
    with torch.no_grad():
        torch._foreach_add_([layer.weight, torch.zeros(3)], 1)


WRITES = {
    "data": by_data,
    "new data": by_new_data,
    "copy": lambda layer, values: layer.weight.data.copy_(values),
    "no_grad": without_gradient,
    "initialization": lambda layer, values: nn.init.normal_(layer.weight),
    "another initialization": lambda layer, values: nn.init.xavier_uniform_(layer.weight),
    "orthogonal initialization": lambda layer, values: nn.init.orthogonal_(layer.weight),
    "reset": lambda layer, values: layer.reset_parameters(),
    "a view": by_a_view,
    "parts": by_parts,
    "a transposed part": by_a_parts_transpose,
    "an output": by_output,
    "a list": by_a_list,
    "a mask": lambda layer, values: layer.weight.data.masked_fill_(values > 0, 0),
    "a lerp": lambda layer, values: layer.weight.data.lerp_(values, 0.1),
    "another tensor": lambda layer, values: layer.weight.detach().set_(values),
    "another tensor for the data": lambda layer, values: layer.weight.data.set_(values),
    "a fill": lambda layer, values: layer.weight.detach().fill_(0),
    "other memory": lambda layer, values: layer.weight.set_(values),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("way", WRITES)
def test_what_would_be_lost_is_refused_with_the_name_and_the_remedy(way, stage):
    model = in_stage(stage)
    before, part = snapshot(model), "mask" if stage == "pruned" else "codebook"
    with pytest.raises(ValueError, match=rf"the {part} of 0\.weight computes .*dc\.finalize\(model\) first.*clone"):
        WRITES[way](model[0], torch.randn(20, 12))
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("array", [Tensor.numpy, np.asarray, lambda part: part[3:].numpy()])
@pytest.mark.parametrize("stage", STAGES)
def test_arrays_of_its_memory_are_read_only(array, stage):
    model = in_stage(stage)
    expected = model[0].weight.detach().clone()
    found = array(model[0].weight.detach())
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 7
    assert np.array_equal(found, array(expected))
    array(expected)[0] = 7
    assert (model[0].bias.detach().numpy() + 1).flags.writeable


@pytest.mark.parametrize("stage", STAGES)
def test_the_remedies_work(stage):
    model = in_stage(stage)
    delta, expected = torch.randn(20, 12), model[0].weight.detach().clone()
    copied = model[0].weight.clone().detach()
    copied += delta
    dc.finalize(model)
    model[0].weight.data += delta
    assert torch.equal(model[0].weight, expected + delta)
    assert torch.equal(copied, expected + delta)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_written_into_the_parameters_counts(stage):
    """As optimizers, and averages of weights that swap parameters, do."""
    model, x = in_stage(stage), example("mlp")
    before = model(x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert not torch.equal(model(x), before)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_plain_weights_are_not_loaded_in_silence(stage, strict):
    model, plain = in_stage(stage), make("mlp").state_dict()
    with pytest.raises(RuntimeError, match=r"0\.(weight|parametrizations)"):
        model.load_state_dict(plain, strict=strict)
    dc.finalize(model)
    model.load_state_dict(plain)
    assert not model[0]._load_state_dict_pre_hooks


def test_states_without_the_tensor_are_loaded():
    model = in_stage("pruned")
    model.load_state_dict({"0.bias": torch.ones(20)}, strict=False)
    assert torch.equal(model[0].bias, torch.ones(20))
    model.load_state_dict(in_stage("pruned").state_dict() | {"other": torch.ones(1)}, strict=False)


# reading


@pytest.mark.parametrize("stage", STAGES)
def test_copies_are_ordinary_tensors(stage):
    weight = in_stage(stage)[0].weight
    assert isinstance(weight, ComputedWeight)
    file = io.BytesIO()
    torch.save(weight, file)
    file.seek(0)
    copies = [weight.clone(), weight + 0, weight.double(), copy.deepcopy(weight.detach()), torch.load(file)]
    assert {type(each) for each in copies} == {torch.Tensor}
    for each in copies:
        assert torch.equal(each.float(), weight)


@pytest.mark.parametrize("take", [lambda weight: weight, torch.detach, lambda weight: weight.data])
def test_a_parameter_that_is_made_of_it_is_an_ordinary_one(take):
    layer, x = nn.Linear(12, 20), example("mlp")
    layer.weight = nn.Parameter(take(in_stage("pruned")[0].weight))
    assert type(layer.weight) is nn.Parameter
    layer(x).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    layer.weight.data.add_(1)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert type(layer.state_dict()["weight"]) is torch.Tensor


def test_a_compiled_function_takes_it():
    # without its gradient, about which torch.compile would warn
    weight, x = in_stage("shared")[0].weight.detach(), example("mlp")
    assert isinstance(weight, ComputedWeight)
    compiled = torch.compile(nn.functional.linear, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, weight), nn.functional.linear(x, weight))


def test_gradients_of_the_weight_itself_are_there():
    model = in_stage("pruned")
    weight = model[0].weight
    weight.retain_grad()
    seen = []
    weight.register_hook(seen.append)
    weight.square().sum().backward()
    assert torch.equal(weight.grad, 2 * weight)
    assert torch.equal(seen[0], weight.grad)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_every_model_computes_the_same_without_it(kind, stage, monkeypatch):
    model = in_stage(stage, make(kind)).eval()
    found = model(example(kind))
    module = "deepcompression.training.parametrizations.computed"
    monkeypatch.setattr(module, lambda weight, what: weight)
    assert torch.equal(found, model(example(kind)))
    assert type(found) is torch.Tensor


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("way", WRITES)
def test_it_is_refused_in_inference_mode_too(way, stage):
    model = in_stage(stage)
    before = snapshot(model)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"0\.weight computes .*dc\.finalize"):
        WRITES[way](model[0], torch.randn(20, 12))
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("stage", STAGES)
def test_arrays_that_share_its_memory_are_read_only(stage):
    weight = in_stage(stage)[0].weight.detach()
    for array in (weight.numpy(), weight[1:].t().numpy(), np.asarray(weight), weight.data.numpy()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    weight.clone().numpy()[...] = 0
    np.asarray(weight).copy()[...] = 0


def test_inference_mode_and_autocast_take_it():
    model, x = in_stage("pruned"), example("mlp")
    expected = model(x)
    with torch.inference_mode():
        assert torch.equal(model(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
    (target, *_) = targets_of(model)
    assert torch.equal(model[0].weight.sum(), getattr(*target.places[0]).sum())
