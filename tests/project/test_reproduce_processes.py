"""AlexNet from a folder of pictures to a file by two processes: killed and resumed, and ended by bad input."""

import fcntl
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import processes
import psutil
import pytest
import torch.distributed as dist
from pictures import write_pictures
from typer.testing import CliRunner

import deepcompression as dc
from reproduce.__main__ import app
from reproduce.large.job import Job, Options
from reproduce.large.phases import Rates

ROOT = Path(__file__).parents[2]
OPTIONS = "--width 0.02 --size 67 --classes 5 --batch 8 --workers 0 --rate 0.05"
EPOCHS = "--epochs 2 --retrain-epochs 1 --share-epochs 1"
SECONDS = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures", training=12, side=80)


def start(folder, out, more="--save-minutes 0", processes=2):
    """A job of one process, or `accelerate launch` of several, which communicate through gloo."""
    command = [sys.executable, "-m"]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        launch = "--multi_gpu --num_machines 1 --mixed_precision no --dynamo_backend no"
        command += ["accelerate.commands.launch", *launch.split(), "--num_processes", str(processes)]
        command += ["--main_process_port", str(port), "-m"]
    command += ["reproduce", "alexnet", "--data", str(folder), "--out", str(out)]
    command += [*OPTIONS.split(), *EPOCHS.split(), *more.split()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def lines_until(process, text):
    """The output of a job until a line with `text`, which kills it with all its processes; all output if it is None."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text is not None and text in line:
            # the launcher gives each of them a session of its own
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            break
    process.communicate(timeout=SECONDS)
    return lines


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The folder of a job that was not killed, and its output."""
    out = tmp_path_factory.mktemp("whole")
    process = start(folder, out)
    lines = lines_until(process, None)
    assert process.returncode == 0, "".join(lines)
    return out, lines


def test_two_processes_make_a_file_that_is_what_its_result_says(whole, folder):
    out, lines = whole
    # one of them prints
    assert sum("train: done" in line for line in lines) == 1
    result = json.loads((out / "alexnet.json").read_text())
    file = out / "alexnet.dcz"
    assert result["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert result["report"] == json.loads(json.dumps(dc.Report.of(file).to_dict()))
    assert [stage["stage"] for stage in result["stages"]] == ["train", "prune conv 1/1", "prune fc 1/1", "share"]
    assert result["data"] == {"name": "pictures", "training": 33, "validation": 3, "test": 9, "classes": 3}
    densities = {row["name"]: row["density"] for row in result["report"]["rows"]}
    assert densities["fc7.weight"] == pytest.approx(0.09, abs=0.005)
    # by one process, in float32: one picture in nine may change sides
    called = CliRunner().invoke(app, ["evaluate", "alexnet", str(file), "--data", str(folder)])
    assert called.exit_code == 0, called.output
    found = float(re.search(r"([\d.]+) % of 9 test images wrong", called.output)[1])
    assert found == pytest.approx(result["test_error_percent"], abs=12)


def test_a_job_that_is_killed_resumes_and_ends_with_the_same_file(whole, folder, tmp_path):
    for moment in ("train: 3 of", "share: 1 of"):
        lines = lines_until(start(folder, tmp_path), moment)
        assert moment in lines[-1], "".join(lines)
        assert not (tmp_path / "alexnet.dcz").exists()
    process = start(folder, tmp_path)
    lines = lines_until(process, None)
    assert process.returncode == 0, "".join(lines)
    assert any("resumes from" in line for line in lines)
    assert (tmp_path / "alexnet.dcz").read_bytes() == (whole[0] / "alexnet.dcz").read_bytes()
    first, second = (json.loads((out / "alexnet.json").read_text()) for out in (whole[0], tmp_path))
    assert second["stages"] == first["stages"]
    assert second["test_error_percent"] == first["test_error_percent"]


def test_one_process_resumes_in_mixed_precision_too(folder, tmp_path):
    files = []
    for name, moments in (("whole", []), ("killed", ["prune conv 1/1: 2 of", "share: 2 of"])):
        out = tmp_path / name
        for moment in moments:
            lines = lines_until(start(folder, out, processes=1), moment)
            assert moment in lines[-1], "".join(lines)
        process = start(folder, out, processes=1)
        lines = lines_until(process, None)
        assert process.returncode == 0, "".join(lines)
        files.append((out / "alexnet.dcz").read_bytes())
    assert files[0] == files[1]


def in_group(rank, data, out):
    """Whether the process is one of a group while a job runs, and after it."""
    rates = Rates(1, 0.05, 1, 0.01, 1, 1e-3)
    settings = {"width": 0.02, "size": 67, "images": None, "normalisation": "imagenet", "precision": "float32"}
    times = {"rates": rates, "batch": 8, "seed": 0, "workers": 0, "save_minutes": 1.0, "longer": False}
    with Job(Options("alexnet", data, out, None, None, classes=5, **settings, **times)):
        during = dist.is_initialized()
    return during, dist.is_initialized()


def test_the_processes_of_a_job_leave_their_group(folder, tmp_path):
    # a thread of gloo that outlives the interpreter aborts the process now and then
    assert processes.results(in_group, folder, tmp_path) == [(True, False)] * 2


def test_two_jobs_do_not_write_into_one_folder(folder, tmp_path):
    with (tmp_path / "alexnet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(folder, tmp_path)
        lines = "".join(lines_until(process, None))
    assert process.returncode != 0
    assert "another job is at work" in lines


def test_other_settings_end_all_processes_with_a_message(whole, folder):
    process = start(folder, whole[0], "--seed 0 --rate 0.01")
    lines = "".join(lines_until(process, None))
    assert process.returncode != 0
    assert lines.count("train: rate was 0.05, is 0.01") == 2


def test_a_broken_picture_ends_all_processes_before_training(tmp_path):
    folder = write_pictures(tmp_path / "pictures", side=80)
    (folder / "train" / "red" / "1.jpg").write_bytes(b"nothing")
    process = start(folder, tmp_path / "out")
    lines = "".join(lines_until(process, None))
    assert process.returncode != 0
    assert "train/red/1.jpg" in lines
    assert "steps, loss" not in lines
