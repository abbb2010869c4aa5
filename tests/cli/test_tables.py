"""Tables on narrow terminals and in pipes."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from cases import shared

import deepcompression as dc
from deepcompression.common.messages import aligned, shortened

LONG = "model.layers.{}.self_attn.a_module_of_a_very_long_name.query_projection.weight"
NAMES = [LONG.format(0), LONG.format(1), "model[bold].norm.weight"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dc.save_tensors("m.dcz", {name: shared(2000, range(0, 2000, 3), 8, shape=(40, 50)) for name in NAMES})
    weights = np.random.default_rng(0).standard_normal((40, 50)).astype("f4")
    tensors = {name: dc.DenseTensor.from_numpy(weights) for name in NAMES}
    dc.checkpoint.write_tensors("m.safetensors", tensors, {})
    return tmp_path


def in_terminal(line, columns):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "deepcompression", *line.split()]
    subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, check=True, env=environment, timeout=60)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        # Linux: the other end is closed
        except OSError:
            part = b""
        if not part:
            break
        text += part
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).replace("\r\n", "\n")


def in_pipe(line):
    command = [sys.executable, "-m", "deepcompression", *line.split()]
    # shells export it, whatever a command's output is
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, check=True, text=True, env=environment, timeout=60).stdout


LINES = [
    "inspect m.dcz",
    "bench m.dcz --seconds 0.001",
    "sensitivity m.safetensors",
    "plan m.safetensors --target-ratio 4",
]


@pytest.mark.parametrize("line", LINES)
def test_a_pipe_gets_every_name_whole(line):
    printed = in_pipe(line)
    assert all(name in printed for name in NAMES)
    assert "..." not in printed
    assert "…" not in printed


@pytest.mark.parametrize("line", LINES)
def test_a_terminal_of_80_columns_shows_both_ends_of_names_and_all_digits(line):
    printed = in_terminal(line, 80)
    rows = [row for row in printed.splitlines() if row.strip("│┃ ").startswith(("tensor", "model"))]
    assert len(rows) >= 4
    assert max(map(len, rows)) <= 80 or "bench" in line
    assert "mode" in printed
    assert "weight" in printed
    assert "2,000" in printed or "bench" in line
    assert "…" not in printed


def test_columns_left_out_are_named():
    printed = " ".join(in_terminal("inspect m.dcz", 80).split())
    assert "A wider terminal, a pipe or --json also shows: w bits P+Q, i bits P+Q, rate P+Q" in printed
    assert "also shows" not in in_terminal("inspect m.dcz", 240)


def test_names_are_shortened_in_their_middle():
    assert shortened("layers.0.query.weight", 12) == "layer...ight"
    assert shortened("fc.weight", 9) == "fc.weight"
    rows = [("tensor", "bytes"), (LONG, "1,234"), ("b", "5")]
    assert max(map(len, aligned(rows, numbers=True, width=40).splitlines())) == 40
    assert LONG in aligned(rows, numbers=True)
