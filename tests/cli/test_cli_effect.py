"""What commands say about the model that they made: the change of its outputs or weights, and warnings."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import deepcompression as dc
from deepcompression.calibration.network import held_back
from deepcompression.cli import app
from deepcompression.file.effect import KEY
from tests.calibration.test_calibrate import trained_like

FACTORY = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))
"""
CALIBRATED = ["--calibration", "inputs.npz", "--model", "effect_factory:make"]


def run(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """In a folder with a model and its inputs: the inputs."""
    model, batches, _ = trained_like()
    arrays = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    save_file(arrays, tmp_path / "m.safetensors")
    x = torch.cat(batches)
    np.savez(tmp_path / "inputs.npz", x.numpy())
    (tmp_path / "effect_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return x


def measured(x):
    """The change of the outputs of m.dcz, without the package's own measuring."""
    model = trained_like()[0]
    back = dc.load("m.dcz", trained_like()[0])
    with torch.no_grad():
        exact, found = model(x), back(x)
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("how", [["--bits", "4"], ["--density", "0.5", "--bits", "4"], ["--target-ratio", "8"]])
def test_a_compression_with_inputs_ends_with_the_change_of_the_outputs(how, inputs):
    done = run("compress", "m.safetensors", "-o", "m.dcz", *how, *CALIBRATED)
    expected = measured(inputs[held_back(len(inputs))])
    text = f"change of the outputs: {expected:.3g}"[:-1]
    assert text in done.stdout
    assert "measured on 32 inputs held back from calibration" in done.stdout
    assert "change of the weights" not in done.stdout
    assert text in run("inspect", "m.dcz").stdout
    shown = json.loads(run("compress", "m.safetensors", "-o", "m.dcz", *how, *CALIBRATED, "--json").stdout)
    report = json.loads(run("inspect", "m.dcz", "--json").stdout)
    for found in (shown, report):
        assert found[KEY] == pytest.approx(expected, rel=1e-3)
        assert (found["measuring_inputs"], found["held_back"]) == (32, True)
        assert list(found["change_by_output"]) == ["output"]
    assert isinstance(shown["warnings"], list)


def test_a_change_is_not_exceeded_on_inputs_held_back(inputs):
    run("compress", "m.safetensors", "-o", "m.dcz", "--max-change", "0.05", *CALIBRATED)
    assert 0.02 < measured(inputs[held_back(len(inputs))]) <= 0.05
    assert measured(inputs) <= 0.05


@pytest.mark.parametrize("command", ["plan", "compress"])
def test_without_inputs_the_change_is_one_of_the_weights(command, inputs):
    output = ["-o", "m.dcz"] if command == "compress" else []
    done = run(command, "m.safetensors", *output, "--target-ratio", "8")
    assert "change of the weights: " in done.stdout
    assert "change of the outputs is unknown" in done.stdout
    assert "change of the outputs: " not in done.stdout
    shown = json.loads(run(command, "m.safetensors", *output, "--target-ratio", "8", "--json").stdout)
    assert shown[KEY] is None
    assert 0 < shown["change_of_weights"] < 0.3
    assert "change of weights" in run("sensitivity", "m.safetensors").stdout
    assert "change of outputs" in run("sensitivity", "m.safetensors", *CALIBRATED).stdout


@pytest.mark.parametrize("data", [[], CALIBRATED])
@pytest.mark.parametrize("command", ["plan", "compress"])
def test_a_plan_that_loses_the_model_warns(command, data, inputs):
    output = ["-o", "m.dcz"] if command == "compress" else []
    done = run(command, "m.safetensors", *output, "--target-ratio", "25", *data)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("dcz: warning: ")]
    assert any("2.weight keeps" in line for line in warnings)
    assert any(("the outputs changed" if data else "weights changed") in line for line in warnings)
    again = ["-o", "again.dcz"] if command == "compress" else []
    shown = run(command, "m.safetensors", *again, "--target-ratio", "25", *data, "--json")
    assert json.loads(shown.stdout)["warnings"] == [line.removeprefix("dcz: warning: ") for line in warnings]
    assert shown.stderr == ""


@pytest.mark.parametrize("options", [["--density", "0.02"], ["--bits", "1"], ["--density", "0.02", "--bits", "4"]])
def test_a_recipe_without_inputs_that_loses_the_model_warns(options, inputs):
    done = run("compress", "m.safetensors", "-o", "m.dcz", *options)
    assert "warning: weights changed by more than 0.3 of themselves: " in done.stderr
    assert ("keeps 2 %" in done.stderr) == ("--density" in options)
    before = load_file("m.safetensors")
    after = dc.load_tensors("m.dcz")
    changes = [np.linalg.norm(after[f"{at}.weight"] - before[f"{at}.weight"]) for at in (0, 2, 4)]
    sizes = [np.linalg.norm(before[f"{at}.weight"]) for at in (0, 2, 4)]
    shown = json.loads(run("compress", "m.safetensors", "-o", "m.dcz", *options, "--json").stdout)
    expected = np.sqrt(np.mean(np.square(np.divide(changes, sizes))))
    assert shown["change_of_weights"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", [[], ["--recipe", "share-8bit"], ["--recipe", "share-smaller"]])
def test_what_keeps_the_model_does_not_warn(options, inputs):
    done = run("compress", "m.safetensors", "-o", "m.dcz", *options)
    assert "warning" not in done.stderr
    assert ("change of the weights" in done.stdout) == bool(options)


def test_a_checkpoint_that_is_sparse_already_does_not_warn(inputs):
    run("compress", "m.safetensors", "-o", "m.dcz", "--density", "0.02")
    run("decompress", "m.dcz", "-o", "sparse.safetensors")
    assert "warning" not in run("compress", "sparse.safetensors", "-o", "m.dcz", "--bits", "8").stderr


def test_a_change_in_the_metadata_does_not_outlive_its_weights(inputs):
    run("compress", "m.safetensors", "-o", "m.dcz", "--target-ratio", "8", *CALIBRATED)
    run("decompress", "m.dcz", "-o", "back.safetensors")
    for options, kept in ((["--profile", "small"], True), (["--bits", "2"], False), (["--target-ratio", "12"], False)):
        run("compress", "back.safetensors", "-o", "again.dcz", *options)
        with dc.DczFile("again.dcz") as file:
            assert (KEY in file.metadata) == kept


def test_the_change_of_an_onnx_model_is_true_of_the_model_that_comes_back(tmp_path, monkeypatch):
    """Two outputs; a matrix that no layer multiplies by, and that is compressed without the inputs, counts too."""
    import onnxruntime

    from tests.calibration.test_onnx_network import RNG, model_of, node, weights

    monkeypatch.chdir(tmp_path)
    tensors = weights(a=(40, 48), c=(48, 8), added=(16, 8))
    nodes = [
        node("MatMul", ["x", "a"], ["h"]),
        node("Relu", ["h"], ["i"]),
        node("MatMul", ["i", "c"], ["j"]),
        node("ReduceSum", ["added"], ["s"], keepdims=0),
        node("Add", ["j", "s"], ["y"]),
    ]
    (tmp_path / "m.onnx").write_bytes(model_of(nodes, tensors, (40,), ("y", "h")))
    x = RNG.standard_normal((50, 40)).astype(np.float32)
    np.savez("x.npz", x=x)
    options = ["--calibration", "x.npz", "--density", "0.5", "--json"]
    shown = json.loads(run("compress", "m.onnx", "-o", "m.dcz", *options).stdout)
    run("decompress", "m.dcz", "-o", "back.onnx")
    exact, found = (
        onnxruntime.InferenceSession(name).run(["y", "h"], {"x": x[held_back(50)]}) for name in ("m.onnx", "back.onnx")
    )
    errors = [np.linalg.norm(one - other) for one, other in zip(found, exact, strict=True)]
    sizes = [np.linalg.norm(each) for each in exact]
    expected = dict(zip(("y", "h"), np.divide(errors, sizes), strict=True))
    assert shown["change_by_output"] == pytest.approx(expected, rel=1e-3)
    assert shown[KEY] == pytest.approx(np.linalg.norm(errors) / np.linalg.norm(sizes), rel=1e-3)
    assert shown["measuring_inputs"] == 10
