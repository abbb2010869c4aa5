"""Files and models whose names do not quite agree: ties, unsaved buffers, prefixes; and loads that fail half-way."""

import warnings

import numpy as np
import pytest
import torch
from models import assert_same, make, snapshot
from torch import nn

import deepcompression as dc
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor
from deepcompression.training.model_tensors import read_model


def saved(tensors, folder):
    path = folder / "m.dcz"
    made = {name: each if isinstance(each, tuple) else DenseTensor.from_numpy(each) for name, each in tensors.items()}
    save_tensors(path, made)
    return path


def arrays(model):
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def notes_of(path, into, **options):
    """Loads, and returns what is said about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dc.load(path, into=into, **options)
    assert all(each.filename == __file__ for each in caught)
    return [str(each.message).removeprefix(f"{path}: ") for each in caught]


def refused(path, model, message, **options):
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        dc.load(path, into=model, **options)
    assert_same(snapshot(model), before)


class Saves(nn.Module):
    """A layer with a buffer that is not saved."""

    def __init__(self, prefix=None):
        super().__init__()
        self.fc = nn.Linear(4, 6)
        self.register_buffer("positions", torch.arange(5), persistent=False)


# --- tied names


@pytest.mark.parametrize("name", ["embedding.weight", "output.weight"])
def test_a_file_may_have_a_tied_weight_under_one_of_its_names(name, tmp_path):
    model = make("tied")
    found = arrays(model)
    del found[name]
    other = make("tied", seed=1)
    assert notes_of(saved(found, tmp_path), other) == []
    assert_same(snapshot(other), snapshot(model))
    assert other.output.weight is other.embedding.weight


def test_all_names_of_a_tied_weight_may_not_be_missing(tmp_path):
    path = saved({"output.bias": np.zeros(11, np.float32)}, tmp_path)
    refused(path, make("tied"), r"embedding\.weight is missing in the file; strict=False takes what fits$")


def test_a_tied_name_that_the_model_lacks_takes_nothing_away(tmp_path):
    dc.save(make("tied"), tmp_path / "m.dcz")
    other = nn.ModuleDict({"output": nn.Linear(8, 11)})
    assert notes_of(tmp_path / "m.dcz", other) == []
    assert torch.equal(other["output"].weight, make("tied").output.weight)


# --- unsaved buffers


@pytest.mark.parametrize("name", ["positions", "fc.positions"])
def test_a_buffer_that_the_model_no_longer_saves_is_left_out_and_named(name, tmp_path):
    path = saved({**arrays(Saves()), name: np.arange(5)}, tmp_path)
    model = Saves()
    model.positions += 1
    note = f"these tensors of the file have no place in the model, and are left out: {name}"
    assert notes_of(path, model) == [note]
    assert model.positions.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("name", "array"), [("fc.positions", np.arange(6)), ("extra", np.arange(5))])
def test_other_tensors_without_a_place_are_refused(name, array, tmp_path):
    path = saved({**arrays(Saves()), name: array}, tmp_path)
    refused(path, Saves(), f"{name} is not in the model; strict=False takes what fits$")


def test_what_a_model_declares_as_transformers_does_is_its_own_business(tmp_path):
    model = Saves()
    model._keys_to_ignore_on_load_unexpected = [r"\.masked_bias$"]
    model._keys_to_ignore_on_load_missing = ["bias"]
    path = saved({"fc.weight": model.fc.weight.detach().numpy(), "h.0.masked_bias": np.zeros(1)}, tmp_path)
    assert [note.split(": ")[-1] for note in notes_of(path, model)] == ["h.0.masked_bias", "fc.bias"]
    refused(path, Saves(), "fc.bias is missing in the file; h.0.masked_bias is not in the model")


# --- strict


def test_without_strict_what_fits_is_taken_and_the_rest_is_named(tmp_path):
    path = saved({"fc.weight": np.ones((6, 4), np.float32), "head": np.zeros(3)}, tmp_path)
    model = Saves()
    bias = model.fc.bias.detach().clone()
    assert notes_of(path, model, strict=False) == [
        "these tensors of the file have no place in the model, and are left out: head",
        "these tensors of the model are not in the file, and keep their values: fc.bias",
    ]
    assert torch.equal(model.fc.weight, torch.ones(6, 4))
    assert torch.equal(model.fc.bias, bias)


def test_without_strict_shapes_must_fit_all_the_same(tmp_path):
    refused(
        saved({"fc.weight": np.ones((6, 5), np.float32)}, tmp_path), Saves(), r"fc\.weight is \[6, 5\]", strict=False
    )


# --- prefixes


@pytest.mark.parametrize("prefix", ["bert.", "model.decoder.", "module."])
def test_a_prefix_is_added_or_left_out_and_named(prefix, tmp_path):
    model = make("conv-net")
    longer = {f"{prefix}{name}": array for name, array in arrays(model).items()}
    other = make("conv-net", seed=1)
    note = f"its names are taken without the prefix {prefix!r}"
    assert notes_of(saved(longer, tmp_path), other) == [note]
    assert_same(snapshot(other), snapshot(model))
    inner = around = make("conv-net", seed=2)
    for part in reversed(prefix.removesuffix(".").split(".")):
        around = nn.ModuleDict({part: around})
    assert notes_of(saved(arrays(model), tmp_path), around) == [f"its names are taken with the prefix {prefix!r}"]
    assert_same(snapshot(inner), snapshot(model))


def test_a_prefix_is_not_chosen_among_several(tmp_path):
    found = {f"{tower}.{name}": array for tower in ("text", "image") for name, array in arrays(make("mlp")).items()}
    refused(saved(found, tmp_path), make("mlp"), r"0\.weight is missing in the file")


def test_names_that_agree_stay_as_they_are(tmp_path):
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.ModuleDict({"a": nn.Linear(3, 3)})})
    other = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.ModuleDict({"a": nn.Linear(3, 3)})})
    assert notes_of(saved(arrays(model), tmp_path), other) == []
    assert_same(snapshot(other), snapshot(model))


# --- without memory


def test_a_model_on_meta_is_filled_and_ties_stay_ties(tmp_path):
    model = make("tied")
    model.output.bias.requires_grad_(False)
    dc.save(model, tmp_path / "m.dcz")
    with torch.device("meta"):
        other = make("tied", seed=1)
    other.output.bias.requires_grad_(False)
    dc.load(tmp_path / "m.dcz", into=other)
    assert_same(snapshot(other), snapshot(model))
    assert other.output.weight is other.embedding.weight
    assert [p.requires_grad for p in other.parameters()] == [True, False]


# --- failures half-way


class HalfwayError(Exception):
    pass


@pytest.mark.parametrize("kind", ["mlp", "tied", "conv-net"])
def test_a_failure_while_the_model_is_filled_leaves_it_as_it_was(kind, tmp_path, monkeypatch):
    from deepcompression.training import filling

    path = saved(arrays(make(kind, seed=1)), tmp_path)
    for last in range(len(set(read_model(make(kind)))) - (kind == "tied")):
        model, calls = make(kind), []

        def fill(tensor, values, calls=calls, last=last):
            calls.append(tensor)
            tensor.detach().copy_(values)
            if len(calls) > last:
                raise HalfwayError

        monkeypatch.setattr(filling, "fill", fill)
        before = snapshot(model)
        with pytest.raises(HalfwayError):
            dc.load(path, into=model)
        assert len(calls) == last + 1
        assert_same(snapshot(model), before)


def test_memory_that_cannot_be_written_leaves_the_model_as_it_was(tmp_path):
    def expanded():
        model = make("mlp")
        model[4].bias = nn.Parameter(torch.zeros(1).expand(4))
        return model

    path = saved(arrays(make("mlp", seed=1)), tmp_path)
    refused(path, expanded(), r"4\.bias cannot be filled: .*")


class Overlapping(nn.Module):
    """Two views of one memory, of which so many elements are the same."""

    def __init__(self, common, step=1):
        super().__init__()
        flat = torch.randn(40, generator=torch.Generator().manual_seed(0))
        self.first = nn.Parameter(flat[:16].detach())
        self.second = nn.Parameter(flat[16 - common : 32 - common : step].detach())
        self.third = nn.Parameter(torch.zeros(3))


def test_overlapping_memory_is_filled_if_the_values_agree(tmp_path):
    model, other = Overlapping(4), Overlapping(4)
    with torch.no_grad():
        model.first += 1
        model.second += 1
    dc.load(saved(arrays(model), tmp_path), into=other)
    assert_same(snapshot(other), snapshot(model))


def test_overlapping_memory_whose_values_differ_is_refused_and_stays(tmp_path):
    found = arrays(Overlapping(0))
    refused(saved(found, tmp_path), Overlapping(4), r"first overlaps other tensors of the model in memory, but differs")


def test_memory_that_alternates_does_not_overlap(tmp_path):
    def comb():
        flat = torch.arange(20.0)
        return nn.ParameterList([flat[::2].detach(), flat[1::2].detach()])

    model = comb()
    with torch.no_grad():
        model[1].mul_(3)
    other = comb()
    dc.load(saved(arrays(model), tmp_path), into=other)
    assert_same(snapshot(other), snapshot(model))
