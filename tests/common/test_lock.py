"""The lock of a file that is written: one job at a time, and none after its process has ended."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepcompression.common.lock import WriteLock

HOLD = """
import sys
from deepcompression.common.lock import WriteLock
held = WriteLock(sys.argv[1])
print("held", flush=True)
input()
"""


def test_a_second_job_is_refused_until_the_first_has_ended(tmp_path):
    path = tmp_path / "m.dcz"
    with WriteLock(path):
        with pytest.raises(
            ValueError, match=rf"m\.dcz is being written by another job \(process {os.getpid()}\): wait"
        ):
            WriteLock(path)
        with WriteLock(tmp_path / "other.dcz"):
            pass
    assert list(tmp_path.iterdir()) == []
    WriteLock(path).release()


def test_the_lock_of_another_process_ends_when_it_is_killed(tmp_path):
    path = tmp_path / "m.dcz"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline()
        with pytest.raises(ValueError, match=rf"process {other.pid}\)"):
            WriteLock(path)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert Path(f"{path}.lock").exists()
        with WriteLock(path):
            assert Path(f"{path}.lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_longer_number_of_a_dead_process_leaves_nothing_behind(tmp_path):
    Path(tmp_path / "m.dcz.lock").write_text("99999999999999")
    with WriteLock(tmp_path / "m.dcz"), pytest.raises(ValueError, match=rf"process {os.getpid()}\)"):
        WriteLock(tmp_path / "m.dcz")


def test_one_thread_at_a_time_has_the_lock(tmp_path):
    path, inside, most, wins = tmp_path / "m.dcz", [], [], []

    def work():
        for _ in range(200):
            try:
                held = WriteLock(path)
            except ValueError:
                continue
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            wins.append(1)
            held.release()
            held.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wins
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*missing'"):
        WriteLock(tmp_path / "missing" / "m.dcz")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_locks_nothing(number, tmp_path, monkeypatch):
    def unsupported(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with WriteLock(tmp_path / "m.dcz"), WriteLock(tmp_path / "m.dcz"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that takes no files even from root")
def test_a_folder_that_takes_no_files_is_not_taken_for_another_job():
    with pytest.raises(PermissionError, match=r"takes no new files: '/proc/self'"):
        WriteLock("/proc/self/m.dcz")
