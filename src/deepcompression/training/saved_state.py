"""Checkpoints in mid-stage: a `state_dict` with masks and codebooks loaded into a newly built model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from deepcompression.common.binary import digest
from deepcompression.common.messages import listed
from deepcompression.recipe.targets import Target, plain_name, targets_of
from deepcompression.sharing.grid import LIMITS, grid_of
from deepcompression.tensors.from_torch import from_torch
from deepcompression.tensors.tensor import CompressedTensor
from deepcompression.training.attach import (
    CODEBOOK_PARTS,
    MASK_PARTS,
    attach_codebook,
    attach_mask,
    check_replaceable,
    original,
    parametrization,
    state_key,
)
from deepcompression.training.sharded import fill

State = Mapping[str, torch.Tensor]

# the one part of a tensor that is neither pruned nor shared
_PLAIN = ("",)
_HINTS = {"0.recipe": " (an older version wrote no digest of its recipe: prune anew)"}
# beside CODEBOOK_PARTS, the part that shows a codebook's grid -> its name
_GRIDS = {f"0.{grid}": grid for grid in LIMITS}


class Found(NamedTuple):
    """A target and its parts in the state."""

    target: Target
    parts: dict[str, torch.Tensor]

    @property
    def mark(self) -> tuple[int, int] | None:
        """Step and digest of the recipe in its mask; None for a tensor without a mask."""
        return (int(self.parts["0.step"]), int(self.parts["0.recipe"])) if "0.mask" in self.parts else None

    @property
    def is_shared(self) -> bool:
        return "0.codes" in self.parts

    def digest(self) -> bytes:
        """Of all that must be the same on every rank: parts that are not trained."""
        own = (from_torch(part, tensor) for part, tensor in self.parts.items() if part.startswith("0."))
        return digest(*(np.ascontiguousarray(tensor.elements).reshape(-1).view(np.uint8).data for tensor in own))


def find(model: nn.Module, state: State) -> list[Found]:
    """The tensors of a plain model with their parts in `state`, each once.

    Raises ValueError that lists what does not fit.
    """
    state = _plain_names(model, state)
    problems: list[str] = []
    known: set[str] = set()
    found: list[Found] = []
    for target in targets_of(model):
        if parametrization(target) is not None:
            raise ValueError(f"{target.name} is pruned or shared already: resume on a model built anew")
        # where weights are tied, a checkpoint may hold them under one of their names only
        stages = {name: stage for name in target.names if (stage := _stage(name, state))}
        for name, stage in stages.items() or [(target.name, _PLAIN)]:
            keys = {part: state_key(name, part) for part in stage}
            known.update(keys.values())
            missing = [f"{key} is missing{_HINTS.get(part, '')}" for part, key in keys.items() if key not in state]
            problems += missing
            if not missing:
                found.append(Found(target, {part: state[key] for part, key in keys.items()}))
                problems += [f"{name}: {problem}" for problem in _misfits(found[-1])]
    problems += [f"{key} is not in the model" for key in state if key not in known]
    problems += _untied(found)
    if problems:
        raise ValueError(f"the checkpoint does not fit the model: {listed(problems, separator='; ')}")
    if shared := [each.target for each in found if each.is_shared]:
        check_replaceable(model, shared, "resume")
    return list({id(each.target): each for each in found}.values())


def attach(found: Found) -> None:
    """Brings a target into the stage of its parts, and loads them."""
    target, parts = found
    if found.is_shared:
        grid = next((grid for part, grid in _GRIDS.items() if part in parts), None)
        attach_codebook(target, parts["0.positions"], parts["0.codes"], parts["original"], grid)
        return
    if found.mark:
        attach_mask(target, parts["0.mask"], *found.mark)
    fill(original(target), parts[""] if "" in parts else parts["original"])


def _plain_names(model: nn.Module, state: State) -> State:
    """The state without what DistributedDataParallel, torch.compile or checkpointing put into its names."""
    own = [name for target in targets_of(model) for name in target.names]
    state = {plain_name(key): tensor for key, tensor in state.items()}
    if all(key.startswith("module.") for key in state) and not all(name.startswith("module.") for name in own):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state


def _stage(name: str, state: State) -> tuple[str, ...] | None:
    """The parts that a name ought to have in the state, or None if it has not any."""
    if state_key(name, "0.positions") in state or state_key(name, "0.codes") in state:
        return CODEBOOK_PARTS + tuple(part for part in _GRIDS if state_key(name, part) in state)
    if any(state_key(name, part) in state for part in MASK_PARTS):
        return MASK_PARTS
    return _PLAIN if name in state else None


def _misfits(found: Found) -> list[str]:
    """The mistakes in shapes, dtypes and values of a tensor's parts."""
    target, parts = found
    dtype = original(target).dtype
    if original(target).is_meta:
        return ["it has no memory in the model (it is on the device meta): call model.to_empty(device=...) first"]
    if "0.codes" in parts:
        if parts["original"].dtype != dtype:
            return [f"its centroids are {_describe(parts['original'])}, its weights in the model of {dtype}"]
        try:
            centroids = _compressed(target, parts)
            _check_grid(parts, centroids.dtype)
        except ValueError as error:
            return [str(error)]
        return []
    expected = {"": (target.shape, dtype), "original": (target.shape, dtype)}
    expected |= {"0.mask": (target.shape, torch.bool), "0.step": ((), torch.int64), "0.recipe": ((), torch.int64)}
    return [
        f"{part or 'it'} is {_describe(tensor)}, expected {list(expected[part][0])} of {expected[part][1]}"
        for part, tensor in parts.items()
        if (tuple(tensor.shape), tensor.dtype) != expected[part]
    ]


def _describe(tensor: torch.Tensor) -> str:
    return f"{list(tensor.shape)} of {tensor.dtype}"


def _compressed(target: Target, parts: Mapping[str, torch.Tensor]) -> CompressedTensor:
    """Checks, by making a CompressedTensor of them, that the parts of a codebook belong together."""
    centroids, positions, codes = (from_torch(target.name, parts[part]) for part in CODEBOOK_PARTS)
    return CompressedTensor(target.shape, positions.elements, centroids.elements, codes.elements, centroids.dtype)


def _check_grid(parts: Mapping[str, torch.Tensor], dtype: str) -> None:
    grids = {grid: parts[part] for part, grid in _GRIDS.items() if part in parts}
    if len(grids) > 1:
        raise ValueError(f"its codebook is on one grid; found {' and '.join(grids)}")
    for grid, found in grids.items():
        expected = torch.tensor(LIMITS[grid])
        if (found.shape, found.dtype) != (expected.shape, expected.dtype) or found != expected:
            values = f"{found.tolist()}, {_describe(found)}, expected {expected.item()}, {_describe(expected)}"
            raise ValueError(f"0.{grid} is {values}")
        grid_of(grid, dtype)


def _untied(found: list[Found]) -> list[str]:
    """Targets that are tied in the model, but stand in the state with several values."""
    first: dict[int, Found] = {}
    return [
        f"{' and '.join(target.names)} are tied in the model, but differ in the checkpoint"
        for target, parts in found
        if not _same(first.setdefault(id(target), Found(target, parts)).parts, parts)
    ]


def _same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one is other or (one.keys() == other.keys() and all(torch.equal(one[part], other[part]) for part in one))
