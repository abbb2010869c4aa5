"""A process that measures for another: commands and answers are lines of JSON.

    {"make": NAME, ...}                       -> the answer of `serve`'s maker
    {"turn": NAME, "calls": N, "cold": BOOL}  -> {"seconds": [...]}
    {"forget": true}                          -> {}

An answer {"error": TEXT} means that the command failed. It needs NumPy alone, so that any environment can serve.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import timing

Message = dict[str, Any]


class WorkerError(Exception):
    """A worker has ended or a command failed; the message says why."""


class Worker:
    """The process, seen from outside. `name` begins its errors."""

    def __init__(
        self, name: str, command: Sequence[str], folder: str | os.PathLike[str], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        with ExitStack() as stack:
            self.said = stack.enter_context(tempfile.TemporaryFile("w+"))
            self._open = stack.pop_all()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )

    def send(self, **command: Any) -> None:
        """A command whose answer `receive` gives. Raises WorkerError."""
        assert self.process.stdin is not None
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self) -> Message:
        """The answer. Raises WorkerError."""
        assert self.process.stdout is not None
        # libraries may print texts while they are loaded
        line = next((each for each in self.process.stdout if each.startswith("{")), "")
        if not line:
            raise self._ended()
        answer: Message = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name} {answer['error']}")
        return answer

    def _ended(self) -> WorkerError:
        self.process.wait()
        self.said.seek(0)
        return WorkerError(f"{self.name} has ended: {(self.said.read().strip().splitlines() or ['no message'])[-1]}")

    def ask(self, **command: Any) -> Message:
        """Raises WorkerError."""
        self.send(**command)
        return self.receive()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._open.close()


class Task:
    """As `timing.Task`, in a worker that has made it."""

    def __init__(self, worker: Worker, name: str) -> None:
        self.worker, self.name = worker, name

    def turn(self, calls: int, cold: bool) -> list[float]:
        seconds: list[float] = self.worker.ask(turn=self.name, calls=calls, cold=cold)["seconds"]
        return seconds


def serve(make: Callable[[Message], tuple[timing.Task, Message]]) -> None:
    """Answers commands until there are none; `make` gives the task that a command describes, and the answer."""
    # texts that a library prints must not come between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tasks: dict[str, timing.Task] = {}
    for line in sys.stdin:
        command: Message = json.loads(line)
        answer: Message = {}
        try:
            if "make" in command:
                tasks[command["make"]], answer = make(command)
            elif "turn" in command:
                answer = {"seconds": tasks[command["turn"]].turn(command["calls"], command["cold"])}
            else:
                tasks.clear()
        except Exception as error:
            answer = {"error": f"failed: {type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
