"""The commands with standard streams that are closed, full, broken or of a narrow encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import TENSORS, fill_folder

from deepcompression import cli
from deepcompression.checkpoint import write_tensors
from deepcompression.file.reader import DczFile

COMPRESS = "compress m.safetensors -o out.dcz --recipe share-8bit"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="redirections of a POSIX shell")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_folder()
    return tmp_path


def dcz(line, redirections="", **environment):
    """Exit code, output and complaint of the command in a process of its own."""
    command = f"{sys.executable} -m deepcompression {line} {redirections}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, env=os.environ | environment, timeout=60
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_hinder_no_job(closed):
    assert dcz(COMPRESS, closed)[0] == 0
    whole = Path("out.dcz").read_bytes()
    assert dcz("verify out.dcz", closed)[0] == 0
    assert Path("out.dcz").read_bytes() == whole, "what was printed went into the file"
    assert dcz("inspect out.dcz", closed)[0] == 0
    assert dcz("inspect damaged.dcz", closed)[0] == cli.BAD_FILE


def test_python_without_streams_hinders_no_job():
    """As pythonw starts a program."""
    call = "import sys; sys.stdout = sys.stderr = None; from deepcompression.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", call, *COMPRESS.split()], check=False, timeout=60)
    assert (done.returncode, Path("out.dcz").exists()) == (0, True)


def test_nobody_misses_notes_that_could_not_be_shown():
    assert dcz(COMPRESS, "2>/dev/full")[0] == 0
    assert Path("out.dcz").exists()


@pytest.mark.parametrize("line", ["inspect m.dcz", "inspect m.dcz --json", "verify m.dcz", "--help", "--version"])
def test_output_that_a_full_device_refuses_is_4(line):
    found = dcz(line, ">/dev/full")
    assert found == (cli.SYSTEM, b"", "dcz: standard output: No space left on device\n")


def test_the_file_is_there_although_its_report_could_not_be_printed():
    code, _, complaint = dcz(COMPRESS, ">/dev/full")
    assert (code, complaint.splitlines()[-1]) == (cli.SYSTEM, "dcz: standard output: No space left on device")
    with DczFile("out.dcz") as file:
        assert "fc2.weight" in file.entries


@pytest.mark.parametrize("line", [COMPRESS, "inspect m.dcz", "sensitivity m.safetensors", "verify m.dcz", "--help"])
def test_a_reader_that_has_ended_is_no_news(line):
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "deepcompression", *line.split()],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    assert done.returncode == cli.BROKEN_PIPE
    assert [each for each in done.stderr.splitlines() if not each.startswith("dcz: note: ")] == []
    assert ("out.dcz" in line) == Path("out.dcz").exists()


@pytest.mark.parametrize(
    "line", ["compress odd.safetensors -o größe.dcz", "inspect odd.dcz", "plan odd.safetensors --target-ratio 2"]
)
@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_names_that_the_terminal_lacks_are_escaped(line, environment):
    write_tensors("odd.safetensors", {"größe.weight": TENSORS["fc2.weight"]}, {})
    assert dcz("compress odd.safetensors -o odd.dcz")[0] == 0
    code, printed, complaint = dcz(line, **environment)
    assert (code, complaint) == (0, "")
    assert b"gr\\xf6\\xdfe.weight" in printed


def test_a_path_that_is_no_text_fails_no_job():
    odd = Path(os.fsdecode(b"caf\xe9\x1b[31m"))
    odd.with_suffix(".dcz").write_bytes(Path("m.dcz").read_bytes())
    code, printed, complaint = dcz("decompress caf*.dcz -o $(ls caf*.dcz | sed s/dcz/safetensors/)")
    assert (code, complaint) == (0, "")
    assert printed.startswith(rb"caf\udce9\x1b[31m.safetensors: 5 tensors, ")
    assert odd.with_suffix(".safetensors").exists()
