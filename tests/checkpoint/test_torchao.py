"""Weights that torchao quantized: taken apart without loss, in files and models, and joined by torchao again."""

import json
import subprocess
import sys
import warnings

import pytest
import torch
from cases import content
from torch import nn

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint, recognise, torch_save, write_tensors
from deepcompression.checkpoint.torchao import parts_of
from deepcompression.file.reader import DczFile
from deepcompression.tensors.from_torch import to_torch

KINDS = ["Float8WeightOnlyConfig", "Int8WeightOnlyConfig", "Int8DynamicActivationIntxWeightConfig"]
HALVED = dc.Recipe.model_validate({"rules": [{"module": "*", "prune": {"density": 0.5}, "share": {"bits": 4}}]})


@pytest.fixture(scope="module")
def ao():
    """torchao; its warnings are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torchao")
        import torchao.prototype.safetensors.safetensors_support as support
        import torchao.quantization as quantization
    return quantization, support


def quantized(ao, kind, tied=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 64, dtype=torch.bfloat16), nn.ReLU(), nn.Linear(64, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ao[0].quantize_(model[:1], getattr(ao[0], kind)())
    if tied:
        model.append(model[0])
    return model


def bits(tensor):
    """Of a tensor and of all that it is made of."""
    if hasattr(tensor, "__tensor_flatten__"):
        return {name: bits(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0]}
    return tensor.dtype, tensor.shape, tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


def put_together(ao, tensors, metadata):
    found, left = ao[1].unflatten_tensor_state_dict({n: to_torch(t) for n, t in tensors.items()}, dict(metadata))
    return found | left


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_torch_save_is_taken_apart_and_kept_bit_for_bit(ao, kind, tmp_path):
    state = quantized(ao, kind).state_dict()
    torch.save(state, tmp_path / "m.pt")
    with recognise(open_checkpoint(tmp_path / "m.pt")) as source:
        assert [found.kind for found in source.recognised] == ["torchao"]
        notes = dc.compress_checkpoint(source, tmp_path / "m.dcz", HALVED)
    assert notes == []
    with DczFile(tmp_path / "m.dcz") as file:
        write_tensors(tmp_path / "back.safetensors", {n: file.read_dense(n) for n in file.entries}, file.metadata)
    with recognise(open_checkpoint(tmp_path / "back.safetensors")) as back:
        tensors = {name: back.read(name) for name in back.entries}
        found = put_together(ao, tensors, back.metadata)
    assert type(found["0.weight"]) is type(state["0.weight"])
    assert found["0.weight"].dtype == torch.bfloat16
    same = [name for name in state if bits(found[name]) == bits(state[name])]
    assert same == ["0.weight", "0.bias", "2.bias"]
    # an ordinary layer follows the recipe
    assert len(found["2.weight"].unique()) <= 17


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_is_saved_in_its_parts(ao, kind, tied, tmp_path):
    model = quantized(ao, kind, tied)
    dc.save(model, tmp_path / "m.dcz", metadata={"mine": "1"})
    with DczFile(tmp_path / "m.dcz") as file:
        found = put_together(ao, {name: file.read_dense(name) for name in file.entries}, file.metadata)
        ties = {name: entry.tied_to for name, entry in file.entries.items() if entry.tied_to}
        assert file.metadata["mine"] == "1"
    state = model.state_dict()
    assert {name: bits(found[name]) for name in state} == {name: bits(state[name]) for name in state}
    assert ties.get("3._weight_qdata") == ("0._weight_qdata" if tied else None)


@pytest.mark.parametrize("data", [False, True])
def test_a_plan_leaves_quantized_weights_alone(ao, data):
    model = quantized(ao, "Int8WeightOnlyConfig")
    batches = [torch.randn(64, 128, dtype=torch.bfloat16)] if data else None
    model[1] = nn.Sequential(nn.ReLU(), ToFloat())
    found = dc.plan(model, batches, target_ratio=1.3)
    assert [line.tensor for line in found.lines] == ["2.weight"]


class ToFloat(nn.Module):
    def forward(self, x):
        return x.float()


READ = """
import sys, warnings
from deepcompression.checkpoint import open_checkpoint, recognise
assert "torchao" not in sys.modules
with recognise(open_checkpoint(sys.argv[1])) as source:
    print(len(source.exact))
"""


def test_a_process_that_has_not_imported_torchao_reads_its_files(ao, tmp_path):
    torch.save(quantized(ao, "Int8WeightOnlyConfig").state_dict(), tmp_path / "m.pt")
    done = subprocess.run([sys.executable, "-c", READ, tmp_path / "m.pt"], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_tied_quantized_weights_of_a_file_stay_tied(ao, tmp_path):
    state = quantized(ao, "Int8WeightOnlyConfig", tied=True).state_dict()
    torch.save(state, tmp_path / "m.pt")
    with open_checkpoint(tmp_path / "m.pt") as source:
        assert source.entries["3._weight_qdata"].tied_to == "0._weight_qdata"
        assert content(source.read("3._weight_qdata")) == content(source.read("0._weight_qdata"))


def test_it_is_read_again_when_the_file_is_mapped_anew(ao, tmp_path, monkeypatch):
    state = quantized(ao, "Int8WeightOnlyConfig").state_dict()
    torch.save(state, tmp_path / "m.pt")
    monkeypatch.setattr(torch_save, "_RENEW_BLOCKS", 0)
    with open_checkpoint(tmp_path / "m.pt") as source:
        found = put_together(ao, {name: source.read(name) for name in source.entries}, source.metadata)
    assert {name: bits(found[name]) for name in state} == {name: bits(state[name]) for name in state}


def test_a_part_with_the_name_of_another_tensor_is_refused(ao, tmp_path):
    state = quantized(ao, "Int8WeightOnlyConfig").state_dict() | {"0._weight_scale": torch.zeros(3)}
    for each in (state, dict(reversed(state.items()))):
        torch.save(each, tmp_path / "m.pt")
        with pytest.raises(ValueError, match=r"m\.pt: 0\.weight has a part named 0\._weight_scale, as another"):
            open_checkpoint(tmp_path / "m.pt")


def test_without_torchao_what_is_needed_is_said(ao, tmp_path, monkeypatch):
    state = quantized(ao, "Int8WeightOnlyConfig").state_dict()
    torch.save(state, tmp_path / "m.pt")
    monkeypatch.setattr(torch._weights_only_unpickler, "_get_user_allowed_globals", dict)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"none is executed: torchao.quantization.Int8Tensor; .* pip install torchao"):
        open_checkpoint(tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"0\.weight is a Int8Tensor, which is made of other tensors"):
        dc.save(quantized_already(state), tmp_path / "m.dcz")


@pytest.mark.parametrize("stage", ["prune", "share", "compress", "calibrate"])
def test_a_rule_that_selects_a_quantized_weight_is_refused_with_the_remedy(ao, stage):
    def act(recipe):
        model = quantized(ao, "Int8WeightOnlyConfig")
        recipe = dc.Recipe.model_validate({"rules": recipe})
        inputs = [[torch.ones(4, 128, dtype=torch.bfloat16)]] if stage == "calibrate" else []
        getattr(dc, stage)(model.to(torch.bfloat16) if inputs else model, recipe, *inputs)

    rule = {"module": "*", "prune": {"density": 0.5}} | ({} if stage == "prune" else {"share": {"bits": 4}})
    with pytest.raises(ValueError, match=r"0\.weight is a Int8Tensor, .* or let no rule select it"):
        act([rule])
    act([{"tensor": "0.weight"}, rule])


def quantized_already(state):
    model = nn.Module()
    model.add_module("0", nn.Module())
    model.get_submodule("0").register_parameter("weight", nn.Parameter(state["0.weight"], requires_grad=False))
    return model


def test_ordinary_tensors_stay_as_they_are():
    tensors = {"a.b": torch.zeros(3), "c": torch.ones(2)}
    assert parts_of(tensors) == (tensors, {})


def test_names_without_a_dot_are_left_to_torchao_as_they_are(ao):
    state = quantized(ao, "Int8WeightOnlyConfig").state_dict() | {"token": torch.ones(2)}
    tensors, metadata = parts_of(state)
    assert "token" not in json.loads(metadata["tensor_names"])
    found, left = ao[1].unflatten_tensor_state_dict(tensors, metadata)
    assert found.keys() | left.keys() == state.keys()
