"""The commands on checkpoints of every kind: there and back."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import content, dense
from commands import run
from onnx_models import MODELS, save
from onnx_models import run as outputs
from torch import nn
from torch.nn.utils import prune
from typer.testing import CliRunner

import deepcompression as dc
from deepcompression.checkpoint import GRAPH, read_tensors, write_tensors
from deepcompression.cli import app


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def done(line):
    """What a command prints, and what it notes beside it."""
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


@pytest.mark.parametrize("profile", ["fast", "small", "paper"])
@pytest.mark.parametrize("name", MODELS)
def test_an_onnx_model_comes_back_to_the_same_bits_of_its_outputs(name, profile):
    save(MODELS[name](), Path("m.onnx"))
    done(f"compress m.onnx -o m.dcz --profile {profile}")
    done("verify m.dcz --against m.onnx")
    done("decompress m.dcz -o back.onnx")
    assert outputs("back.onnx") == outputs("m.onnx")


def test_an_onnx_model_is_pruned_and_shared():
    save(MODELS["large"](), Path("m.onnx"))
    done("compress m.onnx -o m.dcz --density 0.5 --bits 4")
    done("decompress m.dcz -o back.onnx")
    tensors, _ = read_tensors("back.onnx")
    assert np.count_nonzero(tensors["wide"].numpy()) == 4000
    assert len(np.unique(tensors["wide"].numpy())) == 17
    assert outputs("back.onnx") != outputs("m.onnx")


def test_the_graph_of_an_onnx_model_is_no_weight_and_no_tensor():
    save(MODELS["large"](), Path("m.onnx"))
    done("compress m.onnx -o m.dcz")
    tensors, _ = read_tensors("m.onnx")
    weights = {name: tensor.elements.size for name, tensor in tensors.items() if name != GRAPH}
    report = json.loads(done("inspect m.dcz --json")[0])
    assert {row["name"]: row["weights"] for row in report["rows"]} == weights | {GRAPH: 0}
    assert report["parts"]["graph"] > 0
    assert sum(report["parts"].values()) == report["file_bytes"]
    (total,) = (line for line in done("inspect m.dcz")[0].splitlines() if "total" in line)
    assert f"{sum(weights.values()):,}" in total
    assert done("verify m.dcz")[0].startswith(f"m.dcz: {len(weights)} tensors are sound")
    assert GRAPH not in [layer["name"] for layer in json.loads(done("bench m.dcz --json --seconds 0.001")[0])["layers"]]


def test_the_graph_is_not_lost_on_the_way_to_safetensors():
    save(MODELS["chain"](), Path("m.onnx"))
    done("compress m.onnx -o m.dcz")
    code, _, complaint = run("decompress m.dcz -o back.safetensors")
    assert code == 2
    assert "cannot hold the graph of an ONNX model; write an .onnx file" in complaint
    assert GRAPH in dc.load_tensors("m.dcz")


def test_tensors_without_a_graph_are_no_onnx_model():
    write_tensors("m.safetensors", {"a": dense("F32", (4,))}, {})
    done("compress m.safetensors -o m.dcz")
    code, _, complaint = run("decompress m.dcz -o back.onnx")
    assert code == 2
    assert "back.onnx: these tensors have no graph" in complaint


def test_a_state_dict_and_a_folder_are_compressed_and_what_is_left_out_is_said():
    torch.manual_seed(0)
    state = nn.Linear(30, 40).state_dict()
    torch.save({"model": state, "epoch": 3}, "m.pt")
    _, complaint = done("compress m.pt -o m.dcz")
    assert complaint == "dcz: note: Only the tensors under 'model' are read; beside it stand epoch.\n"
    done("verify m.dcz --against m.pt")
    done("decompress m.dcz -o back.safetensors")
    Path("hf").mkdir()
    shutil.move("back.safetensors", "hf/model.safetensors")
    assert done("compress hf -o again.dcz")[1] == ""
    assert Path("again.dcz").read_bytes() == Path("m.dcz").read_bytes()


def test_packed_weights_stay_bit_for_bit_whatever_the_recipe():
    tensors = {
        "a.weight_packed": dense("I32", (30, 40)),
        "a.weight_scale": dense("F32", (30, 5)),
        "b.weight": torch.randn(20, 30, generator=torch.Generator().manual_seed(0)).numpy(),
    }
    tensors["b.weight"] = type(tensors["a.weight_scale"]).from_numpy(tensors["b.weight"])
    write_tensors("m.safetensors", tensors, {})
    _, complaint = done("compress m.safetensors -o m.dcz --density 0.1 --bits 2")
    assert complaint.startswith(
        "dcz: note: 1 weight is quantized by compressed-tensors (a.weight_packed, a.weight_scale)"
    )
    done("decompress m.dcz -o back.safetensors")
    back, _ = read_tensors("back.safetensors")
    assert [name for name in tensors if content(back[name]) == content(tensors[name])] == [
        "a.weight_packed",
        "a.weight_scale",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "compress m.safetensors -o m.dcz --recipe share-8bit",
        "compress m.safetensors -o m.dcz --bits 4",
        "compress m.safetensors -o m.dcz --target-ratio 2",
        "plan m.safetensors --target-ratio 2",
        "sensitivity m.safetensors",
    ],
)
def test_a_checkpoint_of_packed_weights_alone_leaves_nothing_to_a_recipe(line):
    tensors = {"a.weight": dense("I8", (30, 40)), "a.weight_scale": dense("F32", ()), "n.weight": dense("F32", (40,))}
    write_tensors("m.safetensors", tensors, {})
    code, _, complaint = run(line)
    assert code == 2
    assert complaint == (
        "dcz: m.safetensors: its weights are packed already, by compressed-tensors, and are kept bit for bit, so that "
        "nothing is left to be pruned or shared: compress it without recipe and target"
    )
    assert not Path("m.dcz").exists()
    done("compress m.safetensors -o m.dcz")
    done("decompress m.dcz -o back.safetensors")
    assert {name: content(found) for name, found in read_tensors("back.safetensors")[0].items()} == {
        name: content(tensor) for name, tensor in tensors.items()
    }


def test_unfinished_pruning_becomes_small():
    torch.manual_seed(0)
    layer = nn.Linear(100, 100)
    prune.l1_unstructured(layer, "weight", 0.9)
    torch.save(layer.state_dict(), "m.pt")
    report = json.loads(done("compress m.pt -o m.dcz --json")[0])
    assert report["file_bytes"] < 100 * 100 * 4 * 0.1 * 1.3
    assert np.array_equal(dc.load_tensors("m.dcz")["weight"], layer.weight.detach().numpy())


@pytest.mark.parametrize("line", ["compress m.onnx -o m.dcz", "decompress m.dcz -o back.onnx"])
def test_without_the_package_onnx_it_is_said(line, monkeypatch):
    save(MODELS["chain"](), Path("m.onnx"))
    done("compress m.onnx -o m.dcz")
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, complaint = run(line)
    assert code == 2
    assert "read and written through the package onnx: pip install onnx" in complaint
