"""A checkpoint of any size -> a `.dcz` file: tensors compressed side by side, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.onnx.graph import FORMAT, GRAPH
from deepcompression.coding.coders import DEFAULT_PROFILE, check_profile
from deepcompression.coding.encode_part import Encode
from deepcompression.convert.memory_budget import Budget, Need
from deepcompression.convert.outcome import Outcome
from deepcompression.convert.tasks import Task, tasks_of
from deepcompression.file.effect import Effect, without
from deepcompression.file.index import VERSION
from deepcompression.file.resumable import FileWriter
from deepcompression.recipe.hints import unselected
from deepcompression.recipe.recipe import Match, Recipe
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
) -> Outcome:
    """Compresses a checkpoint into a `.dcz` file, which appears only when it is complete. Returns a note for each
    tensor that a rule would prune or share, but that is stored as it is, and one if no rule selects most weights; and
    the effect on the other weights.

    recipe    without one no value changes
    profile   as of `save`
    workers   tensors worked on at once, by default as many as CPUs; the file does not depend on it
    progress  is called with the bytes of the finished tensors and of all
    resume    continue a job that lack of memory or disk, a kill or Ctrl-C interrupted

    Tensors that are `exact` in the checkpoint stay as they are.

    Memory stays under twice the largest tensor plus 300 MB: a tensor waits until there is room for it beside those at
    work. The coders of the profile `paper` take positions, some 20 bytes more for each survivor of the largest shared
    tensor. Finished tensors stay in `PATH.partial` until the end.

    Raises ValueError for a rule that matches nothing, for a rule that names a tensor which cannot be pruned or shared,
    and for an unfinished job at this path, unless `resume` continues it with the same inputs; and the errors of reading
    and writing.
    """
    check_profile(profile)
    if isinstance(source, str | os.PathLike):
        raise TypeError(
            "a checkpoint is what deepcompression.checkpoint.open_checkpoint(path) returns; found a "
            f"{type(source).__name__}"
        )
    chosen = None if recipe is None else Recipe.of(recipe)
    tasks = tasks_of(source, chosen)
    seed = 0 if chosen is None else chosen.seed
    with FileWriter(path, _fingerprint(source, chosen, profile), resume) as writer:
        work = _Work(source, tasks, seed, writer, profile, progress or (lambda done, total: None))
        work.run(workers or os.cpu_count() or 1)
        metadata = dict(source.metadata)
        order = {name: entry.tied_to for name, entry in source.entries.items()}
        if source.graph is not None:
            graph = DenseTensor("U8", np.frombuffer(source.graph, np.uint8))
            writer.write(GRAPH, graph, profile=profile)
            order, metadata = {**order, GRAPH: None}, metadata | FORMAT
        if source.folder is not None:
            for name, tensor in source.folder.tensors():
                writer.write(name, tensor, profile=profile)
                order[name] = None
            metadata |= source.folder.metadata
        finished = [writer.finished[name] for name, tied_to in order.items() if tied_to is None]
        changes = [each.change for each in finished if each.change is not None]
        writer.finish(order, without(metadata) if changes else metadata)
    notes = [each.note for each in finished]
    if not source.entries:
        notes.append("the checkpoint holds no tensors, and so does the file")
    if chosen is not None:
        notes.append(unselected(Match(task.target, task.rule) for task in tasks.values()))
    return Outcome(filter(None, notes), Effect(tuple(changes)))


def _fingerprint(source: Checkpoint, recipe: Recipe | None, profile: str) -> dict[str, str]:
    """Everything that the payloads depend on."""
    entries = repr([(e.name, e.dtype, tuple(e.shape), e.tied_to) for e in source.entries.values()])
    rules = "none" if recipe is None else recipe.model_dump_json() + repr([rule.where for rule in recipe.rules])
    return {
        "version": str(VERSION),
        "checkpoint": str(source.path.resolve()),
        "size or time of the checkpoint": repr(_states(source.path)),
        "files of the folder": repr(None if source.folder is None else _states_of(source.folder.files.values())),
        "set of tensors": hashlib.sha256(entries.encode()).hexdigest(),
        "recipe": rules,
        "profile": profile,
    }


def _states(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the checkpoint's file, or of all files beside an index or in a folder."""
    files = [path]
    if path.is_dir() or path.suffix == ".json":
        folder = path if path.is_dir() else path.parent
        files = sorted(file for file in folder.iterdir() if file.is_file() and ".dcz" not in file.name)
    return _states_of(files)


def _states_of(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    return [(file.name, (status := file.stat()).st_size, status.st_mtime_ns) for file in files]


@dataclass
class _Work:
    """The tasks of a checkpoint's tensors, carried out by threads."""

    source: Checkpoint
    tasks: Mapping[str, Task]
    seed: int
    writer: FileWriter
    profile: str
    progress: Callable[[int, int], None]

    def __post_init__(self) -> None:
        own = [self.source.entries[name] for name in self.tasks]
        self._left = [entry for entry in own if entry.name not in self.writer.finished]
        self._total = sum(entry.nbytes for entry in own)
        self._done = self._total - sum(entry.nbytes for entry in self._left)
        self._budget = Budget.of(own)
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def run(self, workers: int) -> None:
        self.progress(self._done, self._total)
        pool = ThreadPoolExecutor(workers)
        try:
            started = []
            for entry in self._left:
                task = self.tasks[entry.name]
                need = Need.of(entry, self.profile == "paper" or task.how != Encode())
                self._budget.take(need.first)
                if self._failure is not None:
                    break
                started.append(pool.submit(self._do, task, entry, need))
            wait(started)
        except BaseException:
            # Ctrl-C: ends the tensors at work soon
            self.writer.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        if self._failure is not None:
            raise self._failure

    def _do(self, task: Task, entry: TensorEntry, need: Need) -> None:
        held = need.first
        try:
            if self._failure is None:
                made, note, change = task.carry_out(self.source, self.seed)
                if isinstance(made, CompressedTensor):
                    self._budget.give_back(held - need.shared)
                    held = need.shared
                self.writer.write(entry.name, made, task.how, self.profile, note, change)
                del made
                with self._lock:
                    self._done += entry.nbytes
                    self.progress(self._done, self._total)
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
            self.writer.stop()
        finally:
            self._budget.give_back(held)
