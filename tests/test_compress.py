"""The stages in their order: save and load in every stage, all in one call, checkpoints without torch, and back."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from models import MODELS, assert_same, bits, dense, example, make, snapshot, train_step
from torch import nn
from torch.nn.utils import parametrizations

import deepcompression as dc
from deepcompression import Encode, Gradual, Prune, Recipe, Rounds, Rule, Share
from deepcompression.codebook import CODEBOOKS
from deepcompression.criteria import CRITERIA
from deepcompression.encode import CODERS
from deepcompression.model import read_model, to_torch
from deepcompression.tensor import CompressedTensor, DenseTensor

RULE = Rule(tensor="*", prune=Prune(density=0.4), share=Share(bits=2))
RECIPE = Recipe(rules=[RULE])
MATRICES = Recipe(rules=[Rule(module="*", prune=Prune(density=0.4), share=Share(bits=2))])
STAGES = {
    "dense": [],
    "pruned": [dc.prune],
    "shared": [dc.share],
    "pruned and shared": [dc.prune, dc.share],
    "mixed": [dc.prune, lambda model, recipe: dc.share(model, MATRICES)],
    "final": [dc.prune, dc.share, lambda model, recipe: dc.finalize(model)],
}


def to_stage(model, stage):
    for change in STAGES[stage]:
        change(model, RECIPE)
    return model


def step_of(kind):
    """A caller's training: two steps of SGD, made anew for the parameters of the stage."""

    def train(model, step):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(2):
            train_step(model, optimizer, example(kind))
            step()

    return train


# save and load


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", MODELS)
def test_what_is_loaded_is_bit_for_bit_what_was_saved(kind, stage, tmp_path):
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
    model.register_buffer("z", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(ValueError, match=r"z is a torch\.strided tensor of torch\.complex128, which cannot be stored"):
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
def test_damage_anywhere_leaves_the_model_as_it_was(stage, tmp_path):
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
def test_a_final_model_is_plain_gives_the_same_outputs_and_can_begin_again(kind, stage):
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


def test_finalize_refuses_what_stands_on_top_of_a_mask():
    model = to_stage(make("mlp"), "pruned")
    nn.utils.parametrize.register_parametrization(model[4], "weight", nn.Tanh())
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"4\.weight is parametrized by Mask, Tanh: make it plain first"):
        dc.finalize(model)
    assert_same(snapshot(model), before)


# all in one call

SCHEDULES = {"one-shot": dc.OneShot(), "rounds": Rounds(rounds=3), "gradual": Gradual(end=2)}


def by_hand(model, recipe, train):
    pruner = dc.prune(model, recipe)
    train(model, pruner.step if recipe.schedule.kind == "gradual" else lambda: None)
    while recipe.schedule.kind == "rounds" and not pruner.done:
        pruner.step()
        train(model, lambda: None)
    dc.share(model, recipe)
    train(model, lambda: None)
    return model


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("kind", MODELS)
def test_one_call_is_the_stages_by_hand(kind, name, tmp_path):
    recipe = RECIPE.model_copy(update={"schedule": SCHEDULES[name]})
    model = make(kind)
    report = dc.compress(model, recipe, train=step_of(kind), path=tmp_path / "m.dcz")
    expected = by_hand(make(kind), recipe, step_of(kind))
    assert_same(model.state_dict(), expected.state_dict())
    assert_same(dense(dc.load(tmp_path / "m.dcz", into=make(kind, seed=1))), dense(expected))
    assert report.file_bytes == (tmp_path / "m.dcz").stat().st_size


def test_without_a_path_the_same_file_is_only_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = dc.compress(make("mlp"), RECIPE)
    assert not list(tmp_path.iterdir())
    assert report.file_bytes == dc.compress(make("mlp"), RECIPE, path="m.dcz").file_bytes
    assert [file.name for file in tmp_path.iterdir()] == ["m.dcz"]


def test_training_is_called_after_each_pruning_and_after_sharing():
    calls = []
    recipe = RECIPE.model_copy(update={"schedule": Rounds(rounds=3)})

    def train(model, step):
        calls.append((round(float((model[0].weight != 0).float().mean()), 2), "codes" in "".join(model.state_dict())))
        step()

    dc.compress(make("mlp"), recipe, train=train)
    assert calls == [(0.74, False), (0.54, False), (0.4, False), (0.4, True)]


def test_the_model_is_measured_before_and_after():
    report = dc.compress(make("mlp"), RECIPE, evaluate=lambda model: float((model[0].weight != 0).float().mean()))
    assert (report.before, report.after) == (1.0, pytest.approx(0.4))


def test_a_recipe_may_only_share_or_only_prune_or_only_encode():
    for part, stage in (
        ({"prune": RULE.prune}, "pruned"),
        ({"share": RULE.share}, "shared"),
        ({"encode": Encode()}, "dense"),
    ):
        model = make("mlp")
        dc.compress(model, Recipe(rules=[Rule(tensor="*", **part)]))
        assert_same(model.state_dict(), to_stage(make("mlp"), stage).state_dict())


@pytest.mark.parametrize("train", [None, lambda model, step: step()])
def test_training_that_is_too_short_for_the_schedule_is_an_error(train, tmp_path):
    recipe = RECIPE.model_copy(update={"schedule": Gradual(end=5)})
    with pytest.raises(ValueError, match=r"training called step\(\) [01] times, the schedule ends at 5: train longer"):
        dc.compress(make("mlp"), recipe, train=train, path=tmp_path / "m.dcz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SCHEDULES)
def test_an_optional_rule_that_prunes_nothing_ends(name):
    rules = [Rule(module="x", optional=True, prune=Prune(density=0.1)), Rule(module="*", share=Share(bits=2))]
    dc.compress(make("mlp"), Recipe(rules=rules, schedule=SCHEDULES[name]))


def test_a_folder_that_is_not_there_is_found_before_training(tmp_path):
    model = make("mlp")
    before = snapshot(model)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        dc.compress(model, RECIPE, train=lambda model, step: pytest.fail("trained"), path=tmp_path / "no" / "m.dcz")
    assert_same(snapshot(model), before)


# checkpoints


def tensors_of(model):
    """A checkpoint of the model: its tensors without ties."""
    return {name: tensor for name, tensor in read_model(model).items() if isinstance(tensor, DenseTensor)}


def rules_by_name(model, **parts):
    """What `tensor: "*"` means for a model, whose buffers a checkpoint cannot tell from parameters."""
    names = {name for name, _ in model.named_parameters()}
    return [Rule(where=lambda target: target.name in names, **parts)]


PRUNES = [Prune(criterion=name, **{row.amount: 0.6}) for name, row in CRITERIA.items()]
SHARES = [Share(bits=2, init=name) for name in CODEBOOKS]
PARTS = [
    *({"prune": prune} for prune in PRUNES),
    *({"share": share} for share in SHARES),
    {"prune": PRUNES[0], "share": SHARES[0]},
]


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_checkpoint_is_compressed_as_a_model_is(kind, parts):
    model = make(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.reshape(-1)[:2] = -0.0
    recipe = Recipe(rules=rules_by_name(model, **parts), seed=2)
    found = dc.compress_tensors(tensors_of(copy.deepcopy(model)), recipe)
    if "prune" in parts:
        dc.prune(model, recipe)
    if "share" in parts:
        dc.share(model, recipe)
    expected, read = dense(model), read_model(model)
    for name, tensor in found.items():
        assert bits(to_torch(tensor.dense())) == bits(expected[name]), name
        assert type(tensor) is type(read[name])
        if isinstance(tensor, CompressedTensor):
            for part in ("codebook", "codes", "positions"):
                assert getattr(tensor, part).tobytes() == getattr(read[name], part).tobytes()


def test_tensors_without_a_rule_are_given_back_as_they_are():
    tensors = tensors_of(make("conv-net"))
    found = dc.compress_tensors(tensors, Recipe(rules=[Rule(module="fc", share=Share(bits=2)), Rule(module="conv1")]))
    assert list(found) == list(tensors)
    assert [name for name in tensors if found[name] is not tensors[name]] == ["fc.weight"]


@pytest.mark.parametrize("parts", [{"prune": Prune(density=0.5)}, {"share": Share(bits=2)}])
def test_nan_in_a_checkpoint_is_refused_by_name(parts):
    model = make("mlp")
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"4\.weight.* has 1 weights that are NaN"):
        dc.compress_tensors(tensors_of(model), Recipe(rules=[Rule(module="*", **parts)]))


def test_a_rule_that_matches_nothing_in_a_checkpoint_is_refused():
    with pytest.raises(ValueError, match=r"rule 1 \(module: x\) matches nothing"):
        dc.compress_tensors(tensors_of(make("mlp")), Recipe(rules=[Rule(module="x")]))


def test_a_recipe_may_be_named_by_its_file_or_preset(tmp_path):
    recipe = dc.Recipe(rules=(dc.Rule(module="*", prune=dc.Prune(density=0.5), share=dc.Share(bits=2)),))
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    files = []
    for named in (recipe, path, str(path)):
        model = make("mlp")
        dc.prune(model, named)
        dc.share(model, named)
        dc.save(model, tmp_path / "model.dcz", named)
        files.append((tmp_path / "model.dcz").read_bytes())
        dc.compress(make("mlp"), named, path=tmp_path / "model.dcz")
        files.append((tmp_path / "model.dcz").read_bytes())
    assert len(set(files)) == 1
    assert dc.compress(make("mlp"), "share-8bit").rows[0].weights == 240
    with pytest.raises(FileNotFoundError, match="no recipe file nowhere"):
        dc.prune(make("mlp"), "nowhere")
