"""DeepSparse, in an environment and a process of its own: tasks that take turns beside those of this process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import worker
from benchmarks.environment import KEPT, ROOT
from benchmarks.layers.peers import ENGINE, Array
from benchmarks.packages import UnavailableError, interpreter

RELEASE = "deepsparse==1.8.0"
ENVIRONMENT = KEPT / "deepsparse-venv"
# Name of the peer -> kind, and whether it is the int8 one. It computes with sparse weights, as we do.
PEERS = {"DeepSparse fp32": (ENGINE, False), "DeepSparse int8": (ENGINE, True)}


class Worker(worker.Worker):
    """The process. Raises UnavailableError if it cannot be started or a command fails."""

    def __init__(self) -> None:
        python = interpreter(ENVIRONMENT, RELEASE, [RELEASE, "numpy<2"])
        super().__init__("DeepSparse", [str(python), "-m", "benchmarks.layers.deepsparse_worker"], ROOT, {})
        self.folder = tempfile.TemporaryDirectory()

    def ask(self, **command: Any) -> worker.Message:
        try:
            return super().ask(**command)
        except worker.WorkerError as error:
            raise UnavailableError(str(error)) from None

    def give(self, weight: Array) -> None:
        """Sets the weight of all tasks that are made from now on."""
        self.ask(forget=True)
        np.save(Path(self.folder.name) / "weight.npy", weight)

    def make(self, name: str, x: Array, threads: int) -> tuple[worker.Task, Array]:
        """A task that takes turns, and y."""
        paths = {each: str(Path(self.folder.name) / f"{each}.npy") for each in ("weight", "x", "y")}
        np.save(paths["x"], x)
        self.ask(make=name, threads=threads, int8=PEERS[name][1], **paths)
        return worker.Task(self, name), np.load(paths["y"])

    def close(self) -> None:
        super().close()
        self.folder.cleanup()
