"""`dcz diff --binary` and `dcz patch`."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import pytest
from commands import files, refused, run
from safetensors.numpy import save_file
from updates import network, retrained

from deepcompression.coding.coders import PROFILES
from deepcompression.file.writer import save_tensors


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tensors("old.dcz", network(), profile="device")
    save_tensors("new.dcz", retrained(network()), profile="device")


def test_a_patch_makes_the_new_file():
    code, printed, _ = run("diff --binary old.dcz new.dcz -o change.dcp")
    assert code == 0
    patch, new = (Path(name).stat().st_size for name in ("change.dcp", "new.dcz"))
    assert printed == f"change.dcp: {patch:,} bytes, {patch / new:.1%} of the new file; boards can apply it\n"
    assert run("patch old.dcz change.dcp -o back.dcz") == (0, f"back.dcz: {new:,} bytes\n", "")
    assert Path("back.dcz").read_bytes() == Path("new.dcz").read_bytes()


def test_json_says_what_a_patch_takes():
    _, printed, _ = run("diff --binary old.dcz new.dcz -o change.dcp --json")
    said = json.loads(printed)
    assert said["kind"] == "plain"
    assert said["patch_bytes"] == Path("change.dcp").stat().st_size
    assert {"old_bytes", "new_bytes", "work_bytes", "in_place_bytes", "file", "notes"} <= said.keys()
    _, printed, _ = run("patch old.dcz change.dcp -o back.dcz --json")
    assert json.loads(printed)["file_bytes"] == said["new_bytes"]


def test_a_file_can_be_replaced_by_its_own_update():
    run("diff --binary old.dcz new.dcz -o change.dcp")
    refused("patch old.dcz change.dcp -o old.dcz", 2, "--force replaces it")
    assert run("patch old.dcz change.dcp -o old.dcz --force")[0] == 0
    assert Path("old.dcz").read_bytes() == Path("new.dcz").read_bytes()


def test_mistakes_are_named_and_nothing_is_written():
    run("diff --binary old.dcz new.dcz -o change.dcp")
    Path("damaged.dcp").write_bytes(Path("change.dcp").read_bytes()[:-1])
    refused("diff old.dcz new.dcz -o other.dcp", 2, "dcz diff makes patches alone: add --binary")
    refused("diff --binary old.dcz new.dcz -o other.dcz", 2, "the output of this command is a .dcp file")
    refused("diff --binary old.dcz absent.dcz -o other.dcp", 2, "absent.dcz: No such file")
    refused("diff --binary old.dcz change.dcp -o other.dcp", 3, "change.dcp: not a .dcz file")
    refused("patch new.dcz change.dcp -o back.dcz", 2, "new.dcz is not the file that change.dcp was made for")
    refused("patch old.dcz damaged.dcp -o back.dcz", 3, "damaged.dcp: its checksum is")
    refused("patch old.dcz new.dcz -o back.safetensors", 2, "the output of this command is a .dcz file")
    refused("patch change.dcp old.dcz -o back.dcz", 2, "change.dcp is a patch itself: the old file comes first")
    refused("diff --binary old.dcz new.dcz -o other.dcp --work-bytes -1", 2, "at least 0; found -1")
    refused("patch absent.dcz change.dcp -o back.dcz", 2, "absent.dcz: No such file")


def test_another_patch_is_replaced_and_a_file_of_others_is_not():
    run("diff --binary old.dcz new.dcz -o change.dcp")
    assert run("diff --binary new.dcz old.dcz -o change.dcp")[0] == 0
    Path("change.dcp").write_text("mine")
    before = files()
    refused("diff --binary old.dcz new.dcz -o change.dcp", 2, "change.dcp exists")
    assert files() == before


@pytest.mark.parametrize("profile", PROFILES)
def test_files_of_onnx_models_are_patched(profile):
    for name, scale in (("a", 1.0), ("b", 1.001)):
        model = onnx_models.large()
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                changed = (values * np.float32(scale)).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
        onnx.save(model, f"{name}.onnx")
        run(f"compress {name}.onnx -o {name}.dcz --density 0.2 --bits 5 --profile {profile}")
    assert run("diff --binary a.dcz b.dcz -o change.dcp")[0] == 0
    assert Path("change.dcp").stat().st_size < 0.3 * Path("b.dcz").stat().st_size
    assert run("patch a.dcz change.dcp -o back.dcz")[0] == 0
    assert Path("back.dcz").read_bytes() == Path("b.dcz").read_bytes()


@pytest.mark.parametrize("profile", PROFILES)
def test_files_of_folders_are_patched(profile):
    weights = np.random.default_rng(0).standard_normal((40, 60)).astype("f4")
    for folder, scale, text in (("a", 1, "x"), ("b", np.float32(1.001), "y")):
        Path(folder).mkdir()
        Path(folder, "config.json").write_text('{"model_type": "bert", "note": "' + text + '"}' + 900 * " ")
        save_file({"weight": weights * scale}, f"{folder}/model.safetensors")
        run(f"compress {folder} -o {folder}.dcz --density 0.2 --bits 5 --profile {profile}")
    assert run("diff --binary a.dcz b.dcz -o change.dcp")[0] == 0
    assert Path("change.dcp").stat().st_size < 0.4 * Path("b.dcz").stat().st_size
    assert run("patch a.dcz change.dcp -o back.dcz")[0] == 0
    assert run("decompress back.dcz -o back")[0] == 0
    assert Path("back/config.json").read_bytes() == Path("b/config.json").read_bytes()
    assert Path("back.dcz").read_bytes() == Path("b.dcz").read_bytes()
