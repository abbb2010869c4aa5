"""A whole checkpoint in memory -> a `.dcz` file, by calibration inputs or for a target."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from deepcompression.calibration.calibrate import Fitted, calibrate_network
from deepcompression.calibration.comparison import weight_change
from deepcompression.calibration.goal import Goal
from deepcompression.calibration.onnx_network import OnnxNetwork
from deepcompression.calibration.plan import Plan, solve
from deepcompression.calibration.plan_problem import Problem
from deepcompression.checkpoint.kinds import ONNX, SAFETENSORS, kind_of
from deepcompression.checkpoint.open import open_checkpoint, read_tensors, tensors_of
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.common.files import check_regular
from deepcompression.common.lock import WriteLock
from deepcompression.convert.outcome import Outcome
from deepcompression.convert.tensors import compress_and_note, compress_tensors
from deepcompression.file.effect import Effect, WeightChange, without
from deepcompression.file.writer import save_tensors, write_encoded
from deepcompression.recipe.hints import unselected
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.values import note_unselected, why_kept
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor
from deepcompression.training.save_load import encodings

# the first bytes of an array of NumPy
_NPY = b"\x93NUMPY"


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of an .npz or .safetensors file by name, or the one of an .npy file as `arr_0`. BF16 becomes float32.

    Raises ValueError for a file without arrays, or with objects.
    """
    if not path.exists():
        raise FileNotFoundError(f"no calibration inputs {path}")
    what = f"{path}: calibration inputs are arrays by name in an .npz file (numpy.savez)"
    check_regular(path)
    with path.open("rb") as start:
        magic = start.read(len(_NPY))
    if magic != _NPY and kind_of(path) == SAFETENSORS:
        found = {name: tensor.numpy() for name, tensor in read_tensors(path)[0].items()}
    elif magic != _NPY and not zipfile.is_zipfile(path):
        raise ValueError(f"{what}, which this is not")
    else:
        found = _loaded(path, what)
    if odd := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"{what}; {odd[0]} is no array")
    if not found:
        raise ValueError(f"{path}: holds no arrays")
    return found


def _loaded(path: Path, what: str) -> dict[str, Array]:
    """The arrays of a file of NumPy."""
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            return {"arr_0": file}
        with file:
            return {name: file[name] for name in file.files}
    # RuntimeError: members that are encrypted, or of an unknown version
    except (ValueError, OSError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{what}: {error}") from None


class Whole:
    """A checkpoint in memory, without inputs: plans measure the errors of its weights.

    model  its path

    Raises ValueError for a checkpoint whose weights are all packed, and the errors of `open_checkpoint`.
    """

    def __init__(self, model: Path) -> None:
        with recognise(open_checkpoint(model)) as source:
            if source.packed:
                raise ValueError(source.packed)
            self.exact, self.notes, self.metadata = source.exact, list(source.notes), without(source.metadata)
            ties = {name: Tie(entry.tied_to) for name, entry in source.entries.items() if entry.tied_to}
            found = tensors_of(source)
            self.folder = source.folder
            # the other files of the folder
            self.beside: dict[str, Tensor] = {}
            if self.folder is not None:
                self.beside |= self.folder.tensors()
                self.metadata |= self.folder.metadata
        self.own = {name: tensor for name, tensor in found.items() if name not in ties}
        self.tensors: dict[str, Tensor | Tie] = {name: ties.get(name, tensor) for name, tensor in found.items()}

    def problem(self) -> Problem:
        """The problem for a plan to solve."""
        return Problem.of_tensors({**self.tensors, **self.beside}, self.exact)

    def compress(self, output: Path, recipe: Recipe, profile: str) -> Effect:
        """Compresses by a recipe and writes the file. Returns the effect."""
        self._note_unselected(recipe)
        made, effect = self.compressed(recipe)
        tensors = {**self.tensors, **made, **self.beside}
        save_tensors(output, tensors, self.metadata | effect.metadata(), encodings(recipe, self.own), profile)
        return effect

    def compressed(self, recipe: Recipe) -> Fitted:
        """The tensors, pruned and shared by a recipe; unchanged ones may be left out. And the effect."""
        made = compress_tensors(self.own, recipe)
        return Fitted(made, Effect(tuple(_changes(self.own, made))))

    def plan(self, goal: Goal, profile: str) -> Plan:
        return solve(self.problem(), goal, profile, self.metadata)

    def carry_out(self, plan: Plan, output: Path) -> None:
        """Writes the file of a plan."""
        write_encoded(output, plan.encoded, plan.metadata)

    def _note_unselected(self, recipe: Recipe) -> None:
        if hint := unselected(recipe.matches(self.own, self.exact)):
            self.notes.append(hint)


class OnnxWithInputs(Whole):
    """An ONNX model with calibration inputs by name."""

    def __init__(self, model: Path, inputs: Mapping[str, Array]) -> None:
        super().__init__(model)
        self.network = OnnxNetwork(self.own, inputs)

    def problem(self) -> Problem:
        return Problem.of_network(self.network, self.tensors, self.exact)

    def compressed(self, recipe: Recipe) -> Fitted:
        rules: dict[str, Rule] = {}
        others: list[str] = []
        for target, rule in recipe.matches(self.own, self.exact):
            if note := note_unselected(target, rule, recipe.rules, self.own[target.name].dtype):
                self.notes.append(note)
            if rule is None or not (rule.prune or rule.share):
                continue
            if len(target.shape) < 2:
                raise ValueError(f"{target.name} has fewer than two dimensions: inputs decide about weights of layers")
            if target.name not in self.network.roles:
                others.append(target.name)
            elif note := why_kept(target, rule, self.own[target.name], squares=True):
                self.notes.append(note)
            else:
                rules[target.name] = rule
        if not others:
            return calibrate_network(self.network, rules)
        made, notes = compress_and_note(self.own, recipe, without=self.own.keys() - set(others))
        self.notes += notes
        blind = {name: made[name] for name in others if made[name] is not self.own[name]}
        if blind:
            self.notes.append(f"no layer is known to multiply by {', '.join(blind)}: compressed without the inputs")
        tensors, effect = calibrate_network(self.network, rules, blind, tuple(_changes(self.own, blind)))
        return Fitted({**made, **tensors}, effect)


def _changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Iterator[WeightChange]:
    for name, tensor in after.items():
        if tensor is not before[name]:
            yield weight_change(name, before[name].numpy(), tensor.numpy(), None)


def open_whole(model: Path, calibration: Path | None, factory: str | None) -> Whole:
    """Opens a checkpoint, or an ONNX or torch model with calibration inputs.

    calibration  a file for `read_inputs`, or None
    factory      `package.module:function`, which makes the torch model of the checkpoint, or None

    Raises ValueError for a factory without inputs, and for inputs of a checkpoint without factory.
    """
    if calibration is None:
        if factory is not None:
            raise ValueError("--model goes with --calibration, whose inputs it takes")
        return Whole(model)
    inputs = read_inputs(calibration)
    if model.is_file() and kind_of(model) == ONNX:
        return OnnxWithInputs(model, inputs)
    if factory is None:
        raise ValueError(f"{model}: --calibration of a checkpoint takes --model package.module:factory")
    from deepcompression.convert.torch_with_inputs import TorchWithInputs

    return TorchWithInputs(model, inputs, factory)


def compress_whole(
    model: Path,
    output: Path,
    wanted: Recipe | Goal,
    profile: str,
    calibration: Path | None = None,
    factory: str | None = None,
) -> Outcome:
    """Compresses the checkpoint that `open_whole` opens, by a recipe or for a target. Returns notes for people, and the
    effect.

    Raises ValueError, before anything is read, if another job writes the same file.
    """
    with WriteLock(output):
        whole = open_whole(model, calibration, factory)
        if isinstance(wanted, Recipe):
            effect = whole.compress(output, wanted, profile)
        else:
            plan = whole.plan(wanted, profile)
            whole.carry_out(plan, output)
            effect = plan.effect
            whole.notes += plan.notes
    return Outcome(whole.notes, effect)
