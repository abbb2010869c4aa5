import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import second_reader
from cases import content, dense, pruned, shared
from typer.testing import CliRunner

from deepcompression import cli
from deepcompression.checkpoint import read_checkpoint, write_checkpoint
from deepcompression.cli import app
from deepcompression.file import DczFile, Tie, save_tensors
from deepcompression.tensor import CompressedTensor, DenseTensor

TENSORS = {
    "fc1.weight": dense("I16", (6, 8)),
    "fc2.weight": DenseTensor("F32", np.linspace(-1, 1, 1200, dtype="<f4").reshape(30, 40)),
    "fc2.bias": DenseTensor("F32", np.linspace(-1, 1, 30, dtype="<f4")),
    "half.weight": shared(400, list(range(0, 400, 6)), 4, "BF16", (20, 20)).dense(),
    "scalar": DenseTensor("F64", np.array(3.0)),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where every command runs: a checkpoint, a file of it, and a damaged one."""
    monkeypatch.chdir(tmp_path)
    write_checkpoint("m.safetensors", TENSORS, {"made by": "tests"})
    save_tensors("m.dcz", TENSORS, {"made by": "tests"})
    data = bytearray(Path("m.dcz").read_bytes())
    data[-1] ^= 1
    Path("damaged.dcz").write_bytes(data)
    Path("recipe.yaml").write_text(
        "rules: [{module: fc2, prune: {density: 0.25}, encode: {coder: sparse, gap_bits: 5}}]"
    )
    return tmp_path


def run(line):
    """Exit code, what was printed, and the complaint; every complaint is one line."""
    result = CliRunner().invoke(app, line.split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    complaint = result.stderr.splitlines()
    if result.exit_code:
        assert len(complaint) == 1, result.stderr
        assert complaint[0].startswith("dcz: ")
    else:
        assert complaint == []
    return result.exit_code, result.stdout, "".join(complaint)


def refused(line, code, words):
    before = files()
    found, printed, complaint = run(line)
    assert (found, printed) == (code, "")
    assert words in complaint
    assert files() == before, "something was written"


def files():
    return {path: path.read_bytes() for path in Path.cwd().iterdir() if path.is_file()}


# --- what works


def test_compress_without_options_changes_nothing():
    assert run("compress m.safetensors -o out.dcz")[0] == 0
    metadata, tensors = second_reader.read(Path("out.dcz").read_bytes())
    assert metadata == {"made by": "tests"}
    assert {name: tuple(tensor) for name, tensor in tensors.items()} == {n: content(t) for n, t in TENSORS.items()}


def test_decompress_gives_back_the_checkpoint_bit_for_bit():
    assert run("decompress m.dcz -o back.safetensors")[0] == 0
    tensors, metadata = read_checkpoint("back.safetensors")
    assert metadata == {"made by": "tests"}
    assert {n: content(t) for n, t in tensors.items()} == {n: content(t) for n, t in TENSORS.items()}
    assert Path("back.safetensors").read_bytes() == Path("m.safetensors").read_bytes()


def test_tied_names_are_written_out_in_full():
    save_tensors("tied.dcz", {"a": dense("F32", (3,)), "b": Tie("a")})
    assert run("decompress tied.dcz -o back.safetensors")[0] == 0
    tensors, _ = read_checkpoint("back.safetensors")
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
    write_checkpoint("big.safetensors", {"big": big, "one": dense("F32", (1,))}, {})
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


def test_verify_says_that_a_file_is_sound():
    assert run("verify m.dcz") == (0, "m.dcz: 5 tensors are sound\n", "")
    assert "the same as in m.safetensors" in run("verify m.dcz --against m.safetensors")[1]


def test_verify_tells_every_difference():
    other = dict(TENSORS, extra=dense("U8", (1,)))
    other["fc2.bias"] = DenseTensor("F32", np.linspace(-1, 1.5, 30, dtype="<f4"))
    other["scalar"] = DenseTensor("F64", np.array([3.0]))
    del other["fc1.weight"]
    write_checkpoint("other.safetensors", other, {})
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
    write_checkpoint("empty.safetensors", {}, {})
    refused("verify damaged.dcz --against empty.safetensors", cli.BAD_FILE, "tensor 'scalar': the payload at offset")


def test_a_negative_zero_is_a_difference():
    write_checkpoint("zero.safetensors", {"w": DenseTensor("F32", np.array([0.0], "<f4"))}, {})
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


# --- what is refused, and nothing written


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("compress no.safetensors -o out.dcz", "no.safetensors: No such file or directory"),
        ("compress m.pt -o out.dcz", "m.pt: checkpoints are read from .safetensors files; convert it first"),
        ("compress m.safetensors -o no/out.dcz", "no: no such folder"),
        ("compress m.safetensors -o m.safetensors", "m.safetensors: the output of this command is a .dcz file"),
        ("compress m.safetensors -o out.dcz --density 1.5", "--density is from 0 to 1; found 1.5"),
        ("compress m.safetensors -o out.dcz --density nan", "--density is from 0 to 1; found nan"),
        ("compress m.safetensors -o out.dcz --bits 0", "--bits is from 1 to 8; found 0"),
        ("compress m.safetensors -o out.dcz --bits 9", "--bits is from 1 to 8; found 9"),
        ("compress m.safetensors -o out.dcz --recipe recipe.yaml --bits 4", "does not go with --density or --bits"),
        ("compress m.safetensors -o out.dcz --recipe unknown", "no recipe file unknown, nor a preset of that name"),
        ("decompress m.dcz -o m.dcz", "m.dcz: the output of this command is a .safetensors file"),
        ("decompress m.dcz -o out.pt", "out.pt: the output of this command is a .safetensors file"),
        ("decompress no.dcz -o out.safetensors", "no.dcz: No such file or directory"),
        ("decompress m.dcz -o no/out.safetensors", "no: no such folder"),
        ("inspect no.dcz", "no.dcz: No such file or directory"),
        ("inspect no.dcz --json", "no.dcz: No such file or directory"),
        ("verify m.dcz --against no.safetensors", "no.safetensors: No such file or directory"),
        ("verify m.dcz --against m.dcz", "m.dcz: checkpoints are read from .safetensors files"),
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
def test_weights_that_are_not_finite_cannot_be_pruned_or_shared(value, options):
    write_checkpoint("bad.safetensors", {"fc.weight": DenseTensor("F32", np.full((2, 3), value, "<f4"))}, {})
    refused(f"compress bad.safetensors -o out.dcz {options}", cli.MISTAKE, "fc.weight")


def test_weights_that_are_not_finite_are_stored_as_they_are():
    write_checkpoint("bad.safetensors", {"w": DenseTensor("F32", np.array([np.nan, -np.inf], "<f4"))}, {})
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

    monkeypatch.setattr(cli, "read_checkpoint", fail)
    refused("compress m.safetensors -o out.dcz", cli.SYSTEM, "out of memory")


def test_a_name_cannot_steer_the_terminal_through_a_complaint():
    save_tensors("odd.dcz", {"\x1b[31mred": pruned("F32", 9, [1])})
    write_checkpoint("odd.safetensors", {"other": dense("F32", (2,))}, {})
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
