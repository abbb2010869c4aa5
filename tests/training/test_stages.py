"""The stages in their order: all in one call, and checkpoints without torch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from models import MODELS, assert_same, bits, dense, make, snapshot
from stages import RECIPE, RULE, step_of, to_stage

import deepcompression as dc
from deepcompression import Encode, Gradual, Prune, Recipe, Rounds, Rule, Share
from deepcompression.pruning.criteria import CRITERIA
from deepcompression.sharing.codebook import CODEBOOKS
from deepcompression.tensors.from_torch import to_torch
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor
from deepcompression.training.model_tensors import read_model

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
    with pytest.raises(
        ValueError, match=r"training called step\(\) (0 times|1 time), the schedule ends at 5: train longer"
    ):
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
    """The rule `tensor: "*"` of a model for its checkpoint, which does not mark buffers."""
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


def test_tensors_without_a_rule_are_returned_unchanged():
    tensors = tensors_of(make("conv-net"))
    found = dc.compress_tensors(tensors, Recipe(rules=[Rule(module="fc", share=Share(bits=2)), Rule(module="conv1")]))
    assert list(found) == list(tensors)
    assert [name for name in tensors if found[name] is not tensors[name]] == ["fc.weight"]


@pytest.mark.parametrize("parts", [{"prune": Prune(density=0.5)}, {"share": Share(bits=2)}])
def test_nan_in_a_checkpoint_is_refused_by_name(parts):
    model = make("mlp")
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"4\.weight.* has 1 weight that is NaN"):
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
