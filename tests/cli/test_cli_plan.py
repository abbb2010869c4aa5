"""`dcz plan`, `dcz sensitivity` and `dcz compress` by calibration inputs and targets."""

from __future__ import annotations

import json
import math
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import deepcompression as dc
from deepcompression.cli import app
from tests.calibration.test_calibrate import trained_like

FACTORY = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))

def packed():
    import torch
    model = make()
    model.q = nn.Module()
    model.q.register_buffer("qweight", torch.zeros((8, 64), dtype=torch.int32))
    model.q.register_buffer("qzeros", torch.zeros((4, 8), dtype=torch.int32))
    model.q.register_parameter("scales", nn.Parameter(torch.zeros(4, 64)))
    model.q.forward = lambda x: x
    return model

def other():
    return nn.Linear(3, 3)

def nothing():
    return 3

def demanding(layers):
    return make()

def failing():
    raise RuntimeError("no weights at hand")

constant = 3
"""


def run(*arguments):
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    model, batches, _ = trained_like()
    save_file(
        {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}, tmp_path / "m.safetensors"
    )
    np.savez(tmp_path / "inputs.npz", np.concatenate([batch.numpy() for batch in batches]))
    np.savez(tmp_path / "nan.npz", np.full((4, 32), math.nan, np.float32))
    np.savez(tmp_path / "wrong.npz", np.zeros((4, 31), np.float32))
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    (tmp_path / "one.txt").write_text("0 0 0 0")
    np.savez(tmp_path / "objects.npz", np.array([{}], object))
    with zipfile.ZipFile(tmp_path / "texts.npz", "w") as archive:
        archive.writestr("notes.txt", "not an array")
    data = bytearray((tmp_path / "inputs.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.npz").write_bytes(data)
    (tmp_path / "calib_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


CALIBRATED = ["--calibration", "inputs.npz", "--model", "calib_factory:make"]


@pytest.mark.parametrize("data", [[], CALIBRATED])
@pytest.mark.parametrize(("target", "most"), [(["--target-size", "4KB"], 4000), (["--target-ratio", "5"], 4499)])
def test_a_target_is_met(folder, data, target, most):
    done = run("compress", "m.safetensors", "-o", "m.dcz", *target, *data)
    assert done.exit_code == 0, done.output
    assert 0.98 * most <= (folder / "m.dcz").stat().st_size <= most


def test_a_plan_is_shown_and_written_and_compresses_to_what_it_says(folder):
    done = run("plan", "m.safetensors", "-o", "p.yaml", "--max-change", "0.05", "--json", *CALIBRATED)
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["change_of_outputs"] <= 0.05
    assert not (folder / "m.dcz").exists()
    done = run("compress", "m.safetensors", "-o", "m.dcz", "--recipe", "p.yaml", *CALIBRATED)
    assert done.exit_code == 0, done.output
    assert (folder / "m.dcz").stat().st_size == shown["file_bytes"]
    assert "0.weight" in run("plan", "m.safetensors", "--target-ratio", "5").stdout


def test_sensitivity_is_shown(folder):
    done = run("sensitivity", "m.safetensors", "--json", *CALIBRATED)
    assert len(json.loads(done.stdout)["tensors"]) == 18
    assert "bits/weight" in run("sensitivity", "m.safetensors").stdout


def test_an_onnx_model_is_compressed_without_a_factory(folder):
    from tests.calibration.test_onnx_network import deep

    model, _, x = deep()
    (folder / "m.onnx").write_bytes(model)
    np.savez(folder / "x.npz", x=x)
    done = run("compress", "m.onnx", "-o", "m.dcz", "--calibration", "x.npz", "--target-size", "3000")
    assert done.exit_code == 0, done.output
    assert 0.98 * 3000 <= (folder / "m.dcz").stat().st_size <= 3000
    with dc.DczFile(folder / "m.dcz") as file:
        assert "onnx.graph" in file.entries
        assert file.metadata["format"] == "onnx"


def test_what_other_tools_packed_stays_exact(folder):
    rng = np.random.Generator(np.random.PCG64(0))
    tensors = load_file(folder / "m.safetensors")
    packed = {
        "q.qweight": rng.integers(0, 1 << 30, (8, 64), np.int32),
        "q.qzeros": rng.integers(0, 1 << 30, (4, 8), np.int32),
        "q.scales": rng.standard_normal((4, 64), np.float32),
    }
    save_file(tensors | packed, folder / "q.safetensors")
    size = sum(array.nbytes for array in packed.values()) + 4000
    assert "q.scales" not in run("sensitivity", "q.safetensors").stdout
    assert "q.scales" not in run("plan", "q.safetensors", "--target-size", str(size)).stdout
    for arguments in (["--target-size", str(size)], ["--bits", "4", *CALIBRATED[:3], "calib_factory:packed"]):
        done = run("compress", "q.safetensors", "-o", "m.dcz", *arguments)
        assert done.exit_code == 0, done.output
        assert "1 weight is quantized by GPTQ" in done.stderr
        found = dc.load_tensors(folder / "m.dcz")
        assert {name: found[name].tobytes() for name in packed} == {n: a.tobytes() for n, a in packed.items()}
        assert found["0.weight"].tobytes() != tensors["0.weight"].tobytes()


def test_tied_weights_are_planned_and_stored_once(folder):
    import torch

    weight = torch.randn(100, 40, generator=torch.Generator().manual_seed(0))
    torch.save({"embed.weight": weight, "out.weight": weight, "out.bias": torch.ones(100)}, folder / "tied.pt")
    done = run("compress", "tied.pt", "-o", "m.dcz", "--target-ratio", "6")
    assert done.exit_code == 0, done.output
    most = (4 * 4000 + 400) // 6
    assert 0.98 * most <= (folder / "m.dcz").stat().st_size <= most
    with dc.DczFile(folder / "m.dcz") as file:
        assert file.entries["out.weight"].tied_to == "embed.weight"


def test_an_onnx_model_runs_after_it_was_compressed_by_its_inputs(folder):
    """A bias too small to leave the graph, a rule that keeps a weight, a matrix that no layer multiplies by."""
    import onnxruntime

    from tests.calibration.test_onnx_network import RNG, model_of, node, weights

    tensors = weights(a=(40, 48), b=(48,), c=(48, 8), d=(8,), added=(16, 8))
    nodes = [
        node("Gemm", ["x", "a", "b"], ["h"]),
        node("Relu", ["h"], ["i"]),
        node("Gemm", ["i", "c", "d"], ["j"]),
        node("ReduceSum", ["added"], ["s"], keepdims=0),
        node("Add", ["j", "s"], ["y"]),
    ]
    model = model_of(nodes, tensors, (40,))
    (folder / "m.onnx").write_bytes(model)
    x = RNG.standard_normal((64, 40)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    (folder / "r.yaml").write_text("rules: [{tensor: a, encode: {coder: raw}}, {tensor: '?', share: {bits: 6}}]")
    done = run("compress", "m.onnx", "-o", "k.dcz", "--calibration", "x.npz", "--recipe", "r.yaml")
    assert done.exit_code == 2
    assert "b has fewer than two dimensions" in done.stderr
    (folder / "r.yaml").write_text("rules: [{tensor: a, encode: {coder: raw}}, {tensor: '*d*', share: {bits: 6}}]")
    for arguments in (["--recipe", "r.yaml"], ["--bits", "6"]):
        done = run("compress", "m.onnx", "-o", "m.dcz", "--calibration", "x.npz", *arguments)
        assert done.exit_code == 0, done.output
        assert "no layer is known to multiply by added" in done.stderr
        with dc.DczFile(folder / "m.dcz") as file:
            coders = {name: entry.coder for name, entry in file.entries.items()}
            assert "d" not in coders
            assert (coders["a"] == "raw") == (arguments[0] == "--recipe")
        assert run("decompress", "m.dcz", "-o", "back.onnx").exit_code == 0
        sessions = [onnxruntime.InferenceSession(folder / name) for name in ("m.onnx", "back.onnx")]
        exact, found = (session.run(None, {"x": x})[0] for session in sessions)
        assert np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)
        # centroids are means: the recipe, which shares `added` alone, keeps its sum but for rounding
        assert arguments[0] == "--recipe" or (found != exact).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-ratio", "5", "--calibration", "inputs.npz"], "takes --model package.module:factory"),
        (["--target-ratio", "5", "--model", "calib_factory:make"], "goes with --calibration"),
        (
            ["--target-ratio", "5", "--max-change", "1"],
            "one target, --target-size, --target-ratio or --max-change; found --target-ratio and --max-change",
        ),
        (["--target-ratio", "5", "--bits", "3"], "--density or --bits and --target-ratio both say what changes"),
        (["--max-change", "1", "--recipe", "share-8bit"], "--recipe and --max-change both say what changes"),
        (["--target-ratio", "-5"], "--target-ratio is a positive number; found -5.0"),
        (["--max-change", "nan"], "--max-change is a positive number; found nan"),
        (["--target-size", "0"], "--target-size is a positive number; found 0"),
        (CALIBRATED, "--calibration and --model need to know what changes: --recipe, --density and --bits, or one of"),
        (["--target-size", "5 apples"], "5 apples"),
        (["--target-size", "10"], "cannot be reached"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory:gone"], "calib_factory:gone is not"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory"], "name the module and its function, with a colon"),
        (["--target-ratio", "5", *CALIBRATED[:3], "no_such:make"], "no_such:make is not: ModuleNotFoundError"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory:constant"], "constant is a int, expected a function"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory:demanding"], "called without arguments: TypeError"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory:failing"], "no weights at hand (/"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory:nothing"], "gave a int"),
        (["--target-ratio", "5", *CALIBRATED[:3], "calib_factory:other"], "does not fit the model"),
        (["--target-ratio", "5", "--calibration", "gone.npz", *CALIBRATED[2:]], "gone.npz"),
        (["--target-ratio", "5", "--calibration", "broken.npz", *CALIBRATED[2:]], "broken.npz"),
        (["--target-ratio", "5", "--calibration", "one.txt", *CALIBRATED[2:]], "an .npz file (numpy.savez), which"),
        (["--target-ratio", "5", "--calibration", "objects.npz", *CALIBRATED[2:]], "Object arrays cannot be loaded"),
        (["--target-ratio", "5", "--calibration", "texts.npz", *CALIBRATED[2:]], "notes.txt is no array"),
        (["--target-ratio", "5", "--calibration", "damaged.npz", *CALIBRATED[2:]], "damaged.npz"),
        (["--target-ratio", "5", "--calibration", "nan.npz", *CALIBRATED[2:]], "not finite"),
        (["--target-ratio", "5", "--calibration", "wrong.npz", *CALIBRATED[2:]], "does not fit the model"),
    ],
)
def test_mistakes_are_said_in_one_line(folder, arguments, message):
    done = run("compress", "m.safetensors", "-o", "m.dcz", *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "m.dcz").exists()
