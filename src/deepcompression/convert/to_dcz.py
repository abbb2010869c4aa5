"""A checkpoint of any size -> a `.dcz` file: its tensors' tasks side by side, within a bound of memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.onnx.graph import FORMAT, GRAPH
from deepcompression.coding.coders import DEFAULT_PROFILE, Encode, check_profile
from deepcompression.convert.memory_budget import Budget, Need
from deepcompression.convert.tasks import Task, tasks_of
from deepcompression.file.index import VERSION
from deepcompression.file.resumable import FileWriter
from deepcompression.recipe.recipe import Recipe
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor


def compress_checkpoint(
    source: Checkpoint,
    path: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | None = None,
    *,
    profile: str = DEFAULT_PROFILE,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    resume: bool = False,
) -> list[str]:
    """Compresses a checkpoint into a `.dcz` file, which appears only when it is complete. Gives back a line for each
    tensor that a rule would prune or share, and that is stored as it is.

    recipe    what to do; without one nothing is changed
    profile   as of `save`
    workers   tensors worked on at once, by default as many as there are CPUs; the bytes do not depend on it
    progress  is called with the bytes of the tensors that are finished and of all
    resume    continue a job that was interrupted by want of memory or disk, a kill or Ctrl-C

    What a checkpoint calls `exact` stays as it is.

    Memory stays under twice the largest tensor and 300 MB, since a tensor is begun only when there is room for it
    beside those at work. The coders of the profile `paper` take positions: they need some 20 bytes more for each
    survivor of the largest shared tensor. Finished tensors stay in `PATH.partial` until the end.

    Raises ValueError for a rule that matches nothing, or that names a tensor which cannot be pruned or shared; for
    an unfinished job that is in the way, or was begun otherwise; and what reading and writing raise.
    """
    check_profile(profile)
    chosen = None if recipe is None else Recipe.of(recipe)
    tasks = tasks_of(source, chosen)
    seed = 0 if chosen is None else chosen.seed
    with FileWriter(path, _fingerprint(source, chosen, profile), resume) as writer:
        _Work(source, tasks, seed, writer, profile, progress).run(workers or os.cpu_count() or 1)
        metadata = dict(source.metadata)
        order = {name: entry.tied_to for name, entry in source.entries.items()}
        if source.graph is not None:
            graph = DenseTensor("U8", np.frombuffer(source.graph, np.uint8))
            writer.write(GRAPH, graph, profile=profile)
            order, metadata = {**order, GRAPH: None}, metadata | FORMAT
        writer.finish(order, metadata)
        notes = [writer.finished[name].note for name, tied_to in order.items() if tied_to is None]
    return [note for note in notes if note]


def _fingerprint(source: Checkpoint, recipe: Recipe | None, profile: str) -> dict[str, str]:
    """All that payloads depend on."""
    entries = repr([(e.name, e.dtype, tuple(e.shape), e.tied_to) for e in source.entries.values()])
    rules = "none" if recipe is None else recipe.model_dump_json() + repr([rule.where for rule in recipe.rules])
    return {
        "version": str(VERSION),
        "checkpoint": str(Path(source.path).resolve()),
        "size or time of the checkpoint": repr([_state(file) for file in _files(Path(source.path))]),
        "set of tensors": hashlib.sha256(entries.encode()).hexdigest(),
        "recipe": rules,
        "profile": profile,
    }


def _files(path: Path) -> list[Path]:
    """The files that a checkpoint may be made of: those beside an index, or in a folder."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.suffix == ".json":
        return sorted(file for file in folder.iterdir() if file.is_file() and ".dcz" not in file.name)
    return [path]


def _state(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return file.name, status.st_size, status.st_mtime_ns


class _Work:
    """The tasks of a checkpoint's tensors, carried out by some threads."""

    def __init__(
        self,
        source: Checkpoint,
        tasks: Mapping[str, Task],
        seed: int,
        writer: FileWriter,
        profile: str,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._source, self._tasks, self._seed = source, tasks, seed
        self._writer, self._profile = writer, profile
        self._progress = progress or (lambda done, total: None)
        own = [source.entries[name] for name in tasks]
        self._left = [entry for entry in own if entry.name not in writer.finished]
        self._total = sum(entry.nbytes for entry in own)
        self._done = self._total - sum(entry.nbytes for entry in self._left)
        self._budget = Budget.of(own)
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def run(self, workers: int) -> None:
        self._progress(self._done, self._total)
        pool = ThreadPoolExecutor(workers)
        try:
            started = []
            for entry in self._left:
                task = self._tasks[entry.name]
                need = Need.of(entry, self._profile == "paper" or task.how != Encode())
                self._budget.take(need.first)
                if self._failure is not None:
                    break
                started.append(pool.submit(self._do, task, entry, need))
            wait(started)
        except BaseException:
            # Ctrl-C: the tensors at work end soon
            self._writer.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        if self._failure is not None:
            raise self._failure

    def _do(self, task: Task, entry: TensorEntry, need: Need) -> None:
        held = need.first
        try:
            if self._failure is None:
                made, note = task.carry_out(self._source, self._seed)
                if isinstance(made, CompressedTensor):
                    self._budget.give_back(held - need.shared)
                    held = need.shared
                self._writer.write(entry.name, made, task.how, self._profile, note)
                del made
                with self._lock:
                    self._done += entry.nbytes
                    self._progress(self._done, self._total)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self._writer.stop()
        finally:
            self._budget.give_back(held)
