"""Files written payload by payload: the bytes of `save_tensors`, and nothing lost when a job is interrupted."""

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, content, dense, shared

from deepcompression.coding.coders import PROFILES
from deepcompression.coding.encode_part import Encode
from deepcompression.file.reader import DczFile
from deepcompression.file.resumable import FileWriter
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import DenseTensor

NAMES = [name for name in CASES if "70000" not in name][::7]
FINGERPRINT = {"recipe": "a", "profile": "fast"}


def write(path, tensors, names=None, fingerprint=None, resume=False):
    with FileWriter(path, fingerprint or FINGERPRINT, resume) as writer:
        for name in names or tensors:
            if name not in writer.finished:
                writer.write(name, tensors[name])
        writer.finish(dict.fromkeys(tensors), {})


def interrupted(path, tensors, names, error=KeyboardInterrupt):
    """The error of a job that ends with it after some tensors."""

    def work():
        with FileWriter(path, FINGERPRINT) as writer:
            for name in names:
                writer.write(name, tensors[name])
            raise error

    with pytest.raises(error) as caught:
        work()
    return caught.value


TENSORS = {"a": dense("F32", (900,)), "b": shared(5000, list(range(0, 5000, 3))), "c": dense("U8", (30, 40))}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_bytes_are_those_of_save_tensors_in_whatever_order_payloads_come(profile, tmp_path):
    tensors = {name: CASES[name] for name in NAMES}
    how = {NAMES[3]: Encode(coder="sparse", gap_bits=4)}
    save_tensors(tmp_path / "whole.dcz", tensors | {"tied": Tie(NAMES[0])}, {"z": "1", "a": "2"}, how, profile)
    with FileWriter(tmp_path / "parts.dcz") as writer:
        for name in reversed(NAMES):
            writer.write(name, tensors[name], how.get(name), profile)
        writer.finish(dict.fromkeys(NAMES) | {"tied": NAMES[0]}, {"z": "1", "a": "2"})
    assert (tmp_path / "parts.dcz").read_bytes() == (tmp_path / "whole.dcz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.dcz", "whole.dcz"]


def test_the_file_appears_only_at_the_end_and_the_old_one_stays_until_then(tmp_path):
    path = tmp_path / "m.dcz"
    path.write_bytes(b"old")
    with FileWriter(path) as writer:
        writer.write("a", TENSORS["a"])
        assert path.read_bytes() == b"old"
        writer.finish({"a": None}, {})
    with DczFile(path) as file:
        assert content(file.read("a")) == content(TENSORS["a"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_job_is_resumed(error, tmp_path, monkeypatch):
    path = tmp_path / "m.dcz"
    caught = interrupted(path, TENSORS, ["b", "a"], error)
    assert caught.__notes__ == [f"2 finished tensors are kept in {path}.partial: continue with --resume (resume=True)"]
    written = []
    real = FileWriter.write
    monkeypatch.setattr(FileWriter, "write", lambda self, name, *rest: written.append(name) or real(self, name, *rest))
    write(path, TENSORS, resume=True)
    assert written == ["c"]
    save_tensors(tmp_path / "whole.dcz", TENSORS)
    assert path.read_bytes() == (tmp_path / "whole.dcz").read_bytes()
    assert not Path(f"{path}.partial").exists()


@pytest.mark.parametrize(("names", "error"), [([], KeyboardInterrupt), (["a"], ValueError), (["a"], RuntimeError)])
def test_nothing_stays_of_a_job_that_is_not_worth_resuming(names, error, tmp_path):
    interrupted(tmp_path / "m.dcz", TENSORS, names, error)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_job_is_not_discarded_unasked(tmp_path):
    path = tmp_path / "m.dcz"
    interrupted(path, TENSORS, ["a"])
    with pytest.raises(
        ValueError, match=r"m\.dcz\.partial holds 1 finished tensor of.* --resume .* or remove that folder"
    ):
        FileWriter(path, FINGERPRINT)
    write(path, TENSORS, resume=True)


def test_resuming_without_a_job_begins_one(tmp_path):
    write(tmp_path / "m.dcz", TENSORS, resume=True)
    with DczFile(tmp_path / "m.dcz") as file:
        assert list(file) == list(TENSORS)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"recipe": "b", "profile": "fast"}, "another recipe; give what it was started with, or remove that folder"),
        ({"recipe": "b", "profile": "small"}, "another recipe and another profile"),
        ({"recipe": "a"}, "another profile"),
    ],
)
def test_a_job_of_another_fingerprint_is_refused_with_the_difference(other, words, tmp_path):
    path = tmp_path / "m.dcz"
    interrupted(path, TENSORS, ["a"])
    with pytest.raises(ValueError, match=words):
        FileWriter(path, other, resume=True)
    write(path, TENSORS, resume=True)


def kept(path):
    folder = Path(f"{path}.partial")
    head, *lines = (folder / "journal").read_bytes().splitlines(keepends=True)
    return folder, head, lines


def test_only_whole_lines_of_the_journal_count(tmp_path):
    path = tmp_path / "m.dcz"
    interrupted(path, TENSORS, ["a", "b"])
    folder, head, lines = kept(path)
    for length in range(len(lines[1])):
        (folder / "journal").write_bytes(head + lines[0] + lines[1][:length])
        with FileWriter(path, FINGERPRINT, resume=True) as writer:
            assert list(writer.finished) == ["a"]
            writer.write("b", TENSORS["b"])
        assert len(kept(path)[2]) == 2


def test_a_payload_that_is_lost_or_damaged_is_encoded_again(tmp_path):
    path = tmp_path / "m.dcz"
    for spoil in (Path.unlink, lambda file: file.write_bytes(b"short"), lambda file: flip(file)):
        interrupted(path, TENSORS, ["a", "b"])
        folder, _, lines = kept(path)
        spoil(folder / json.loads(lines[0])["file"])
        with FileWriter(path, FINGERPRINT, resume=True) as writer:
            assert list(writer.finished) == ["b"]
        write(path, TENSORS, resume=True)
        save_tensors(tmp_path / "whole.dcz", TENSORS)
        assert path.read_bytes() == (tmp_path / "whole.dcz").read_bytes()


def flip(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_a_full_disk_at_the_end_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "m.dcz"

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write(path, TENSORS)
    assert not path.exists()
    assert len(kept(path)[2]) == 3
    write(path, TENSORS, resume=True)
    assert path.exists()


def test_a_writer_that_was_stopped_ends_soon(tmp_path):
    with FileWriter(tmp_path / "m.dcz") as writer:
        writer.write("a", TENSORS["a"])
        writer.stop()
        with pytest.raises(InterruptedError):
            writer.write("b", TENSORS["b"])
        assert list(writer.finished) == ["a"]


def test_a_tensor_that_cannot_be_stored_is_named(tmp_path):
    deep = DenseTensor("U8", np.zeros((1,) * 33, np.uint8))
    with pytest.raises(ValueError, match="deep: it has 33 dimensions"), FileWriter(tmp_path / "m.dcz") as writer:
        writer.write("deep", deep)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        FileWriter(tmp_path / "no" / "m.dcz")
    assert list(tmp_path.iterdir()) == []


def test_two_jobs_do_not_write_one_file(tmp_path):
    path = tmp_path / "m.dcz"
    with FileWriter(path, FINGERPRINT) as writer:
        writer.write("a", TENSORS["a"])
        for resume in (False, True):
            with pytest.raises(ValueError, match=r"m\.dcz is being written by another job"):
                FileWriter(path, FINGERPRINT, resume)
        # the other has not touched the finished tensors
        writer.write("b", TENSORS["b"])
        writer.finish({"a": None, "b": None}, {})
    write(path, TENSORS)
    assert [file.name for file in tmp_path.iterdir()] == ["m.dcz"]


def test_a_process_killed_while_the_file_is_put_together_leaves_nothing_behind(tmp_path):
    path = tmp_path / "m.dcz"
    code = f"""
import os, pickle, sys
from deepcompression.file.resumable import FileWriter
os.fsync = lambda file: os._exit(9)
with FileWriter({str(path)!r}, {FINGERPRINT!r}) as writer:
    for name, tensor in pickle.load(sys.stdin.buffer).items():
        writer.write(name, tensor)
    writer.finish(dict.fromkeys("abc"), {{}})
"""
    assert subprocess.run([sys.executable, "-c", code], input=pickle.dumps(TENSORS)).returncode == 9
    assert not path.exists()
    write(path, TENSORS, resume=True)
    save_tensors(tmp_path / "whole.dcz", TENSORS)
    assert path.read_bytes() == (tmp_path / "whole.dcz").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.dcz", "whole.dcz"]


def test_the_target_of_a_link_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "m.dcz").symlink_to(tmp_path / "far" / "real.dcz")
    write(tmp_path / "m.dcz", TENSORS)
    assert (tmp_path / "m.dcz").is_symlink()
    assert [file.name for file in (tmp_path / "far").iterdir()] == ["real.dcz"]
