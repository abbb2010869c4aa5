"""A torch model with calibration inputs: made by a user's function, filled from a checkpoint."""

from __future__ import annotations

import glob
import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepcompression.calibration.calibrate import calibrate
from deepcompression.calibration.plan_problem import Problem
from deepcompression.calibration.runs import Expected, by_position, inputs_of
from deepcompression.checkpoint.folder_names import KEY
from deepcompression.convert.with_inputs import Whole
from deepcompression.file.effect import Effect
from deepcompression.file.writer import save_tensors
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.entry import TensorEntry, Tie
from deepcompression.tensors.tensor import Tensor
from deepcompression.training.model_tensors import metadata_of, read_model
from deepcompression.training.save_load import encodings, fill_model

# inputs per call of the model
_BATCH = 32


class TorchWithInputs(Whole):
    """A checkpoint with calibration inputs by name, in a model that a function makes.

    factory  `package.module:function`, which makes the model
    """

    def __init__(self, model: Path, inputs: Mapping[str, Array], factory: str) -> None:
        super().__init__(model)
        self.module, notes = _filled(factory, self.tensors, str(model))
        self.notes += notes
        self.metadata = metadata_of(self.module) | self.metadata
        self._keep_folder()
        self.batches = _batches(inputs)

    def _keep_folder(self) -> None:
        """Leaves the other files of the folder out, and says so, if the model gives its tensors other names."""
        if self.folder is None:
            return
        entries = {
            name: TensorEntry(name, each.dtype, tuple(each.shape))
            for name, each in read_model(self.module).items()
            if not isinstance(each, Tie)
        }
        folder, notes = self.folder.around_tensors(entries)
        if folder is None:
            self.notes += notes
            self.beside = {}
            del self.metadata[KEY]

    def problem(self) -> Problem:
        problem = Problem.of_model(self.module, self.batches, self.exact)
        return problem._replace(tensors={**problem.tensors, **self.beside})

    def compress(self, output: Path, recipe: Recipe, profile: str) -> Effect:
        self._note_unselected(recipe)
        # the module does not show what metadata of the checkpoint say
        keep = (Rule(tensor=glob.escape(name), optional=True) for name in sorted(self.exact))
        recipe = recipe.model_copy(update={"rules": (*keep, *recipe.rules)})
        effect = calibrate(self.module, recipe, self.batches)
        tensors = {**read_model(self.module), **self.beside}
        metadata = self.metadata | effect.metadata()
        save_tensors(output, tensors, metadata, encodings(recipe, self.module), profile)
        return effect


def make_model(factory: str) -> torch.nn.Module:
    """The model that `package.module:factory` makes. Raises ValueError if it makes none."""
    module, colon, function = factory.partition(":")
    what = f"--model is package.module:factory, which {factory} is not"
    if not (module and colon and function):
        raise ValueError(f"{what}: name the module and its function, with a colon between them")
    # finds a user's own file, as `python -m` does
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(module), function)
    # a user's own code may raise anything
    except Exception as error:
        raise ValueError(f"{what}: {_located(error)}") from error
    if not callable(make):
        raise ValueError(f"{what}: {function} is a {type(make).__name__}, expected a function without arguments")
    try:
        made = make()
    except Exception as error:
        raise ValueError(f"--model {factory} failed when it was called without arguments: {_located(error)}") from error
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--model {factory} gave a {type(made).__name__}, not a torch.nn.Module")
    return made


def _filled(factory: str, tensors: Mapping[str, Tensor | Tie], where: str) -> tuple[torch.nn.Module, list[str]]:
    """Calls a factory and fills its model from a checkpoint; with notes. Raises ValueError if either fails."""
    made = make_model(factory)
    own = {name: each for name, each in tensors.items() if not isinstance(each, Tie)}
    entries = {name: TensorEntry(name, each.dtype, tuple(each.shape)) for name, each in own.items()}
    ties = {
        name: replace(entries[each.to], name=name, tied_to=each.to)
        for name, each in tensors.items()
        if isinstance(each, Tie)
    }
    try:
        fit = fill_model(made, entries | ties, lambda name: own[name].dense(), where)
    except ValueError as error:
        raise ValueError(f"{error}; the model is that of {factory}") from None
    return made, list(fit.notes)


def _located(error: Exception) -> str:
    """An error's text, with the line of a user's own code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def _batches(inputs: Mapping[str, Array]) -> list[Any]:
    """Arrays by name -> batches for a torch model; `arr_0`, `arr_1` of numpy.savez become positional arguments."""
    positional = by_position(inputs)
    if positional:
        inputs = {str(number): array for number, array in enumerate(positional)}
    runs = inputs_of(inputs, dict.fromkeys(inputs, Expected())).runs(_BATCH)
    batches = [{name: torch.from_numpy(np.array(array)) for name, array in run.items()} for run in runs]
    return [tuple(batch.values()) for batch in batches] if positional else list(batches)
