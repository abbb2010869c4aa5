"""DeepSparse, in an environment and a process of its own: tasks that take turns beside those of this process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import ROOT
from benchmarks.layers.peers import ENGINE, Array, MissingError

RELEASE = "deepsparse==1.8.0"
ENVIRONMENT = ROOT / "build" / "benchmarks" / "deepsparse-venv"
WORKER = Path(__file__).parent / "deepsparse_worker.py"
# Name of the peer -> kind, and whether it is the int8 one. It computes with sparse weights, as we do.
PEERS = {"DeepSparse fp32": (ENGINE, False), "DeepSparse int8": (ENGINE, True)}


def environment(folder: Path = ENVIRONMENT) -> Path:
    """The interpreter of DeepSparse's own environment, made in `folder` if it is not there. Raises MissingError."""
    python, done = folder / "bin" / "python", folder / RELEASE
    if not done.exists():
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", RELEASE, "numpy<2"]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], install):
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise MissingError(f"{RELEASE} cannot be installed: {(ran.stderr.strip().splitlines() or ['?'])[-1]}")
        done.touch()
    return python


class Worker:
    """The process. Raises MissingError if it cannot be started or refuses a command."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [str(environment()), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise MissingError("DeepSparse has ended") from None
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "DeepSparse has ended"}
        if "error" in answer:
            raise MissingError(answer["error"])
        return answer

    def give(self, weight: Array) -> None:
        """The weight of all that are made from now on."""
        self.ask(forget=True)
        np.save(Path(self.folder.name) / "weight.npy", weight)

    def make(self, name: str, x: Array, threads: int) -> tuple[Task, Array]:
        """What takes turns, and y."""
        paths = {each: str(Path(self.folder.name) / f"{each}.npy") for each in ("weight", "x", "y")}
        np.save(paths["x"], x)
        self.ask(make=name, threads=threads, int8=PEERS[name][1], **paths)
        return Task(self, name), np.load(paths["y"])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()


class Task:
    """As `timing.Task`."""

    def __init__(self, worker: Worker, name: str) -> None:
        self.worker, self.name = worker, name

    def turn(self, calls: int, cold: bool) -> list[float]:
        seconds: list[float] = self.worker.ask(turn=self.name, calls=calls, cold=cold)["seconds"]
        return seconds
