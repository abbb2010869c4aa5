"""A checkpoint of any size -> a `.dcz` file: tensors read, pruned, shared and encoded beside one another, within a
bound of memory.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepcompression.checkpoint.checkpoint import Checkpoint
from deepcompression.checkpoint.onnx.graph import FORMAT, GRAPH
from deepcompression.coding.coders import DEFAULT_PROFILE, Encode, check_profile
from deepcompression.convert.memory_budget import Budget, Need
from deepcompression.convert.tensors import compress_tensor
from deepcompression.file.index import VERSION
from deepcompression.file.resumable import FileWriter
from deepcompression.pruning.criteria import CRITERIA, Select
from deepcompression.recipe.groups import prune_groups
from deepcompression.recipe.recipe import Match, Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import Target, module_name
from deepcompression.tensors.dtypes import STORAGE, WEIGHT_DTYPES, widen
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.slices import Weights
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


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
    """Compresses a checkpoint into a `.dcz` file, which appears only when it is complete, and tells what could not be
    done: a line for each tensor that its rule would prune or share, and that is stored as it is.

    recipe    what to do; without one nothing is changed
    profile   as of `save`
    workers   tensors worked on at once, by default as many as there are CPUs; the bytes do not depend on it
    progress  is called with the bytes of the tensors that are finished and of all
    resume    go on with work that was broken off, by want of memory or disk, a kill or Ctrl-C

    Of a checkpoint from `recognise`, what is `exact` stays as it is.

    Memory stays under twice the largest tensor and 300 MB, since a tensor is begun only when there is room for it
    beside those at work. The coders of the profile `paper` take positions: with them, some 20 bytes for each weight of
    the largest shared tensor that survives come on top. What is finished is kept in `PATH.partial` until the end.

    Raises ValueError for a rule that matches nothing, or that names a tensor which cannot be pruned or shared; for
    unfinished work that is in the way, or that was begun otherwise; and what reading and writing raise.
    """
    check_profile(profile)
    chosen = None if recipe is None else Recipe.of(recipe)
    plan = _Plan(source, chosen)
    with FileWriter(path, _fingerprint(source, chosen, profile), resume) as writer:
        _Work(plan, writer, profile, progress).run(workers or os.cpu_count() or 1)
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
    """What payloads depend on."""
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


class _Plan:
    """What is to be done to which tensor of a checkpoint."""

    def __init__(self, source: Checkpoint, recipe: Recipe | None) -> None:
        self.source, self.recipe = source, recipe
        self.notes: dict[str, str] = {}
        self.matches: dict[str, Match] = {}
        self._selects: dict[str, Select] = {}
        if recipe is None:
            return
        try:
            self.matches = {match.target.name: match for match in recipe.matches(source.entries)}
        except ValueError as error:
            raise ValueError(getattr(source, "packed", "") or str(error)) from None
        exact: frozenset[str] = getattr(source, "exact", frozenset())
        for target, _ in self.matches.values():
            if exact.isdisjoint(target.names):
                self._note_dtype(target, recipe)
            else:
                self.matches[target.name] = Match(target, None)
        for group in prune_groups(recipe, source.entries):
            criterion = CRITERIA[group.prune.criterion]
            targets = [target for target in group.targets if exact.isdisjoint(target.names)]
            if criterion.together:
                targets = [target for target in targets if self._fits(target.name)]
            if targets:
                weights = [self._weights(source.entries[target.name]) for target in targets]
                selects = criterion.select(weights, group.prune.amount, recipe.seed)
                self._selects |= {target.name: select for target, select in zip(targets, selects, strict=True)}

    def _note_dtype(self, target: Target, recipe: Recipe) -> None:
        entry = self.source.entries[target.name]
        if target.floating:
            return
        rules = (rule for rule in recipe.rules if rule.selects(replace(target, floating=True)))
        rule = next(rules, None)
        if rule is not None and (rule.prune or rule.share):
            self.notes[target.name] = (
                f"{target.name} is of {entry.dtype}, only {', '.join(WEIGHT_DTYPES)} can be pruned or shared: "
                "stored as it is"
            )

    def _weights(self, entry: TensorEntry) -> Weights:
        """Weights that are read when they are asked for, and not kept."""
        kind = widen(np.zeros(0, STORAGE[entry.dtype]), entry.dtype).dtype
        return Weights(
            int(np.prod(entry.shape, dtype=np.int64)),
            kind,
            lambda: Weights.of_tensor(self.source.read(entry.name)).slices(),
        )

    def _fits(self, name: str) -> bool:
        return self._flaw(self.source.read(name), self.matches[name]) is None

    def _flaw(self, tensor: DenseTensor, match: Match) -> str | None:
        """Why the tensor cannot be pruned or shared. Raises ValueError if its rule names it."""
        rule = match.rule
        assert rule is not None
        weights = Weights.of_tensor(tensor)
        if rule.share is not None:
            with np.errstate(over="ignore"):
                as_float32 = (values.astype(np.float32) for values in weights.slices())
                bad = sum(len(values) - int(np.count_nonzero(np.isfinite(values))) for values in as_float32)
            flaw = f"has {bad} weights that are NaN, infinite or beyond float32"
        else:
            bad, flaw = weights.not_finite(), ""
            flaw = f"has {bad} weights that are NaN or infinite"
        if not bad:
            return None
        name = match.target.name
        if _names(rule, match.target):
            done = "shared" if rule.share is not None else "pruned"
            raise ValueError(f"{name} {flaw}: it cannot be {done}; mend the training, or let no rule select it")
        self.notes[name] = f"{name} {flaw}: stored as it is"
        return self.notes[name]

    def made(self, name: str) -> Tensor:
        """The tensor as it is to be stored."""
        tensor = self.source.read(name)
        match = self.matches.get(name)
        made: Tensor = tensor
        if match is not None and match.rule is not None and (match.rule.prune or match.rule.share):
            assert self.recipe is not None
            if self._flaw(tensor, match) is None:
                try:
                    made = compress_tensor(tensor, match.rule, self._selects.get(name), self.recipe.seed, True)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        del tensor
        return (CompressedTensor.from_dense(made) or made) if isinstance(made, DenseTensor) else made

    def how(self, name: str) -> Encode:
        match = self.matches.get(name)
        if match is None or match.rule is None or match.rule.encode is None:
            return Encode()
        return match.rule.encode


def _names(rule: Rule, target: Target) -> bool:
    """Whether a rule names a tensor, or its module, and not a pattern that it happens to match."""
    modules = {module_name(name) for name in target.names}
    return rule.where is not None or rule.tensor in target.names or rule.module in modules


class _Work:
    """The tensors of a plan, done by some threads."""

    def __init__(
        self, plan: _Plan, writer: FileWriter, profile: str, progress: Callable[[int, int], None] | None
    ) -> None:
        self._plan, self._writer, self._profile = plan, writer, profile
        self._progress = progress or (lambda done, total: None)
        own = [entry for entry in plan.source.entries.values() if entry.tied_to is None]
        self._todo = [entry for entry in own if entry.name not in writer.finished]
        self._total = sum(entry.nbytes for entry in own)
        self._done = self._total - sum(entry.nbytes for entry in self._todo)
        self._budget = Budget.of(own)
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def run(self, workers: int) -> None:
        self._progress(self._done, self._total)
        pool = ThreadPoolExecutor(workers)
        try:
            started = []
            for entry in self._todo:
                need = Need.of(entry, self._profile == "paper" or self._plan.how(entry.name) != Encode())
                self._budget.take(need.first)
                if self._failure is not None:
                    break
                started.append(pool.submit(self._do, entry, need))
            wait(started)
        except BaseException:
            # Ctrl-C: what is at work ends soon
            self._writer.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        if self._failure is not None:
            raise self._failure

    def _do(self, entry: TensorEntry, need: Need) -> None:
        held = need.first
        try:
            if self._failure is None:
                made = self._plan.made(entry.name)
                if isinstance(made, CompressedTensor):
                    self._budget.give_back(held - need.shared)
                    held = need.shared
                note = self._plan.notes.get(entry.name, "")
                self._writer.write(entry.name, made, self._plan.how(entry.name), self._profile, note)
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
