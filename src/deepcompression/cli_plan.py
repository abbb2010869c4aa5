"""The commands of `dcz` that plan, and what compresses by calibration inputs; arguments -> the functions above."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompression.calibrate import calibrate, calibrate_network
from deepcompression.checkpoint import read_checkpoint
from deepcompression.compress import compress_tensors, save
from deepcompression.file import save_tensors
from deepcompression.plan import Line, Plan, plan, sensitivity
from deepcompression.recipe import Recipe
from deepcompression.tensor import Array, Tensor

if TYPE_CHECKING:
    from deepcompression.onnx_network import OnnxNetwork

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
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (ValueError, OSError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: calibration inputs are arrays in an .npz file (numpy.savez): {error}") from None
    if not found:
        raise ValueError(f"{path}: holds no arrays")
    return found


class Source:
    """What is compressed: a checkpoint, an ONNX model, or a torch model filled from a checkpoint.

    model        a .safetensors or .onnx file
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
        if model.suffix == ".onnx":
            if inputs is None:
                raise ValueError(f"{model}: planning an ONNX model takes --calibration")
            from deepcompression.onnx_network import OnnxNetwork

            self.subject = OnnxNetwork(model, inputs)
            self.metadata = {"format": "onnx"}
            return
        tensors, self.metadata = read_checkpoint(model)
        self.subject = tensors
        if inputs is not None:
            if factory is None:
                raise ValueError(f"{model}: --calibration of a checkpoint takes --model package.module:factory")
            self.subject, self.batches = _filled(factory, tensors, str(model)), _batches(inputs)

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
        )

    def sensitivity(self, profile: str) -> list[Line]:
        return sensitivity(self.subject, self.batches, profile=profile)

    def compress(self, output: Path, recipe: Recipe, profile: str) -> None:
        if self.batches is not None:
            calibrate(self.subject, recipe, self.batches)
            save(self.subject, output, recipe, self.metadata, profile)
            return
        if isinstance(self.subject, Mapping):
            compressed = compress_tensors(self.subject, recipe)
        else:
            network: OnnxNetwork = self.subject
            own: dict[str, Tensor] = network.tensors()
            rules = {match.target.name: match.rule for match in recipe.matches(own) if match.rule is not None}
            compressed = own | calibrate_network(network, rules)
        save_tensors(output, compressed, self.metadata, None, profile)


def _filled(factory: str, tensors: Mapping[str, Tensor], where: str) -> Any:
    """The model that a factory makes, filled from a checkpoint."""
    import torch

    from deepcompression.model import to_torch

    module, _, function = factory.partition(":")
    # as `python -m` does, so that a user's own file is found
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--model is package.module:factory, which {factory} is not: {error}") from None
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--model {factory} gave a {type(made).__name__}, not a torch.nn.Module")
    try:
        made.load_state_dict({name: to_torch(tensor.dense()) for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise ValueError(f"{where} does not fit the model of {factory}: {error}") from None
    return made


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


def has_target(size: str | None, ratio: float | None, most_change: float | None) -> bool:
    return (size, ratio, most_change) != (None, None, None)
