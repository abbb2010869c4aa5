"""A checkpoint or model compressed by calibration inputs."""

from __future__ import annotations

import glob
import importlib
import re
import sys
import traceback
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompression.calibration.calibrate import calibrate, calibrate_network
from deepcompression.calibration.plan import Plan, plan, sensitivity
from deepcompression.calibration.price_search import Line
from deepcompression.checkpoint.onnx.graph import SUFFIX
from deepcompression.checkpoint.open import open_checkpoint, tensors_of
from deepcompression.checkpoint.other_tools import recognise
from deepcompression.convert.tensors import compress_tensors
from deepcompression.file.writer import save_tensors
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor
from deepcompression.training.save_load import encodings, save

if TYPE_CHECKING:
    from deepcompression.calibration.onnx_network import OnnxNetwork

# How many inputs a torch model is given at once.
_BATCH = 32

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def parse_size(text: str) -> int:
    """`5MB`, `300 KiB`, `12345` -> bytes. Raises ValueError for anything else."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in _UNITS:
        raise ValueError(f"a size is a number with B, KB, MB, GB, KiB, MiB or GiB; found {text!r}")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def read_inputs(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file, by name. Raises ValueError for what is no such file, or holds none or objects."""
    if not path.exists():
        raise FileNotFoundError(f"no calibration inputs {path}")
    what = f"{path}: calibration inputs are arrays by name in an .npz file (numpy.savez)"
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{what}, which this is not")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    # whatever a damaged archive may come upon; the last: members that are encrypted, or of an unknown version
    except (
        ValueError,
        OSError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
    ) as error:
        raise ValueError(f"{what}: {error}") from None
    if odd := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"{what}; {odd[0]} is no array")
    if not found:
        raise ValueError(f"{path}: holds no arrays")
    return found


class Source:
    """What is compressed: a checkpoint, an ONNX model, or a torch model filled from a checkpoint.

    model        a checkpoint
    calibration  an .npz file of inputs by name, or None
    factory      `package.module:function`, which makes the torch model of the checkpoint
    """

    def __init__(self, model: Path, calibration: Path | None, factory: str | None) -> None:
        self.metadata: dict[str, str] = {}
        self.batches: list[dict[str, Any]] | None = None
        self.subject: Any
        if factory is not None and calibration is None:
            raise ValueError("--model goes with --calibration, whose inputs it is given")
        inputs = None if calibration is None else read_inputs(calibration)
        with recognise(open_checkpoint(model)) as source:
            if source.packed:
                raise ValueError(source.packed)
            self.exact = source.exact
            self.notes, self.metadata = list(source.notes), dict(source.metadata)
            ties = {name: Tie(entry.tied_to) for name, entry in source.entries.items() if entry.tied_to}
            self.tensors: dict[str, Tensor | Tie] = {**tensors_of(source), **ties}
        self.subject = self.tensors
        if inputs is None:
            return
        if model.name.endswith(SUFFIX):
            from deepcompression.calibration.onnx_network import OnnxNetwork

            self.subject = OnnxNetwork(model, inputs)
        elif factory is None:
            raise ValueError(f"{model}: --calibration of a checkpoint takes --model package.module:factory")
        else:
            self.subject, self.batches = _filled(factory, self.tensors, str(model)), _batches(inputs)

    def plan(self, profile: str, size: str | None, ratio: float | None, most_change: float | None) -> Plan:
        target = None if size is None else parse_size(size)
        return plan(
            self.subject,
            self.batches,
            target_size=target,
            target_ratio=ratio,
            max_change=most_change,
            profile=profile,
            metadata=self.metadata,
            exact=self.exact,
        )

    def sensitivity(self, profile: str) -> list[Line]:
        return sensitivity(self.subject, self.batches, profile=profile, exact=self.exact)

    def compress(self, output: Path, recipe: Recipe, profile: str) -> None:
        recipe = self._keeping(recipe)
        if self.batches is not None:
            calibrate(self.subject, recipe, self.batches)
            save(self.subject, output, recipe, self.metadata, profile)
            return
        own = {name: tensor for name, tensor in self.tensors.items() if not isinstance(tensor, Tie)}
        if self.subject is self.tensors:
            compressed = compress_tensors(own, recipe)
        else:
            compressed = self._by_inputs(self.subject, own, recipe)
        save_tensors(output, {**self.tensors, **compressed}, self.metadata, encodings(recipe, own), profile)

    def carry_out(self, plan: Plan, output: Path, profile: str) -> None:
        """Writes what was planned for this."""
        if self.batches is not None:
            plan.apply(self.subject)
            save(self.subject, output, metadata=self.metadata, profile=profile)
        else:
            save_tensors(output, {**self.tensors, **plan.tensors}, self.metadata, profile=profile)

    def _keeping(self, recipe: Recipe) -> Recipe:
        """The recipe with what is exact taken out of the way of its rules."""
        keep = tuple(Rule(tensor=glob.escape(name), optional=True) for name in sorted(self.exact))
        return recipe.model_copy(update={"rules": (*keep, *recipe.rules)})

    def _by_inputs(self, network: OnnxNetwork, tensors: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
        rules: dict[str, Rule] = {}
        others: list[str] = []
        for target, rule in recipe.matches(tensors):
            if rule is None or not (rule.prune or rule.share):
                continue
            if len(target.shape) < 2:
                raise ValueError(f"{target.name} has fewer than two dimensions: inputs decide about weights of layers")
            if target.name in network.targets:
                rules[target.name] = rule
            else:
                others.append(target.name)
        if not others:
            return {**calibrate_network(network, rules)}
        self.notes.append(f"no layer is known to multiply by {', '.join(others)}: compressed without the inputs")
        return {**compress_tensors(tensors, recipe), **calibrate_network(network, rules)}


def _filled(factory: str, tensors: Mapping[str, Tensor | Tie], where: str) -> Any:
    """The model that a factory makes, filled from a checkpoint."""
    import torch

    from deepcompression.tensors.from_torch import to_torch

    module, colon, function = factory.partition(":")
    what = f"--model is package.module:factory, which {factory} is not"
    if not (module and colon and function):
        raise ValueError(f"{what}: name the module and its function, with a colon between them")
    # as `python -m` does, so that a user's own file is found
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(module), function)
    # a user's own code may raise anything
    except Exception as error:
        raise ValueError(f"{what}: {_said(error)}") from error
    if not callable(make):
        raise ValueError(f"{what}: {function} is a {type(make).__name__}, expected a function without arguments")
    try:
        made = make()
    except Exception as error:
        raise ValueError(f"--model {factory} failed when it was called without arguments: {_said(error)}") from error
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--model {factory} gave a {type(made).__name__}, not a torch.nn.Module")
    try:
        own = {name: to_torch(each.dense()) for name, each in tensors.items() if not isinstance(each, Tie)}
        ties = {name: own[each.to] for name, each in tensors.items() if isinstance(each, Tie)}
        made.load_state_dict(own | ties)
    except RuntimeError as error:
        raise ValueError(f"{where} does not fit the model of {factory}: {error}") from None
    return made


def _said(error: Exception) -> str:
    """With the place where a user's own code raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__ and "importlib" not in frame.filename]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def _batches(inputs: Mapping[str, Array]) -> list[Any]:
    """Arrays by name -> batches for a torch model: `arr_0`, `arr_1` are positional, as numpy.savez names them."""
    import torch

    lengths = {name: len(array) if array.ndim else 0 for name, array in inputs.items()}
    if len(set(lengths.values())) != 1 or not (length := next(iter(lengths.values()))):
        raise ValueError(f"calibration inputs need one number of rows, and some: found {lengths}")
    positional = all(re.fullmatch(r"arr_[0-9]+", name) for name in inputs)
    names = sorted(inputs, key=lambda name: int(name[4:])) if positional else list(inputs)
    batches: list[Any] = []
    for start in range(0, length, _BATCH):
        parts = {name: torch.from_numpy(inputs[name][start : start + _BATCH]) for name in names}
        batches.append(tuple(parts.values()) if positional else parts)
    return batches
