"""Models saved and loaded in every stage, tied weights, and back to a plain model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from models import MODELS, assert_same, bits, dense, example, make, snapshot
from stages import STAGES, step_of, to_stage
from torch import nn
from torch.nn.utils import parametrizations

import deepcompression as dc
from deepcompression import Encode, Prune, Recipe, Rule, Share
from deepcompression.coding.coders import CODERS


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_weights_are_loaded_bit_for_bit_as_saved(kind, stage, tmp_path):
    model = to_stage(make(kind), stage)
    if stage != "dense":
        step_of(kind)(model, lambda: None)
    before = snapshot(model)
    dc.save(model, tmp_path / "model.dcz")
    assert_same(snapshot(model), before)
    other = make(kind, seed=1)
    parameters = dict(other.named_parameters())
    assert dc.load(tmp_path / "model.dcz", into=other) is other
    assert_same(dense(other), dense(model))
    assert all(parameter is parameters[name] for name, parameter in other.named_parameters())
    assert bits(other.eval()(example(kind))) == bits(model.eval()(example(kind)))


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_has_the_same_bytes_in_its_stage_made_plain_and_loaded(kind, tmp_path):
    model = to_stage(make(kind), "pruned and shared")
    other = make(kind, seed=1)
    dc.save(model, tmp_path / "stage.dcz")
    dc.save(dc.load(tmp_path / "stage.dcz", into=other), tmp_path / "loaded.dcz")
    dc.save(dc.finalize(model), tmp_path / "plain.dcz")
    assert (tmp_path / "loaded.dcz").read_bytes() == (tmp_path / "stage.dcz").read_bytes()
    assert (tmp_path / "plain.dcz").read_bytes() == (tmp_path / "stage.dcz").read_bytes()


def test_a_negative_zero_and_the_bits_of_nan_are_kept(tmp_path):
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-0.0, 0.0, math.nan, -math.inf]]))
    dc.save(model, tmp_path / "m.dcz")
    assert_same(dc.load(tmp_path / "m.dcz", into=nn.Linear(4, 1)).state_dict(), model.state_dict())


def test_a_model_without_tensors_is_saved_and_loaded(tmp_path):
    dc.save(nn.ReLU(), tmp_path / "m.dcz")
    dc.load(tmp_path / "m.dcz", into=nn.ReLU())


@pytest.mark.parametrize("coder", CODERS)
def test_the_coder_of_the_recipe_is_used(coder, tmp_path):
    recipe = Recipe(rules=[Rule(module="*", share=Share(bits=2), encode=Encode(coder=coder))])
    model = make("mlp")
    dc.share(model, recipe)
    dc.save(model, tmp_path / "m.dcz", recipe)
    with dc.DczFile(tmp_path / "m.dcz") as file:
        assert {file.entries[f"{i}.weight"].coder for i in (0, 2, 4)} == {coder}
    assert_same(dense(dc.load(tmp_path / "m.dcz", into=make("mlp", seed=1))), dense(model))


def test_metadata_is_in_the_file(tmp_path):
    dc.save(make("mlp"), tmp_path / "m.dcz", metadata={"made by": "a test"})
    with dc.DczFile(tmp_path / "m.dcz") as file:
        assert file.metadata == {"made by": "a test"}


def test_a_tensor_that_cannot_be_stored_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.dcz"
    dc.save(make("mlp"), path)
    old = path.read_bytes()
    model = make("mlp")
    model.register_buffer("z", torch.eye(2).to_sparse())
    with pytest.raises(ValueError, match=r"z is a torch\.sparse_coo tensor, which cannot be stored; make it dense"):
        dc.save(model, path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["m.dcz"]


# files that do not fit


def refuse(path, model, error, message):
    before = snapshot(model)
    with pytest.raises(error, match=message):
        dc.load(path, into=model)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("stage", STAGES)
def test_another_model_is_refused_with_names_and_shapes(stage, tmp_path):
    path = tmp_path / "m.dcz"
    dc.save(to_stage(make("mlp"), stage), path)
    message = r"m\.dcz does not fit the model: conv1\.weight is missing in the file; .*; and \d+ more"
    refuse(path, make("conv-net"), ValueError, message)
    message = r"0\.weight is \[20, 12\] of F32 in the file, \[20, 12\] of F16 in the model; 0\.bias is \[20\] of F32"
    refuse(path, make("f16"), ValueError, message)
    refuse(path, to_stage(make("mlp"), "pruned"), ValueError, "is still pruned or shared")


@pytest.mark.parametrize("stage", STAGES)
def test_damage_anywhere_does_not_change_the_model(stage, tmp_path):
    path = tmp_path / "m.dcz"
    dc.save(to_stage(make("conv-net"), stage), path)
    good = path.read_bytes()
    for at in [*range(0, len(good), max(1, len(good) // 40)), len(good) - 1]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        refuse(path, make("conv-net", seed=1), dc.FormatError, r"m\.dcz")
        path.write_bytes(good[:at])
        refuse(path, make("conv-net", seed=1), dc.FormatError, r"m\.dcz")


def test_a_file_above_the_limit_is_refused(tmp_path):
    dc.save(make("mlp"), tmp_path / "m.dcz")
    with pytest.raises(dc.FormatError, match=r"the tensors take 2656 bytes when decoded, the limit is 2655"):
        dc.load(tmp_path / "m.dcz", make("mlp"), limit_bytes=2655)
    dc.load(tmp_path / "m.dcz", make("mlp"), limit_bytes=2656)


# ties


def untied():
    model = make("tied")
    model.output.weight = nn.Parameter(model.embedding.weight.detach().clone())
    return model


@pytest.mark.parametrize("stage", STAGES)
def test_a_tied_weight_is_stored_once(stage, tmp_path):
    dc.save(to_stage(make("tied"), stage), tmp_path / "m.dcz")
    with dc.DczFile(tmp_path / "m.dcz") as file:
        assert file.entries["output.weight"].tied_to == "embedding.weight"


def test_a_tied_file_fills_an_untied_model(tmp_path):
    model, other = to_stage(make("tied"), "shared"), untied()
    dc.save(model, tmp_path / "m.dcz")
    dc.load(tmp_path / "m.dcz", into=other)
    assert_same(dense(other), dense(model))
    assert other.output.weight is not other.embedding.weight


def test_an_untied_file_fills_a_tied_model_if_its_values_agree(tmp_path):
    model, other = untied(), make("tied", seed=1)
    dc.save(model, tmp_path / "m.dcz")
    dc.load(tmp_path / "m.dcz", into=other)
    assert_same(dense(other), dense(model))
    assert other.output.weight is other.embedding.weight


def test_an_untied_file_is_refused_if_its_values_differ(tmp_path):
    model = untied()
    with torch.no_grad():
        model.output.weight[-1, -1] += 1
    dc.save(model, tmp_path / "m.dcz")
    message = r"embedding\.weight and output\.weight are tied in the model, but differ in .*m\.dcz: untie them first"
    refuse(tmp_path / "m.dcz", make("tied"), ValueError, message)


# finalize


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_a_final_model_is_plain_with_the_same_outputs_and_can_begin_again(kind, stage):
    model, plain = to_stage(make(kind), stage), make(kind)
    values = dense(model)
    assert dc.finalize(model) is model
    assert list(model.state_dict()) == list(plain.state_dict())
    assert_same(dense(model), values)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    again = to_stage(copy.deepcopy(model), stage)
    if stage != "dense":
        assert any("parametrizations" in name for name in again.state_dict()) == (stage != "final")
    if kind == "tied":
        assert model.output.weight is model.embedding.weight


def test_finalize_leaves_the_parametrizations_of_others_alone():
    model = make("mlp")
    parametrizations.weight_norm(model[4])
    dc.prune(model, Recipe(rules=[Rule(module="0", prune=Prune(density=0.5))]))
    dc.finalize(model)
    assert [name for name in model.state_dict() if "parametrizations" in name] == [
        "4.parametrizations.weight.original0",
        "4.parametrizations.weight.original1",
    ]


def test_finalize_refuses_a_parametrization_on_top_of_a_mask():
    model = to_stage(make("mlp"), "pruned")
    nn.utils.parametrize.register_parametrization(model[4], "weight", nn.Tanh())
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight is parametrized by Mask, Tanh: make it plain first"):
        dc.finalize(model)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dc.prune("m", "share-8bit"),
        lambda: dc.share({"w": 1}, "share-8bit"),
        lambda: dc.save([nn.Linear(2, 2)], "m.dcz"),
        lambda: dc.load("m.dcz", into="m"),
        lambda: dc.dead_neurons(None),
        lambda: dc.explain("m"),
        lambda: dc.plan("m", [torch.zeros(2, 2)], target_ratio=2),
        lambda: dc.plan("m", target_ratio=2),
        lambda: dc.calibrate("m", "share-8bit", [torch.zeros(2, 2)]),
        lambda: dc.sensitivity("m", [torch.zeros(2, 2)]),
        lambda: dc.Recipe.load("share-8bit").explain("m"),
    ],
)
def test_what_is_no_model_is_refused_by_its_type(call):
    with pytest.raises(TypeError, match=r"a model is a torch.nn.Module; found a (str|dict|list|NoneType)$"):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda model: dc.resume(model, "m.pt", "paper"),
            "a state is a state_dict, as torch.load gives it; found a str",
        ),
        (lambda model: dc.compress(model, "paper", train=3), "train is a function; found a int"),
        (lambda model: dc.compress(model, "paper", evaluate=0.5), "evaluate is a function; found a float"),
        (lambda model: dc.compress_checkpoint("m.pt", "m.dcz"), r"open_checkpoint\(path\) returns; found a str"),
    ],
)
def test_other_arguments_are_refused_by_their_type_and_nothing_changes(call, words):
    model = make("mlp")
    before = snapshot(model)
    with pytest.raises(TypeError, match=words):
        call(model)
    assert_same(snapshot(model), before)


def test_what_is_no_recipe_is_refused_by_its_type():
    with pytest.raises(TypeError, match=r"a recipe is a Recipe, a path, or a preset's name; found a dict\. Recipe\."):
        dc.prune(nn.Linear(2, 2), {"rules": []})


def test_a_limit_that_is_no_number_is_refused_by_its_type(tmp_path):
    dc.save(nn.Linear(2, 2), tmp_path / "m.dcz")
    with pytest.raises(TypeError, match="limit_bytes is a positive number; found '1GB', a str"):
        dc.load(tmp_path / "m.dcz", into=nn.Linear(2, 2), limit_bytes="1GB")
    with pytest.raises(ValueError, match=r"m.pt has the name of a .pt file, and a .dcz file is written"):
        dc.save(nn.Linear(2, 2), tmp_path / "m.pt")
