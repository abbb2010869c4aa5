"""What the commands do."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import second_reader
from cases import content, dense, shared
from commands import TENSORS, fill_folder, refused, run

import deepcompression as dc
from deepcompression import cli
from deepcompression.checkpoint import read_tensors, write_tensors
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.dtypes import widen
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.grid import digits_on_grid
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_folder()
    return tmp_path


def test_compress_without_options_changes_nothing():
    assert run("compress m.safetensors -o out.dcz")[0] == 0
    metadata, tensors = second_reader.read(Path("out.dcz").read_bytes())
    assert metadata == {"made by": "tests"}
    assert {name: tuple(tensor) for name, tensor in tensors.items()} == {n: content(t) for n, t in TENSORS.items()}


def test_decompress_gives_back_the_checkpoint_bit_for_bit():
    assert run("decompress m.dcz -o back.safetensors")[0] == 0
    tensors, metadata = read_tensors("back.safetensors")
    assert metadata == {"made by": "tests"}
    assert {n: content(t) for n, t in tensors.items()} == {n: content(t) for n, t in TENSORS.items()}
    assert Path("back.safetensors").read_bytes() == Path("m.safetensors").read_bytes()


def test_tied_names_are_written_out_in_full():
    save_tensors("tied.dcz", {"a": dense("F32", (3,)), "b": Tie("a")})
    assert run("decompress tied.dcz -o back.safetensors")[0] == 0
    tensors, _ = read_tensors("back.safetensors")
    assert content(tensors["a"]) == content(tensors["b"])


def test_density_and_bits_prune_and_share_the_weights_of_two_dimensions():
    assert run("compress m.safetensors -o out.dcz --density 0.1 --bits 3")[0] == 0
    with DczFile("out.dcz") as file:
        weight = file.read("fc2.weight")
        assert isinstance(weight, CompressedTensor)
        assert len(weight.positions) == 120
        assert len(weight.codebook) <= 8
        for name in ("fc1.weight", "fc2.bias", "scalar"):
            assert content(file.read(name)) == content(TENSORS[name])


@pytest.mark.parametrize(("options", "survivors", "centroids"), [("--density 0.5", 600, None), ("--bits 1", 1200, 2)])
def test_density_and_bits_can_be_given_alone(options, survivors, centroids):
    assert run(f"compress m.safetensors -o out.dcz {options}")[0] == 0
    with DczFile("out.dcz") as file:
        elements = file["fc2.weight"]
    assert np.count_nonzero(elements) == survivors
    assert centroids is None or len(np.unique(elements)) == centroids


@pytest.mark.parametrize(("grid", "module"), [("int8", "half"), ("int8", "fc2"), ("int16", "fc2")])
def test_codebooks_are_on_the_grid_demanded(grid, module):
    weights = {name: tensor for name, tensor in TENSORS.items() if name.startswith(module)}
    write_tensors("w.safetensors", weights, {})
    assert run(f"compress w.safetensors -o out.dcz --bits 4 --codebook-grid {grid}")[0] == 0
    with DczFile("out.dcz") as file:
        tensor = file.read(f"{module}.weight")
        assert digits_on_grid(widen(tensor.codebook, tensor.dtype)).grid == grid


def test_a_recipe_decides_what_is_done_and_how_it_is_written():
    assert run("compress m.safetensors -o out.dcz --recipe recipe.yaml")[0] == 0
    with DczFile("out.dcz") as file:
        account = file.read_with_account("fc2.weight")[1]
        assert (file.entries["fc2.weight"].coder, account.survivors, account.gap_bits) == ("sparse", 300, 5)
        assert content(file.read("half.weight")) == content(TENSORS["half.weight"])


def test_a_preset_is_known_by_its_name():
    assert run("compress m.safetensors -o out.dcz --recipe share-8bit")[0] == 0
    with DczFile("out.dcz") as file:
        assert len(file.read("fc2.weight").codebook) == 256


def test_a_recipe_can_prune_a_scalar_and_it_stays_one():
    Path("r.yaml").write_text("rules: [{tensor: scalar, prune: {density: 0}}]")
    assert run("compress m.safetensors -o out.dcz --recipe r.yaml")[0] == 0
    with DczFile("out.dcz") as file:
        assert file["scalar"].shape == ()
        assert file["scalar"] == 0


@pytest.mark.parametrize(("profile", "coders"), [("paper", {"huffman", "raw"}), ("fast", {"fast", "huffman", "raw"})])
def test_the_profile_says_which_coders_are_used(profile, coders):
    big = DenseTensor("F32", np.tile(np.arange(4, dtype="<f4"), 20_000))
    write_tensors("big.safetensors", {"big": big, "one": dense("F32", (1,))}, {})
    assert run(f"compress big.safetensors -o out.dcz --profile {profile}")[0] == 0
    with DczFile("out.dcz") as file:
        found = {entry.coder for entry in file.entries.values()}
        assert found <= coders
        assert file["big"].tobytes() == big.elements.tobytes()


def test_an_unknown_profile_is_refused():
    code, _, error = run("compress m.safetensors -o out.dcz --profile tiny")
    assert (code, Path("out.dcz").exists()) == (2, False)
    assert "--profile is one of fast, " in error
    assert "found tiny" in error


def test_the_same_call_gives_the_same_bytes():
    for name in ("a", "b"):
        run(f"compress m.safetensors -o {name}.dcz --density 0.2 --bits 4")
    assert Path("a.dcz").read_bytes() == Path("b.dcz").read_bytes()


def test_inspect_accounts_for_every_byte():
    code, printed, _ = run("inspect m.dcz --json")
    report = json.loads(printed)
    assert code == 0
    assert sum(report["parts"].values()) == report["file_bytes"] == Path("m.dcz").stat().st_size
    assert [row["name"] for row in report["rows"]] == list(TENSORS)


def test_inspect_prints_the_columns_of_the_paper():
    code, printed, _ = run("inspect m.dcz")
    assert code == 0
    assert all(name in printed for name in TENSORS)
    assert all(column in printed for column in ("W% (P)", "w bits P+Q+H", "i bits P+Q", "rate P+Q+H", "checksums"))


def test_inspect_prints_any_name():
    save_tensors("odd.dcz", {"a[/b]\x1b[31m": dense("F32", (2,)), "größe": dense("F32", (1,))})
    code, printed, _ = run("inspect odd.dcz")
    assert code == 0
    assert r"a[/b]\x1b[31m" in printed


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("compress m.safetensors -o out.dcz --json", {"file", "file_bytes", "rows", "parts", "ratio"}),
        ("decompress m.dcz -o out.safetensors --json", {"file", "tensors", "file_bytes"}),
        ("inspect m.dcz --json", {"file", "file_bytes", "rows", "parts", "ratio"}),
        ("verify m.dcz --json", {"file", "tensors", "differences"}),
        ("verify m.dcz --against m.safetensors --json", {"file", "tensors", "differences"}),
    ],
)
def test_every_command_speaks_json(line, keys):
    code, printed, _ = run(line)
    assert code == 0
    assert json.loads(printed).keys() >= keys


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("compress m.safetensors --profile ", ["fast", "small", "paper", "device"]),
        ("compress m.safetensors --recipe sh", ["share-8bit", "share-smaller"]),
        ("compress m.safetensors --codebook-grid ", ["int8", "int16"]),
        ("plan m.safetensors --profile s", ["small"]),
        ("bench m.dcz --activations ", ["float32", "int8"]),
    ],
)
def test_a_shell_completes_values(words, values):
    environment = os.environ | {"_DCZ_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": f"dcz {words}"}
    done = subprocess.run(
        [sys.executable, "-m", "deepcompression"], env=environment, capture_output=True, text=True, check=True
    )
    assert re.findall(r'"([\w-]+)"', done.stdout) == values


def test_the_version_is_the_package_s():
    assert run("--version")[1] == f"dcz {dc.__version__}\n"


@pytest.mark.parametrize("line", ["-h", "compress -h", "verify -h"])
def test_help_has_a_short_name(line):
    assert "Usage: " in run(line)[1]


def test_one_tensor_is_not_many():
    save_tensors("one.dcz", {"a": dense("F32", (3,))})
    assert run("verify one.dcz")[1] == "one.dcz: 1 tensor is sound\n"
    assert run("decompress one.dcz -o one.safetensors")[1].startswith("one.safetensors: 1 tensor, ")


def test_a_file_that_is_larger_than_its_tensors_is_called_larger():
    save_tensors("small.dcz", {"a": dense("U8", (3,))})
    assert "times larger than 3 bytes" in " ".join(run("inspect small.dcz")[1].split())


def test_verify_says_that_a_file_is_sound():
    assert run("verify m.dcz") == (0, "m.dcz: 5 tensors are sound\n", "")
    assert "the same as in m.safetensors" in run("verify m.dcz --against m.safetensors")[1]


def test_verify_tells_every_difference():
    other = dict(TENSORS, extra=dense("U8", (1,)))
    other["fc2.bias"] = DenseTensor("F32", np.linspace(-1, 1.5, 30, dtype="<f4"))
    other["scalar"] = DenseTensor("F64", np.array([3.0]))
    del other["fc1.weight"]
    write_tensors("other.safetensors", other, {})
    words = [
        "extra is only in other.safetensors",
        "fc1.weight is only in m.dcz",
        "fc2.bias has other elements",
        "scalar is [] of F64, expected [1] of F64",
    ]
    code, printed, complaint = run("verify m.dcz --against other.safetensors")
    assert (code, printed) == (1, "")
    assert complaint == "dcz: m.dcz differs from other.safetensors: " + "; ".join(words)
    code, printed, _ = run("verify m.dcz --against other.safetensors --json")
    assert code == 1
    assert json.loads(printed)["differences"] == words


def test_verify_checks_what_the_checkpoint_does_not_have():
    write_tensors("empty.safetensors", {}, {})
    refused("verify damaged.dcz --against empty.safetensors", cli.BAD_FILE, "tensor 'scalar': the payload at offset")


def test_a_negative_zero_is_a_difference():
    write_tensors("zero.safetensors", {"w": DenseTensor("F32", np.array([0.0], "<f4"))}, {})
    save_tensors("minus.dcz", {"w": DenseTensor("F32", np.array([-0.0], "<f4"))})
    assert run("verify minus.dcz --against zero.safetensors")[0] == 1


@pytest.mark.parametrize("line", ["inspect ties.dcz", "verify ties.dcz", "decompress ties.dcz -o out.safetensors"])
def test_a_tensor_is_decoded_once_however_many_are_tied_to_it(line, monkeypatch):
    save_tensors("ties.dcz", {"a": shared(400, [7])} | {f"t{i}": Tie("a") for i in range(50)})
    decoded = []
    for method in ("read_with_account", "read_dense"):
        real = getattr(DczFile, method)

        def read(self, name, *threads, real=real):
            decoded.append(name)
            return real(self, name, *threads)

        monkeypatch.setattr(DczFile, method, read)
    assert run(line)[0] == 0
    assert decoded == ["a"]


def test_ties_in_full_count_for_the_limit_of_what_is_written():
    save_tensors("ties.dcz", {"a": shared(400, [7])} | {f"t{i}": Tie("a") for i in range(50)})
    assert run("verify ties.dcz --limit-bytes 1600")[0] == 0
    line = "decompress ties.dcz -o out.safetensors --limit-bytes 81599"
    refused(line, cli.BAD_FILE, "ties.dcz: with its ties in full it takes 81600 bytes, the limit is 81599")
    assert run("decompress ties.dcz -o out.safetensors --limit-bytes 81600")[0] == 0
