"""What the commands refuse, with which exit code and words, and that nothing is written then."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import dense, pruned
from commands import fill_folder, refused, run
from typer.testing import CliRunner

from deepcompression import cli
from deepcompression.checkpoint import write_tensors
from deepcompression.cli.quick import answered
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import DenseTensor


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_folder()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("compress no.safetensors -o out.dcz", "no.safetensors: No such file or directory"),
        (
            "compress gpt2 -o out.dcz",
            "gpt2: No such file or directory; a model of Hugging Face is downloaded first: hf ",
        ),
        ("plan org/model-1.5 --target-ratio 2", "hf download org/model-1.5 --local-dir FOLDER"),
        ("verify m.dcz --against bert", "bert: No such file or directory; a model of Hugging Face is downloaded first"),
        ("compress m.dcz -o out.dcz", "m.dcz: is a .dcz file: dcz decompress gives its checkpoint"),
        ("compress recipe.yaml -o out.dcz", "recipe.yaml: checkpoints are read from folders and from .safetensors, "),
        ("compress a/b/m.h5 -o out.dcz", "m.h5: No such file or directory"),
        ("compress m.safetensors -o no/out.dcz", "no: no such folder"),
        ("compress m.safetensors -o m.safetensors", "m.safetensors: the output of this command is a .dcz file"),
        ("compress m.safetensors -o out.dcz --density 1.5", "--density is from 0 to 1; found 1.5"),
        ("compress m.safetensors -o out.dcz --density nan", "--density is from 0 to 1; found nan"),
        ("compress m.safetensors -o out.dcz --bits 0", "--bits is from 1 to 8; found 0"),
        ("compress m.safetensors -o out.dcz --bits 9", "--bits is from 1 to 8; found 9"),
        (
            "compress m.safetensors -o out.dcz --bits 4 --codebook-grid int4",
            "--codebook-grid is int8 or int16 and goes with --bits; found int4",
        ),
        (
            "compress m.safetensors -o out.dcz --density 0.5 --codebook-grid int8",
            "--codebook-grid is int8 or int16 and goes with --bits; found int8",
        ),
        (
            "compress m.safetensors -o out.dcz --bits 4 --codebook-grid int16",
            "half.weight: BF16 has 8 significant bits, too few for a codebook on the int16 grid: use int8",
        ),
        ("compress m.safetensors -o out.dcz --recipe recipe.yaml --codebook-grid int8", "--recipe says all"),
        ("compress m.safetensors -o out.dcz --recipe recipe.yaml --bits 4", "does not go with --density or --bits"),
        ("compress m.safetensors -o out.dcz --recipe unknown", "no recipe file unknown, nor a preset of that name"),
        ("decompress m.dcz -o m.dcz", "m.dcz: the output of this command is a .safetensors or .onnx file"),
        ("decompress m.dcz -o out.pt", "out.pt: the output of this command is a .safetensors or .onnx file"),
        ("decompress no.dcz -o out.safetensors", "no.dcz: No such file or directory"),
        ("decompress m.dcz -o no/out.safetensors", "no: no such folder"),
        ("inspect no.dcz", "no.dcz: No such file or directory"),
        ("inspect no.dcz --json", "no.dcz: No such file or directory"),
        ("verify m.dcz --against no.safetensors", "no.safetensors: No such file or directory"),
        ("verify m.dcz --against m.dcz", "m.dcz: is a .dcz file: dcz decompress gives its checkpoint"),
    ],
)
def test_a_mistake_in_the_call_is_2(line, words):
    refused(line, cli.MISTAKE, words)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("rules: [{module: nothing, prune: {density: 0.1}}]", "rule 1 (module: nothing) matches nothing"),
        ("rules: [{module: fc2, prune: {density: 0.1, strength: 3}}]", "rules.1.prune.strength: unknown key"),
        ("rules: [{module: fc2, encode: {coder: zip}}]", "unknown coder 'zip'; known are raw, sparse, huffman"),
        ("rules: [{module: fc2, encode: {gap_bits: 17}}]", "rules.1.encode.gap_bits"),
        ("rules: [{module: fc2, encode: {coder: huffman}}]", "fc2.weight: the coder huffman cannot hold a F32 tensor"),
        ("- nothing", "a recipe is a mapping with `rules`, found list"),
        ("{", "not YAML"),
        ("\xff", "r.yaml"),
    ],
)
def test_a_mistake_in_the_recipe_is_2(recipe, words):
    Path("r.yaml").write_bytes(recipe.encode("latin-1"))
    refused("compress m.safetensors -o out.dcz --recipe r.yaml", cli.MISTAKE, words)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("options", ["--density 0.5", "--bits 4"])
def test_weights_that_are_not_finite_are_not_pruned_or_shared(value, options):
    write_tensors("bad.safetensors", {"fc.weight": DenseTensor("F32", np.full((2, 3), value, "<f4"))}, {})
    code, printed, _ = run(f"compress bad.safetensors -o out.dcz --json {options}")
    assert code == 0
    (note,) = json.loads(printed)["notes"]
    assert re.fullmatch(r"fc.weight has 6 weights that are NaN[a-z0-9, ]*: stored as it is", note)
    assert run("verify out.dcz --against bad.safetensors")[0] == 0


@pytest.mark.parametrize("selector", ["module: fc", "tensor: fc.weight"])
@pytest.mark.parametrize(("done", "words"), [("prune: {density: 0.5}", "pruned"), ("share: {bits: 2}", "shared")])
def test_a_rule_that_names_weights_which_are_not_finite_is_2(selector, done, words):
    write_tensors("bad.safetensors", {"fc.weight": DenseTensor("F32", np.full((2, 3), np.nan, "<f4"))}, {})
    Path("r.yaml").write_text(f"rules: [{{{selector}, {done}}}]")
    refused("compress bad.safetensors -o out.dcz --recipe r.yaml", cli.MISTAKE, f"it cannot be {words}")


def test_weights_that_are_not_finite_are_stored_as_they_are():
    write_tensors("bad.safetensors", {"w": DenseTensor("F32", np.array([np.nan, -np.inf], "<f4"))}, {})
    assert run("compress bad.safetensors -o out.dcz")[0] == 0
    assert run("verify out.dcz --against bad.safetensors")[0] == 0


@pytest.mark.parametrize(
    "command",
    ["inspect {}", "inspect {} --json", "verify {}", "verify {} --json", "decompress {} -o out.safetensors"],
)
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("damaged.dcz", "damaged.dcz: tensor 'scalar': the payload at offset"),
        ("m.safetensors", "m.safetensors: not a .dcz file"),
        ("m.dcz --limit-bytes 1000", "bytes when decoded, the limit is 1000"),
    ],
)
def test_a_bad_file_is_3(command, file, words):
    refused(command.format(file), cli.BAD_FILE, words)


def test_a_damaged_checkpoint_is_3():
    Path("bad.safetensors").write_bytes(Path("m.safetensors").read_bytes()[:-1])
    refused("compress bad.safetensors -o out.dcz", cli.BAD_FILE, "bad.safetensors: not a sound safetensors file")
    refused("verify m.dcz --against bad.safetensors", cli.BAD_FILE, "bad.safetensors: not a sound safetensors file")


@pytest.mark.parametrize("line", ["compress m.safetensors -o out.dcz", "decompress m.dcz -o out.safetensors"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_what_the_system_refuses_is_4(line, code, monkeypatch):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fail)
    refused(line, cli.SYSTEM, os.strerror(code))


def test_a_folder_in_place_of_a_file_is_4():
    Path("folder.dcz").mkdir()
    refused("inspect folder.dcz", cli.SYSTEM, "folder.dcz: Is a directory")
    refused("compress m.safetensors -o folder.dcz", cli.SYSTEM, "Is a directory")


def test_no_memory_is_4(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("deepcompression.cli.compress.open_checkpoint", fail)
    refused("compress m.safetensors -o out.dcz", cli.SYSTEM, "out of memory")


def test_a_name_cannot_steer_the_terminal_through_a_complaint():
    save_tensors("odd.dcz", {"\x1b[31mred": pruned("F32", 9, [1])})
    write_tensors("odd.safetensors", {"other": dense("F32", (2,))}, {})
    code, _, complaint = run("verify odd.dcz --against odd.safetensors")
    assert code == 1
    assert "\x1b" not in complaint
    assert r"\x1b[31mred is only in odd.dcz" in complaint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["squeeze"], "No such command 'squeeze'"),
        (["inspect"], "Missing argument 'FILE'"),
        (["compress", "m.safetensors"], "Missing option"),
        (["compress", "m.safetensors", "-o", "out.dcz", "--bits", "many"], "Invalid value for '--bits'"),
        (["inspect", "m.dcz", "--colour"], "No such option"),
    ],
)
def test_a_mistake_in_the_arguments_is_2_and_one_line(arguments, words):
    done = subprocess.run(
        [sys.executable, "-c", "from deepcompression.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (cli.MISTAKE, "")
    assert done.stderr.startswith("dcz: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


@pytest.mark.parametrize("line", ["m.dcz", "m.dcz --json", "--json damaged.dcz", "absent.dcz", "recipe.yaml"])
def test_a_call_without_the_library_of_the_command_line_prints_the_same(line, capsys):
    arguments = f"inspect {line}".split()
    found = CliRunner().invoke(cli.app, arguments)
    code = 0
    try:
        assert answered(arguments)
    except SystemExit as end:
        code = end.code
    assert (code, *capsys.readouterr()) == (found.exit_code, found.stdout, found.stderr)


@pytest.mark.parametrize("line", ["", "inspect", "inspect -h", "inspect a b", "inspect a --js", "verify a"])
def test_all_other_calls_are_left_to_that_library(line):
    assert not answered(line.split())


def test_the_installed_command_gives_its_exit_code():
    def code(*arguments):
        command = "from deepcompression.cli import main; main()"
        return subprocess.run([sys.executable, "-c", command, *arguments], capture_output=True, check=False).returncode

    assert code("verify", "m.dcz") == 0
    assert code("verify", "damaged.dcz") == cli.BAD_FILE
    assert code("--help") == 0


def test_without_arguments_it_says_what_it_can_do():
    call = "import sys; from deepcompression.cli import main; sys.argv = ['dcz']; main()"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("compress", "decompress", "inspect", "verify"))
