"""Pruning that torch.nn.utils.prune left unfinished: masks are applied, in files and in live modules."""

import numpy as np
import pytest
import torch
from cases import dense
from torch import nn
from torch.nn.utils import prune

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint, recognise, write_tensors
from deepcompression.checkpoint.other_tools import PRUNE
from deepcompression.file.reader import DczFile
from deepcompression.tensors.from_torch import from_torch
from deepcompression.tensors.tensor import DenseTensor
from tests.checkpoint.test_other_tools import recognised

FLOAT = "F32"
HALVED = dc.Recipe.model_validate({"version": 1, "rules": [{"module": "*", "prune": {"density": 0.5}}]})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def pruned_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    prune.l1_unstructured(model[0], "weight", 0.7)
    prune.random_unstructured(model[2], "bias", 2)
    return model


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_masks_of_torch_are_applied(tmp_path, suffix):
    model = pruned_model()
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        write_tensors(path, {name: from_torch(name, value) for name, value in model.state_dict().items()}, {})
    model(torch.zeros(1, 20))
    with recognise(open_checkpoint(path)) as source:
        assert set(source.entries) == {"0.weight", "0.bias", "2.weight", "2.bias"}
        for name, entry in source.entries.items():
            expected = model.get_parameter(name) if name in ("0.bias", "2.weight") else None
            expected = getattr(model[int(name[0])], name[2:]) if expected is None else expected
            assert entry.shape == tuple(expected.shape)
            assert np.array_equal(source.read(name).numpy(), expected.detach().numpy())
        (found,) = source.recognised
        assert found.kind == PRUNE
        assert set(found.tensors) == {"0.weight_orig", "0.weight_mask", "2.bias_orig", "2.bias_mask"}
        assert (
            found.what
            == "2 tensors are pruned by torch.nn.utils.prune, unfinished (0.weight, 2.bias): masks are applied."
        )
        assert source.exact == set()


def test_what_is_pruned_is_zero_without_a_sign_whatever_it_was(path):
    values = np.array([-1, np.nan, np.inf, -2], "<f4")
    tensors = {"w_orig": values, "w_mask": np.array([0, 0, 0, 1], "<f4")}
    write_tensors(path, {name: DenseTensor(FLOAT, array) for name, array in tensors.items()}, {})
    with recognise(open_checkpoint(path)) as source:
        assert source.read("w").elements.tobytes() == np.array([0, 0, 0, -2], "<f4").tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64", "BOOL", "U8"])
def test_masks_are_of_any_dtype(path, dtype):
    one = {"F32": 1, "F16": 1, "F64": 1, "BF16": 0x3F80, "BOOL": 1, "U8": 1}[dtype]
    mask = DenseTensor(dtype, (np.arange(6) % 2 * one).astype(dense(dtype, (6,)).elements.dtype))
    write_tensors(path, {"w_orig": dense("BF16", (6,)), "w_mask": mask}, {})
    with recognise(open_checkpoint(path)) as source:
        assert np.array_equal(source.read("w").elements, dense("BF16", (6,)).elements * (np.arange(6) % 2))


@pytest.mark.parametrize(
    "change",
    [
        {"w_mask": DenseTensor(FLOAT, np.full(6, 0.5, "<f4"))},
        {"w_mask": DenseTensor(FLOAT, np.full(6, np.nan, "<f4"))},
        {"w_mask": DenseTensor(FLOAT, np.array([0, 1, 1, 2, 0, 1], "<f4"))},
        {"w_mask": DenseTensor(FLOAT, np.ones(5, "<f4"))},
        {"w_mask": DenseTensor("I64", np.ones(6, "<i8"))},
        {"w_orig": DenseTensor("I8", np.ones(6, "i1"))},
        {"w": DenseTensor(FLOAT, np.ones(6, "<f4"))},
    ],
)
def test_what_only_looks_like_pruning_is_left_alone(path, change):
    tensors = {"w_orig": dense(FLOAT, (6,)), "w_mask": DenseTensor(FLOAT, np.ones(6, "<f4"))} | change
    assert recognised(path, tensors) == ({}, set())


def test_masks_of_others_parametrizations_are_left_alone(path):
    tensors = {
        "fc.parametrizations.weight.original": dense(FLOAT, (6, 4)),
        "fc.parametrizations.weight.0.mask": DenseTensor("BOOL", np.ones((6, 4), "u1")),
    }
    assert recognised(path, tensors) == ({}, set())


def test_ties_hold_where_masks_are_tied_and_only_there(tmp_path):
    weight, ones = torch.randn(4, 4), torch.ones(4, 4)
    state = {"a_orig": weight, "a_mask": ones, "b_orig": weight, "b_mask": ones, "c": weight, "d": weight}
    state |= {"e_orig": weight, "e_mask": torch.eye(4)}
    torch.save(state, tmp_path / "m.pt")
    with recognise(open_checkpoint(tmp_path / "m.pt")) as source:
        ties = {name: entry.tied_to for name, entry in source.entries.items()}
        assert ties == {"a": None, "b": "a", "c": None, "d": "c", "e": None}
        assert np.array_equal(source.read("d").numpy(), weight.numpy())
        assert np.array_equal(source.read("e").numpy(), (weight * torch.eye(4)).numpy())


# in a live module


def test_a_pruned_module_is_saved_with_its_masks_applied_under_plain_names(tmp_path):
    model = pruned_model()
    with torch.no_grad():
        # as after a step of an optimizer: the attribute `weight` is older
        model[0].weight_orig.mul_(2)
    dc.save(model, tmp_path / "m.dcz")
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = dc.load(tmp_path / "m.dcz", into=nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)))
    assert torch.equal(loaded[0].weight, expected["0.weight_orig"] * expected["0.weight_mask"])
    assert torch.equal(loaded[2].bias, expected["2.bias_orig"] * expected["2.bias_mask"])
    assert torch.equal(loaded[0].bias, expected["0.bias"])
    x = torch.randn(4, 20)
    assert torch.equal(loaded(x), model(x))
    assert {name: tensor.tolist() for name, tensor in model.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }


def test_several_prunings_of_one_weight_and_a_module_under_two_names_are_saved(tmp_path):
    layer = nn.Linear(6, 6)
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.ln_structured(layer, "weight", 2, n=2, dim=0)
    prune.identity(layer, "bias")
    dc.save(nn.Sequential(layer, nn.ReLU(), layer), tmp_path / "m.dcz")
    with DczFile(tmp_path / "m.dcz") as file:
        assert {name: entry.tied_to for name, entry in file.entries.items()} == {
            "0.weight": None,
            "2.weight": "0.weight",
            "0.bias": None,
            "2.bias": "0.bias",
        }
        assert np.array_equal(file["0.weight"], layer.weight.detach().numpy())


def test_a_weight_tied_under_two_masks_is_saved_as_two(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    prune.random_unstructured(model[0], "weight", 5)
    prune.random_unstructured(model[1], "weight", 7)
    dc.save(model, tmp_path / "m.dcz")
    arrays = dc.load_tensors(tmp_path / "m.dcz")
    assert [np.count_nonzero(arrays[name] == 0) for name in ("0.weight", "1.weight")] == [5, 7]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: dc.share(model, "share-8bit"),
        lambda model: dc.prune(model, HALVED),
        lambda model: dc.run(model),
    ],
)
def test_other_stages_refuse_a_pruned_module_with_the_remedy(change):
    model = pruned_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"0.weight is pruned by torch.nn.utils.prune: make it plain first"):
        change(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_mask_of_other_numbers_is_refused(tmp_path):
    model = pruned_model()
    model[0].weight_mask.fill_(0.5)
    with pytest.raises(ValueError, match=r"0.weight_mask has values other than 0 and 1"):
        dc.save(model, tmp_path / "m.dcz")
