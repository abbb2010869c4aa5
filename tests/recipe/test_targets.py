"""The tensors of models and checkpoints by their plain names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, bits, dense, example, make
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations, parametrize

import deepcompression as dc
from deepcompression.recipe.targets import module_name, plain_modules, targets_of, unwrapped
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, size_bytes
from deepcompression.tensors.tensor import DenseTensor

EVERYTHING = dc.Recipe(rules=[dc.Rule(tensor="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=2))])


def names(model):
    return [name for target in targets_of(model) for name in target.names]


@pytest.mark.parametrize("kind", MODELS)
def test_names_are_those_of_the_state_dict(kind):
    assert sorted(names(make(kind))) == sorted(make(kind).state_dict())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("stage", [dc.prune, dc.share])
def test_names_shapes_and_ties_stay_the_same_in_every_stage(kind, stage):
    model = make(kind)
    before = {target.names: target for target in targets_of(model)}
    stage(model, EVERYTHING)
    after = {target.names: target for target in targets_of(model)}
    assert list(after) == list(before)
    for key, target in after.items():
        assert target.shape == before[key].shape
        assert (target.floating, target.trained) == (before[key].floating, before[key].trained)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("stage", [dc.prune, dc.share])
def test_the_order_stays_when_some_tensors_of_a_module_are_parametrized(kind, stage):
    model = make(kind)
    before = names(model)
    stage(model, dc.Recipe(rules=[dc.Rule(module="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=2))]))
    assert names(model) == before


def inside(wrap):
    def change(model):
        model.conv1, model.fc = wrap(model.conv1), wrap(model.fc)
        return model

    return change


def compiled(module):
    return torch.compile(module, backend="eager")


WRAPPED = {
    "compiled": compiled,
    "in parallel": lambda model: nn.DataParallel(compiled(model)),
    "checkpointed": checkpoint_wrapper,
    "compiled parts": inside(compiled),
    "checkpointed parts": inside(checkpoint_wrapper),
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_wrappers_of_a_model_or_its_parts_do_not_change_names_or_places(wrap):
    model = make("conv-net")
    before = targets_of(model)
    wrapped = WRAPPED[wrap](model)
    assert targets_of(wrapped) == before
    assert unwrapped(wrapped) is model
    dc.prune(wrapped, EVERYTHING)
    resumed = make("conv-net", seed=1)
    dc.resume(resumed, wrapped.state_dict())
    assert_same(dense(resumed), dense(model))
    x = example("conv-net")
    dc.share(wrapped, EVERYTHING)
    with torch.no_grad():
        assert bits(dc.run(wrapped).eval()(x)) == bits(wrapped.eval()(x))


def test_a_tied_weight_is_one_target_with_two_places():
    model = make("tied")
    target = targets_of(model)[0]
    assert target.names == ("embedding.weight", "output.weight")
    assert target.places == ((model.embedding, "weight"), (model.output, "weight"))
    assert target.count == 88


def test_a_module_under_two_names_is_one_place():
    model = make("twice")
    target = targets_of(model)[0]
    assert target.names == ("first.weight", "second.weight")
    assert target.places == ((model.first, "weight"),)


def test_buffers_are_not_parameters_and_scratch_buffers_are_left_out():
    found = {target.name: target for target in targets_of(make("own"))}
    assert [name for name, target in found.items() if not target.trained] == ["steps", "flags"]
    assert [name for name, target in found.items() if not target.floating] == ["steps", "flags"]
    assert found["scale"].shape == ()
    assert found["scale"].count == 1


def test_a_parametrized_buffer_is_still_a_buffer():
    model = nn.BatchNorm1d(3)
    parametrize.register_parametrization(model, "running_mean", nn.Identity())
    assert {target.name: target.trained for target in targets_of(model)}["running_mean"] is False


def test_a_parametrization_of_several_tensors_is_one_target():
    model = parametrizations.weight_norm(nn.Linear(3, 2))
    assert sorted(names(model)) == ["bias", "weight"]


WEIGHTS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
OTHERS = (torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.int64, torch.int8, torch.uint16, torch.bool)


@pytest.mark.parametrize("dtype", WEIGHTS + OTHERS)
def test_weights_are_the_dtypes_that_can_be_shared(dtype):
    model = nn.Module()
    model.register_buffer("x", torch.zeros(2, dtype=dtype))
    (target,) = targets_of(model)
    assert target.floating == (dtype in WEIGHTS)


def test_tensors_of_a_checkpoint_have_its_order_and_no_places():
    tensors = {
        dtype: DenseTensor.of_bytes(dtype, (2, 1), np.zeros(size_bytes(dtype, (2, 1)), np.uint8)) for dtype in STORAGE
    }
    found = targets_of(tensors)
    assert [target.name for target in found] == list(STORAGE)
    assert [target.name for target in found if target.floating] == list(WEIGHT_DTYPES)
    assert {(target.trained, target.places, target.shape) for target in found} == {(None, (), (2, 1))}


def test_plain_modules_omit_the_insides_of_parametrizations():
    model = make("twice")
    dc.prune(model, EVERYTHING)
    assert [name for name, _ in plain_modules(model)] == ["", "first", "second"]


@pytest.mark.parametrize(("name", "module"), [("a.b.weight", "a.b"), ("fc.bias", "fc"), ("table", "")])
def test_the_module_of_a_tensor_is_all_but_the_last_part_of_its_name(name, module):
    assert module_name(name) == module


def test_targets_of_a_checkpoint_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; from deepcompression.recipe.targets import targets_of; targets_of({})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("lazy", [nn.LazyLinear(4), nn.LazyConv2d(3, 3), nn.Sequential(nn.LazyBatchNorm1d())])
def test_a_lazy_module_is_called_once_before(lazy):
    with pytest.raises(ValueError, match=r"of Lazy\w+ has no shape yet: .* call the model once, then try again"):
        targets_of(lazy)
