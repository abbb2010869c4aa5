"""Checkpoints from the middle of training: masks and codebooks are applied, and the file fits the plain model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import MODELS, assert_same, dense, make
from safetensors.torch import save_file
from stages import to_stage
from torch import nn
from torch.nn.utils import prune

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint, recognise
from deepcompression.common.binary import FormatError
from deepcompression.convert.to_dcz import compress_checkpoint

ALL = dc.Rule(tensor="*", prune=dc.Prune(density=0.4), share=dc.Share(bits=2))


def loaded(path, into):
    """A plain model with the tensors of a checkpoint, by way of a `.dcz` file; and the notes on the checkpoint."""
    file = path.with_suffix(".dcz")
    with recognise(open_checkpoint(path)) as source:
        notes = source.notes
        compress_checkpoint(source, file)
    return dc.load(file, into=into), notes


def same(model, expected):
    found = model.state_dict()
    assert_same({name: found[name] for name in sorted(found)}, {name: expected[name] for name in sorted(expected)})


@pytest.mark.parametrize("stage", ["pruned", "shared", "pruned and shared", "mixed"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_checkpoint_of_every_stage_fits_the_plain_model(tmp_path, kind, stage):
    model = to_stage(make(kind), stage)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    other, notes = loaded(tmp_path / "m.pt", make(kind))
    same(other, dense(model))
    assert notes[0].endswith("): masks and codebooks are applied.")
    assert "tensors are pruned or shared, unfinished (" in notes[0]


@pytest.mark.parametrize("grid", ["int8", "int16"])
def test_centroids_are_rounded_to_their_grid(tmp_path, grid):
    model = make("mlp")
    rule = dc.Rule(module="*", share=dc.Share(bits=3, codebook_grid=grid))
    dc.share(model, dc.Recipe(rules=[rule]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.0123)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    assert_same(loaded(tmp_path / "m.pt", make("mlp"))[0].state_dict(), dense(model))


def test_what_is_under_a_mask_is_zero_whatever_it_is(tmp_path):
    model = to_stage(make("mlp"), "pruned")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[parameter == 0] = float("nan")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    assert_same(loaded(tmp_path / "m.pt", make("mlp"))[0].state_dict(), dense(model))


def wrapped_by_ddp(model):
    return {f"module.{name}": tensor for name, tensor in model.state_dict().items()}


WAYS = {
    "compiled": lambda model: torch.compile(model, backend="eager").state_dict(),
    "parallel": wrapped_by_ddp,
    "under a name": lambda model: {"model": model.state_dict(), "epoch": 3},
    "under two names": lambda model: {"state_dict": {"model": wrapped_by_ddp(model)}, "lr": 0.1},
}


@pytest.mark.parametrize("stage", ["pruned", "shared"])
@pytest.mark.parametrize("way", WAYS)
def test_wrappers_leave_nothing_in_the_names(tmp_path, way, stage):
    model = to_stage(make("conv-net"), stage)
    torch.save(WAYS[way](model), tmp_path / "m.pt")
    other, notes = loaded(tmp_path / "m.pt", make("conv-net"))
    assert_same(other.state_dict(), dense(model))
    named = [note for note in notes if "names are those of the model without its wrappers" in note]
    assert len(named) == (way != "under a name")


@pytest.mark.parametrize("stage", ["pruned", "shared"])
def test_safetensors_hold_stages_too(tmp_path, stage):
    model = to_stage(make("mlp"), stage)
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    assert_same(loaded(tmp_path / "m.safetensors", make("mlp"))[0].state_dict(), dense(model))


def test_ties_stay(tmp_path):
    model = to_stage(make("tied"), "shared")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with recognise(open_checkpoint(tmp_path / "m.pt")) as source:
        assert {name: entry.tied_to for name, entry in source.entries.items()}["output.weight"] == "embedding.weight"


def test_masks_of_torch_are_applied_beside_ours(tmp_path):
    model = make("mlp")
    dc.prune(model, dc.Recipe(rules=[dc.Rule(module="0", prune=dc.Prune(density=0.4))]))
    prune.l1_unstructured(model[2], "weight", 0.5)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    prune.remove(model[2], "weight")
    other, notes = loaded(tmp_path / "m.pt", make("mlp"))
    # torch's own product has negative zeros
    for name, weight in dense(model).items():
        assert torch.equal(other.state_dict()[name], weight)
    assert len(notes) == 2


def test_a_finished_weight_can_be_pruned_further(tmp_path):
    model = to_stage(make("mlp"), "shared")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with recognise(open_checkpoint(tmp_path / "m.pt")) as source:
        rule = dc.Rule(tensor="0.weight", prune=dc.Prune(density=0.1))
        compress_checkpoint(source, tmp_path / "m.dcz", dc.Recipe(rules=[rule]))
    assert np.count_nonzero(dc.load_tensors(tmp_path / "m.dcz")["0.weight"]) == 24


def test_a_shared_weight_without_its_shape_is_refused_with_the_remedy(tmp_path):
    state = to_stage(make("mlp"), "shared").state_dict()
    torch.save({name: tensor for name, tensor in state.items() if not name.endswith(".size")}, tmp_path / "m.pt")
    with (
        open_checkpoint(tmp_path / "m.pt") as source,
        pytest.raises(ValueError, match=r"0\.weight .* shape: bring a new"),
    ):
        recognise(source)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("size", torch.tensor([1 << 62, 1 << 62])),
        ("size", torch.tensor([-1, 4])),
        ("size", torch.tensor([3.0])),
        ("size", torch.tensor([2, 2])),
        ("codes", torch.full((240,), 99, dtype=torch.uint8)),
        ("positions", torch.zeros(240, dtype=torch.int64)),
    ],
)
def test_damaged_parts_are_named(tmp_path, part, value):
    model = make("mlp")
    dc.share(model, dc.Recipe(rules=[dc.Rule(module="0", share=dc.Share(bits=2))]))
    torch.save(model.state_dict() | {f"0.parametrizations.weight.0.{part}": value}, tmp_path / "m.pt")
    with pytest.raises(FormatError, match=r"m\.pt: 0\."), recognise(open_checkpoint(tmp_path / "m.pt")) as source:
        source.read("0.weight")


@pytest.mark.parametrize(
    ("stage", "part", "flaw"),
    [
        ("pruned", "0.mask", "lacks 0.mask"),
        ("pruned", "0.step", "lacks 0.step"),
        ("pruned", "original", "lacks original"),
        ("shared", "0.codes", "lacks 0.codes"),
        ("shared", "0.positions", "lacks 0.positions"),
        ("shared", "original", "lacks original"),
    ],
)
def test_a_stage_without_all_its_parts_is_refused(tmp_path, stage, part, flaw):
    state = to_stage(make("mlp"), stage).state_dict()
    del state[f"0.parametrizations.weight.{part}"]
    torch.save(state, tmp_path / "m.pt")
    message = rf"m\.pt: 0\.weight is pruned or shared, unfinished, but {flaw}: save"
    with open_checkpoint(tmp_path / "m.pt") as source, pytest.raises(FormatError, match=message):
        recognise(source)


def test_a_stage_of_another_dtype_is_refused(tmp_path):
    state = to_stage(make("mlp"), "pruned").state_dict()
    key = "0.parametrizations.weight.0.mask"
    torch.save(state | {key: state[key].float()}, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as source, pytest.raises(FormatError, match="other dtypes or shapes"):
        recognise(source)


def test_a_parametrization_of_others_stays_in_its_parts(tmp_path):
    model = make("mlp")
    nn.utils.parametrizations.weight_norm(model[2])
    dc.prune(model, dc.Recipe(rules=[dc.Rule(module="0", prune=dc.Prune(density=0.4))]))
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with recognise(open_checkpoint(tmp_path / "m.pt")) as source:
        assert "2.parametrizations.weight.original1" in source.entries
        assert "0.weight" in source.entries


def test_a_checkpoint_without_a_size_is_loaded_and_resumed():
    """An older version stored none."""
    rules = dc.Recipe(rules=[ALL])
    model, other, third = make("mlp"), make("mlp"), make("mlp")
    for each in (model, other):
        dc.share(each, rules)
    with torch.no_grad():
        model[0].parametrizations.weight.original.add_(1)
    old = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(".size")}
    other.load_state_dict(old)
    dc.resume(third, old)
    assert_same(other.state_dict(), model.state_dict())
    assert_same(third.state_dict(), model.state_dict())


@pytest.mark.parametrize("make_model", [lambda: nn.Linear(80, 96), lambda: nn.MultiheadAttention(64, 4)])
def test_the_state_of_a_running_model_is_refused(make_model, tmp_path):
    """Its file would load nowhere."""
    from running_models import compressed

    torch.save(dc.run(compressed(make_model())).state_dict(), tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"m\.pt: .*weight is packed by dc\.run and has no dense weight: compress the"):
        recognise(open_checkpoint(tmp_path / "m.pt"))
