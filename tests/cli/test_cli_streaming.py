"""Commands on checkpoints tensor by tensor: progress, workers, and work that is broken off."""

import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from commands import fill_folder, refused, run

from deepcompression import cli
from deepcompression.checkpoint.safetensors import SafetensorsCheckpoint
from deepcompression.cli import common
from deepcompression.file.reader import DczFile
from deepcompression.file.resumable import FileWriter

LINE = "compress m.safetensors -o out.dcz --bits 3"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_folder()
    return tmp_path


@pytest.fixture
def ctrl_c():
    """SIGINT interrupts, also in a job of the background, which starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(name, monkeypatch):
    """Ctrl-C while a tensor is read; the thread that reads goes on when the others are told to stop."""
    stopped, read, stop = threading.Event(), SafetensorsCheckpoint.read, FileWriter.stop

    def interrupted(self, wanted):
        if wanted == name:
            os.kill(os.getpid(), signal.SIGINT)
            assert stopped.wait(60)
        return read(self, wanted)

    monkeypatch.setattr(SafetensorsCheckpoint, "read", interrupted)
    monkeypatch.setattr(FileWriter, "stop", lambda self: stop(self) or stopped.set())


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_what_is_finished_and_resume_goes_on(workers, monkeypatch):
    assert run(LINE)[0] == 0
    whole = Path("out.dcz").read_bytes()
    Path("out.dcz").unlink()
    with monkeypatch.context() as patched:
        interrupt_at(last_read(), patched)
        refused(f"{LINE} --workers {workers}", cli.INTERRUPTED, "interrupted; ")
    refused(LINE, cli.MISTAKE, "continue it with --resume")
    refused(f"{LINE} --resume --profile small", cli.MISTAKE, "another profile")
    assert run(f"{LINE} --resume --workers {workers}")[0] == 0
    assert Path("out.dcz").read_bytes() == whole
    assert not Path("out.dcz.partial").exists()


@pytest.mark.parametrize("most", [0, 10, 300, 2000, 5000])
def test_a_disk_that_is_full_is_named_and_loses_nothing(most):
    """At a limit of the system's for files; the whole one takes more than any payload."""
    resource = pytest.importorskip("resource")
    assert run(LINE)[0] == 0
    whole = Path("out.dcz").read_bytes()
    Path("out.dcz").unlink()
    there = {path.name for path in Path().glob("*dcz*")}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(most, len(whole) - 1), before[1]))
    try:
        code, out, err = run(f"{LINE} --workers 1")
        again = run(f"{LINE} --workers 1 --resume")
        planned = run("compress m.safetensors -o planned.dcz --target-ratio 2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, out) == (cli.SYSTEM, "")
    assert err.startswith("dcz: out.dcz")
    assert "File too large" in err
    assert again[0] == planned[0] == cli.SYSTEM
    assert "planned.dcz: File too large" in planned[2]
    assert ("continue with --resume" in err) == Path("out.dcz.partial").exists()
    assert {path.name for path in Path().glob("*dcz*")} - there <= {"out.dcz.partial"}
    assert run(f"{LINE} --resume")[0] == 0
    assert Path("out.dcz").read_bytes() == whole


def last_read():
    """The tensor whose bytes come last in the checkpoint."""
    with SafetensorsCheckpoint(Path("m.safetensors")) as source:
        return list(source.entries)[-1]


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_workers_change_no_byte(workers):
    assert run(LINE)[0] == 0
    assert run(f"compress m.safetensors -o other.dcz --bits 3 --workers {workers}")[0] == 0
    assert Path("out.dcz").read_bytes() == Path("other.dcz").read_bytes()


def test_no_workers_are_a_mistake():
    refused(f"{LINE} --workers 0", cli.MISTAKE, "--workers is from 1 on; found 0")


@pytest.mark.parametrize("line", [LINE, "decompress m.dcz -o back.safetensors"])
def test_quiet_prints_nothing(line):
    assert run(f"{line} --quiet") == (0, "", "")


def test_what_could_not_be_shared_is_part_of_the_json():
    report = json.loads(run(f"{LINE} --json")[1])
    assert report["notes"] == [
        "fc1.weight is of I16, only F64, F32, F16, BF16 can be pruned or shared: stored as it is"
    ]
    with DczFile("out.dcz") as file:
        assert file.entries["fc1.weight"].coder in ("raw", "deflate", "fast")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal_lines_elsewhere_and_nothing_when_hidden(monkeypatch):
    def shown(stream, hidden=False):
        monkeypatch.setattr(sys, "stderr", stream)
        with common.progress_of_bytes("m.safetensors", hidden) as tell:
            tell(0, 3_000_000)
            tell(1_000_000, 3_000_000)
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    bar = shown(Terminal())
    assert "m.safetensors" in bar
    assert "1.0/3.0 MB" in bar
    assert shown(io.StringIO()) == ""
    monkeypatch.setattr(common, "_LINE_SECONDS", 0)
    assert shown(io.StringIO()).splitlines()[-1] == "dcz: m.safetensors: 1,000,000 of 3,000,000 bytes"
    for stream in (Terminal(), io.StringIO()):
        assert shown(stream, hidden=True) == ""
