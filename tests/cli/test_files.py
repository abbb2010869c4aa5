"""Outputs that exist, and `-` for the standard streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import TENSORS, fill_folder, refused, run
from onnx_models import MODELS, save
from typer.testing import CliRunner

from deepcompression import cli
from deepcompression.checkpoint import read_tensors
from deepcompression.file.reader import DczFile

COMPRESS = "compress m.safetensors -o out.dcz"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_folder()
    return tmp_path


def piped(line, given=b""):
    """The output of a command that reads from a pipe."""
    result = CliRunner().invoke(cli.app, line.split(), input=given)
    assert result.exit_code == 0, result.stderr
    return result.stdout_bytes


@pytest.mark.parametrize("precious", [b"my notes", b"\x89PNG", b"\x80\x02"])
@pytest.mark.parametrize(
    ("line", "output"),
    [
        (COMPRESS, "out.dcz"),
        (f"{COMPRESS} --target-ratio 2", "out.dcz"),
        ("decompress m.dcz -o back.safetensors", "back.safetensors"),
        ("plan m.safetensors --target-ratio 2 -o plan.yaml", "plan.yaml"),
    ],
)
def test_a_file_of_another_kind_is_replaced_by_force_alone(line, output, precious):
    Path(output).write_bytes(precious)
    refused(line, cli.MISTAKE, f"{output} exists: --force replaces it, or name another file with -o")
    assert run(f"{line} --force")[0] == 0
    assert Path(output).read_bytes() != precious


def test_a_checkpoint_of_the_name_of_its_file_is_replaced_by_force_alone():
    """The checkpoint may be what the file was made from, with some loss."""
    assert run("compress m.safetensors -o lossy.dcz --bits 2")[0] == 0
    Path("lossy.safetensors").write_bytes(Path("m.safetensors").read_bytes())
    refused("decompress lossy.dcz -o lossy.safetensors", cli.MISTAKE, "lossy.safetensors exists: --force replaces it")
    assert run("decompress lossy.dcz -o lossy.safetensors -f")[0] == 0


@pytest.mark.parametrize(
    ("line", "output"), [(COMPRESS, "out.dcz"), ("decompress m.dcz -o back.safetensors", "back.safetensors")]
)
def test_an_earlier_result_is_replaced_and_this_is_said(line, output):
    assert run(line)[0] == 0
    result = CliRunner().invoke(cli.app, line.split())
    assert (result.exit_code, result.stderr) == (0, f"dcz: note: {output} existed: this job replaced it\n")
    result = CliRunner().invoke(cli.app, [*line.split(), "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["notes"] == [f"{output} existed: this job replaced it"]


def test_an_empty_file_such_as_mktemp_makes_is_written():
    Path("out.dcz").touch()
    assert CliRunner().invoke(cli.app, COMPRESS.split()).stderr.count("existed") == 0


@pytest.mark.skipif(os.name == "nt", reason="terminals of POSIX")
@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", cli.MISTAKE)])
def test_a_terminal_is_asked(answer, code):
    import pty

    Path("out.dcz").write_bytes(b"my notes")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, "-m", "deepcompression", *COMPRESS.split(), "--quiet"]
    done = subprocess.run(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    assert done.returncode == code, shown
    assert b"out.dcz exists. Replace it? [y/N]" in shown
    assert (Path("out.dcz").read_bytes() == b"my notes") == (code != 0)


def test_a_checkpoint_goes_through_pipes_and_back():
    whole = Path("m.safetensors").read_bytes()
    compressed = piped("compress - -o -", whole)
    Path("piped.dcz").write_bytes(compressed)
    assert run("verify piped.dcz --against m.safetensors")[0] == 0
    assert run(COMPRESS)[0] == 0
    assert compressed == Path("out.dcz").read_bytes()
    assert piped("decompress - -o -", compressed) == whole
    assert not list(Path().glob("-*"))


def test_every_kind_of_checkpoint_is_known_by_its_first_bytes():
    torch = pytest.importorskip("torch")
    save(MODELS["chain"](), Path("m.onnx"))
    torch.save({"w": torch.ones(3, 4)}, "m.pt")
    torch.save({"w": torch.ones(3, 4)}, "old.pt", _use_new_zipfile_serialization=False)
    for name in ("m.onnx", "m.pt", "old.pt"):
        Path("piped.dcz").write_bytes(piped("compress - -o -", Path(name).read_bytes()))
        assert run(f"verify piped.dcz --against {name}")[0] == 0
        suffix = ".onnx" if name == "m.onnx" else ".safetensors"
        Path(f"back{suffix}").write_bytes(piped("decompress piped.dcz -o -"))
        assert read_tensors(f"back{suffix}")[0].keys() == read_tensors(name)[0].keys()
        Path("piped.dcz").unlink()


def test_commands_that_read_a_file_read_a_pipe():
    whole = Path("m.dcz").read_bytes()
    assert b"5 tensors are sound" in piped("verify -", whole)
    assert len(json.loads(piped("inspect - --json", whole))["rows"]) == len(TENSORS)
    assert b"rules:" in piped("plan - --target-ratio 2 -o -", Path("m.safetensors").read_bytes())
    assert b"fc2.weight" in piped("sensitivity -", Path("m.safetensors").read_bytes())


def test_notes_of_a_job_do_not_come_between_its_bytes():
    result = CliRunner().invoke(cli.app, ["compress", "m.safetensors", "-o", "-", "--bits", "3"])
    assert "note: fc1.weight is of I16" in result.stderr
    Path("piped.dcz").write_bytes(result.stdout_bytes)
    with DczFile("piped.dcz") as file:
        assert len(file) == len(TENSORS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("compress m.safetensors -o - --json", "--json and -o - both write to standard output"),
        ("compress - -o out.dcz --resume", "--resume continues files, not the standard streams"),
        ("compress - -o out.dcz", "standard-input: checkpoints are read from folders and from"),
    ],
)
def test_what_streams_cannot_do_is_2(line, words):
    refused(line, cli.MISTAKE, words)
