"""A model's tensors: read exactly, and compared with the entries of a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, bits, dense, make
from torch import nn
from torch.nn.utils import parametrizations
from torch.testing._internal.two_tensor import TwoTensor

import deepcompression as dc
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.dtypes import size_bytes
from deepcompression.tensors.entry import TensorEntry, Tie
from deepcompression.tensors.from_torch import DTYPE_NAMES, from_torch, to_torch
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor
from deepcompression.training.attach import original, parametrization
from deepcompression.training.model_tensors import check_fit, read_model

RECIPE = dc.Recipe(rules=[dc.Rule(tensor="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=2))])
STAGES = {"dense": [], "pruned": [dc.prune], "shared": [dc.share], "both": [dc.prune, dc.share]}


def entries(model):
    """The entries in the index of the model's file."""
    found = {}
    for name, tensor in read_model(model).items():
        own = read_model(model)[tensor.to] if isinstance(tensor, Tie) else tensor
        found[name] = TensorEntry(name, own.dtype, own.shape)
    return found


# torch counts pairs of F4, and a scalar is no pair
SHAPES_OF_DTYPES = [
    (dtype, shape)
    for dtype in DTYPE_NAMES.values()
    for shape in [(), (0,), (3, 0), (5,), (2, 3, 4)]
    if shape or dtype != "F4"
]


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
@pytest.mark.parametrize(("dtype", "shape"), SHAPES_OF_DTYPES)
def test_every_dtype_goes_to_torch_and_back_bit_for_bit(dtype, shape):
    pairs = (*shape[:-1], 2 * shape[-1]) if dtype == "F4" else shape
    raw = np.random.Generator(np.random.PCG64(1)).integers(0, 256, size_bytes(dtype, pairs), np.uint8)
    tensor = DenseTensor.of_bytes(dtype, pairs, raw % 2 if dtype == "BOOL" else raw)
    there = to_torch(tensor)
    assert tuple(there.shape) == shape
    back = from_torch("x", there)
    assert back.dtype == dtype
    assert back.elements.tobytes() == tensor.elements.tobytes()
    assert back.shape == pairs
    assert isinstance(back.numpy(), np.ndarray)


def test_a_tensor_made_of_others_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"x is a TwoTensor, which is made of other tensors: make it dense first"):
        from_torch("x", TwoTensor(torch.ones(3), torch.ones(3)))


def test_a_tensor_for_torch_has_memory_of_its_own():
    elements = np.ones(3, np.float32)
    to_torch(DenseTensor("F32", elements)).zero_()
    assert elements.all()


def test_strides_do_not_matter():
    weight = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    np.testing.assert_array_equal(from_torch("x", weight).elements, weight.numpy())
    image = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(from_torch("x", image).elements, image.numpy())


@pytest.mark.parametrize("tensor", [torch.zeros(2, dtype=torch.uint8).view(torch.bits8), torch.eye(3).to_sparse()])
def test_a_tensor_that_no_file_can_hold_is_refused_by_name(tensor):
    with pytest.raises(ValueError, match=r"fc\.weight is .*torch\.\w+.*, which cannot be stored; (view|make) it"):
        from_torch("fc.weight", tensor)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_every_tensor_is_read_bit_for_bit_as_its_stage_stores_it(kind, stage):
    model = make(kind)
    order = list(model.state_dict())
    for change in STAGES[stage]:
        change(model, RECIPE)
    tensors = read_model(model)
    assert sorted(tensors) == sorted(order)
    expected = dense(model)
    for target in targets_of(model):
        first = tensors[target.name]
        assert all(tensors[name] == Tie(target.name) for name in target.names[1:])
        shared = type(parametrization(target)).__name__ == "Codebook"
        assert isinstance(first, CompressedTensor if shared else DenseTensor)
        assert bits(to_torch(first.dense())) == bits(expected[target.name])


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_read_in_the_same_order_in_every_stage(kind):
    model = make(kind)
    order = list(read_model(model))
    for change in (dc.prune, dc.share):
        change(model, RECIPE)
        assert list(read_model(model)) == order
    assert list(read_model(dc.finalize(model))) == order


class WithState(nn.Linear):
    """A module with a state of its own beside its parameters."""

    def __init__(self, state):
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


@pytest.mark.parametrize("state", [{"a": 1}, torch.ones(2)])
def test_a_state_of_a_modules_own_is_refused_not_lost(state):
    with pytest.raises(ValueError, match=r"0\._extra_state is a \w+ of a module's own: a \.dcz file holds parameters"):
        read_model(nn.Sequential(WithState(state)))


def test_a_weight_that_others_parametrize_is_in_its_parts():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)))
    assert_same({name: to_torch(each) for name, each in read_model(model).items()}, model.state_dict())


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_fits_its_own_index(kind):
    model = make(kind)
    places = check_fit(model, entries(model), "x.dcz").places
    for target in targets_of(model):
        assert all(places[name] is original(target) for name in target.names)


def test_all_that_does_not_fit_is_listed():
    model, found = make("mlp"), entries(make("mlp"))
    found["0.weight"] = TensorEntry("0.weight", "F32", (20, 11))
    found["2.weight"] = TensorEntry("2.weight", "F16", (16, 20))
    found["fc.bias"] = found.pop("4.bias")
    with pytest.raises(ValueError, match=r"^x\.dcz does not fit the model: ") as error:
        check_fit(model, found, "x.dcz")
    assert str(error.value).split(": ", 1)[1].split("; ") == [
        "4.bias is missing in the file",
        "0.weight is [20, 11] of F32 in the file, [20, 12] of F32 in the model",
        "2.weight is [16, 20] of F16 in the file, [16, 20] of F32 in the model",
        "fc.bias is not in the model",
    ]


def test_the_remedy_for_another_dtype_is_named_and_works(tmp_path):
    path = tmp_path / "m.dcz"
    dc.save(make("mlp").half(), path)
    with pytest.raises(
        ValueError, match=r"in the model; the file is of another dtype: call model\.to\(torch\.float16\) first$"
    ):
        dc.load(path, into=make("mlp"))
    assert dc.load(path, into=make("mlp").to(torch.float16))[0].weight.dtype == torch.float16


def test_a_long_list_of_misfits_is_cut():
    with pytest.raises(ValueError, match=r"; and 4 more; strict=False takes what fits$"):
        check_fit(make("mlp"), {f"x{i}": TensorEntry(f"x{i}", "F32", ()) for i in range(6)}, "x.dcz")


@pytest.mark.parametrize("stage", [dc.prune, dc.share])
def test_a_model_that_is_still_in_a_stage_does_not_fit(stage):
    model = make("mlp")
    found = entries(model)
    stage(model, RECIPE)
    with pytest.raises(
        ValueError, match=r"0\.weight is still pruned or shared: load into a new model, or call finalize"
    ):
        check_fit(model, found, "x.dcz")


def test_what_is_missing_needs_memory():
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    found = entries(nn.Linear(2, 2))
    assert check_fit(model, found, "x.dcz").names == {"weight": "weight", "bias": "bias"}
    del found["bias"]
    with pytest.raises(ValueError, match=r"bias is not in the file, and has no memory \(device meta\)"):
        check_fit(model, found, "x.dcz", strict=False)


def test_reading_a_model_does_not_change_it():
    model = make("conv-net")
    dc.share(model, RECIPE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    read_model(model)
    assert_same(model.state_dict(), before)
