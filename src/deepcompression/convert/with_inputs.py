"""A whole checkpoint in memory -> a `.dcz` file, by calibration inputs or for a target."""

from __future__ import annotations

import glob
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deepcompression.calibration.calibrate import calibrate_network
from deepcompression.calibration.onnx_network import OnnxNetwork
from deepcompression.calibration.plan import Goal, Plan, solve
from deepcompression.calibration.plan_problem import Problem
from deepcompression.checkpoint.onnx.graph import SUFFIX
from deepcompression.checkpoint.open import open_checkpoint, tensors_of
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.common.lock import WriteLock
from deepcompression.convert.tensors import compress_tensors
from deepcompression.file.writer import save_tensors, write_encoded
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor
from deepcompression.training.save_load import encodings


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file, by name. Raises ValueError for a file without arrays, or with objects."""
    if not path.exists():
        raise FileNotFoundError(f"no calibration inputs {path}")
    what = f"{path}: calibration inputs are arrays by name in an .npz file (numpy.savez)"
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{what}, which this is not")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    # RuntimeError: members that are encrypted, or of an unknown version
    except (ValueError, OSError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{what}: {error}") from None
    if odd := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"{what}; {odd[0]} is no array")
    if not found:
        raise ValueError(f"{path}: holds no arrays")
    return found


class Whole:
    """A checkpoint in memory, without inputs: plans measure the errors of its weights.

    model  its path

    Raises ValueError for a checkpoint whose weights are all packed, and the errors of `open_checkpoint`.
    """

    def __init__(self, model: Path) -> None:
        with recognise(open_checkpoint(model)) as source:
            if source.packed:
                raise ValueError(source.packed)
            self.exact, self.notes, self.metadata = source.exact, list(source.notes), dict(source.metadata)
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

    def compress(self, output: Path, recipe: Recipe, profile: str) -> None:
        """Compresses by a recipe and writes the file."""
        recipe = self.keeping(recipe)
        compressed = self.compressed(recipe)
        save_tensors(
            output, {**self.tensors, **compressed, **self.beside}, self.metadata, encodings(recipe, self.own), profile
        )

    def compressed(self, recipe: Recipe) -> Mapping[str, Tensor]:
        """The tensors, pruned and shared by a recipe; unchanged ones may be left out."""
        return compress_tensors(self.own, recipe)

    def plan(self, goal: Goal, profile: str) -> Plan:
        return solve(self.problem(), goal, profile, self.metadata)

    def carry_out(self, plan: Plan, output: Path) -> None:
        """Writes the file of a plan."""
        write_encoded(output, plan.encoded, self.metadata)

    def keeping(self, recipe: Recipe) -> Recipe:
        """The recipe, preceded by rules that keep exact tensors as they are."""
        keep = tuple(Rule(tensor=glob.escape(name), optional=True) for name in sorted(self.exact))
        return recipe.model_copy(update={"rules": (*keep, *recipe.rules)})


class OnnxWithInputs(Whole):
    """An ONNX model with calibration inputs by name."""

    def __init__(self, model: Path, inputs: Mapping[str, Array]) -> None:
        super().__init__(model)
        self.network = OnnxNetwork(self.own, inputs)

    def problem(self) -> Problem:
        return Problem.of_network(self.network, self.tensors, self.exact)

    def compressed(self, recipe: Recipe) -> Mapping[str, Tensor]:
        rules: dict[str, Rule] = {}
        others: list[str] = []
        for target, rule in recipe.matches(self.own):
            if rule is None or not (rule.prune or rule.share):
                continue
            if len(target.shape) < 2:
                raise ValueError(f"{target.name} has fewer than two dimensions: inputs decide about weights of layers")
            if target.name in self.network.roles:
                rules[target.name] = rule
            else:
                others.append(target.name)
        fitted = calibrate_network(self.network, rules)
        if not others:
            return fitted
        self.notes.append(f"no layer is known to multiply by {', '.join(others)}: compressed without the inputs")
        return {**compress_tensors(self.own, recipe), **fitted}


def open_whole(model: Path, calibration: Path | None, factory: str | None) -> Whole:
    """Opens a checkpoint, or an ONNX or torch model with calibration inputs.

    calibration  an .npz file of inputs by name, or None
    factory      `package.module:function`, which makes the torch model of the checkpoint, or None

    Raises ValueError for a factory without inputs, and for inputs of a checkpoint without factory.
    """
    if calibration is None:
        if factory is not None:
            raise ValueError("--model goes with --calibration, whose inputs it takes")
        return Whole(model)
    inputs = read_inputs(calibration)
    if model.name.endswith(SUFFIX):
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
) -> list[str]:
    """Compresses the checkpoint that `open_whole` opens, by a recipe or for a target. Returns notes for people.

    Raises ValueError, before anything is read, if another job writes the same file.
    """
    with WriteLock(output):
        whole = open_whole(model, calibration, factory)
        if isinstance(wanted, Recipe):
            whole.compress(output, wanted, profile)
        else:
            whole.carry_out(whole.plan(wanted, profile), output)
    return whole.notes
