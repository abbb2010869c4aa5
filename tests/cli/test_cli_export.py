"""`dcz export`: from a file to C files, and every mistake in one line."""

import json
import shutil
import sys

import numpy as np
import pytest
from commands import run
from device_c import BUILT, compile
from device_c import run as run_program
from onnx_boards import floats, model, node

import deepcompression as dc
from deepcompression.checkpoint import open_checkpoint


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weight = np.round(2 * floats(8, 40)) / 4
    nodes = [node("MatMul", ["x", "w"], "a", "first"), node("Relu", ["a"], "y", "second")]
    (tmp_path / "My net.onnx").write_bytes(model(nodes, (1, 8), {"w": weight}).SerializeToString())
    np.savez("inputs.npz", floats(20, 8))
    with open_checkpoint("My net.onnx") as source:
        dc.compress_checkpoint(source, "m.dcz")
    return tmp_path


def test_a_compressed_onnx_model_is_exported_and_runs():
    # in the same place each time: the same files are compiled once
    out = BUILT / "exports" / "cli"
    shutil.rmtree(out, ignore_errors=True)
    code, printed, _ = run(f"export m.dcz -o {out} --int8 --calibration inputs.npz --name net")
    assert code == 0
    for words in ("net in int8: ", "w       Linear    40x8   coded", " for 0 of activations", "note: 1 limit folded"):
        assert words in printed
    assert "inputs that chose no scale" in printed
    assert "flash: " in printed
    run_program(compile(sorted(out.glob("*.c")), [f"-I{out}"], "cli-export"))


def test_json_has_the_sizes_and_the_options_are_taken(folder):
    code, printed, _ = run("export m.dcz -o out --packed w --vectors 2 --json")
    assert code == 0
    found = json.loads(printed)
    assert [each["way"] for each in found["layers"]] == ["packed"]
    assert found["name"] == "m"
    assert found["outputs"] is None
    assert "inputs[2][M_INPUT_SIZE]" in (folder / "out" / "m_test.c").read_text()
    assert found["files"] == sorted(path.name for path in (folder / "out").iterdir())


def test_an_onnx_file_is_exported_with_a_shape():
    assert run("export m.dcz -o out --input-shape 1,8")[0] == 0


def test_a_torch_model_is_named_by_its_factory(folder, monkeypatch):
    (folder / "board_model.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(8, 3)\n")
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("board_model", None)
    from board_model import make

    dc.save(make(), "torch.dcz")
    code, printed, _ = run("export torch.dcz -o out --model board_model:make --calibration inputs.npz")
    assert code == 0
    assert "weight  Linear    3x8    coded" in printed


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("export m.dcz -o out --target rust", 2, "unknown target 'rust'; known are c"),
        ("export m.dcz -o out --int8", 2, "--int8 needs --calibration INPUTS.npz"),
        ("export gone.dcz -o out", 2, "no file gone.dcz"),
        ("export m.dcz -o out --input-shape 1x8", 2, "--input-shape is numbers with commas"),
        ("export m.dcz -o out --input-shape 1,9", 2, "an input shape of [1, 9] is not one"),
        ("export m.dcz -o out --weights dense", 2, "unknown way to hold weights"),
        ("export m.dcz -o out --calibration gone.npz", 2, "no calibration inputs gone.npz"),
        ("export m.dcz -o .", 2, "holds other files"),
        ("export inputs.npz -o out", 3, "not a .dcz file"),
    ],
)
def test_mistakes_are_said_in_one_line(line, code, words):
    found, printed, complaint = run(line)
    assert (found, printed) == (code, "")
    assert words in complaint
