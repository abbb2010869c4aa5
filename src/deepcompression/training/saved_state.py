"""Checkpoints in mid-stage: a `state_dict` with masks and codebooks, matched to a newly built model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from deepcompression.common.binary import digest
from deepcompression.common.messages import listed
from deepcompression.recipe.targets import Target, targets_of
from deepcompression.tensors.from_torch import from_torch
from deepcompression.tensors.grid import LIMITS, grid_of
from deepcompression.tensors.names import CODEBOOK_PARTS, MASK_PARTS, SIZE, plain_name, state_key
from deepcompression.tensors.tensor import CompressedTensor
from deepcompression.training.attach import (
    attach_codebook,
    attach_mask,
    check_replaceable,
    original,
    parametrization,
)
from deepcompression.training.sharded import fill

State = Mapping[str, torch.Tensor]

# the one part of a tensor that is neither pruned nor shared
_PLAIN = ("",)
_HINTS = {"0.recipe": " (an older version wrote no digest of its recipe: prune again)"}
# beside CODEBOOK_PARTS, the part that stores a codebook's grid -> the grid's name
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
        """A digest of the parts that are not trained: they must be the same on every rank."""
        own = (from_torch(part, tensor) for part, tensor in self.parts.items() if part.startswith("0."))
        return digest(*(np.ascontiguousarray(tensor.elements).reshape(-1).view(np.uint8).data for tensor in own))


def find(model: nn.Module, state: State) -> list[Found]:
    """The tensors of a plain model with their parts in `state`, each once.

    Raises ValueError that lists everything that does not fit.
    """
    state = _plain_names(model, state)
    problems: list[str] = []
    known: set[str] = set()
    found: list[Found] = []
    for target in targets_of(model):
        if parametrization(target) is not None:
            raise ValueError(f"{target.name} is pruned or shared already: resume on a newly built model")
        # a checkpoint may hold tied weights under only one of their names
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
    check_replaceable(model, [each.target for each in found if each.is_shared], "resume")
    return list({id(each.target): each for each in found}.values())


def attach(found: Found) -> None:
    """Brings a target to the stage of its parts, and loads them."""
    target, parts = found
    if found.is_shared:
        grid = next((grid for part, grid in _GRIDS.items() if part in parts), None)
        attach_codebook(target, parts["0.positions"], parts["0.codes"], parts["original"], grid)
        return
    if found.mark:
        attach_mask(target, parts["0.mask"], *found.mark)
    fill(original(target), parts[""] if "" in parts else parts["original"])


def _plain_names(model: nn.Module, state: State) -> State:
    """The state by plain names, without the parts of DistributedDataParallel, torch.compile and checkpointing."""
    own = [name for target in targets_of(model) for name in target.names]
    state = {plain_name(key): tensor for key, tensor in state.items()}
    if all(key.startswith("module.") for key in state) and not all(name.startswith("module.") for name in own):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    return state


def _stage(name: str, state: State) -> tuple[str, ...] | None:
    """The parts that a name must have in the state, or None if it has none."""
    if state_key(name, "0.positions") in state or state_key(name, "0.codes") in state:
        # an older version stored no size
        return CODEBOOK_PARTS + tuple(part for part in (SIZE, *_GRIDS) if state_key(name, part) in state)
    if any(state_key(name, part) in state for part in MASK_PARTS):
        return MASK_PARTS
    return _PLAIN if name in state else None


def _misfits(found: Found) -> list[str]:
    """The mistakes in shapes, dtypes and values of a tensor's parts."""
    target, parts = found
    dtype = original(target).dtype
    if original(target).is_meta:
        return ["it has no memory in the model (it is on the device meta): call model.to_empty(device=...) first"]
    if found.is_shared:
        if parts["original"].dtype != dtype:
            return [f"its centroids are {_describe(parts['original'])}, its weights in the model of {dtype}"]
        try:
            _check_codebook(target, parts)
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


def _check_codebook(target: Target, parts: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError if the parts of a codebook do not belong together: CompressedTensor checks all but the grid."""
    centroids, positions, codes = (from_torch(target.name, parts[part]) for part in CODEBOOK_PARTS)
    CompressedTensor(target.shape, positions.elements, centroids.elements, codes.elements, centroids.dtype)
    if SIZE in parts and parts[SIZE].tolist() != list(target.shape):
        raise ValueError(f"{SIZE} is {parts[SIZE].tolist()}, expected {list(target.shape)}")
    grids = {grid: parts[part] for part, grid in _GRIDS.items() if part in parts}
    if len(grids) > 1:
        raise ValueError(f"its codebook is on one grid; found {' and '.join(grids)}")
    for grid, found in grids.items():
        expected = torch.tensor(LIMITS[grid])
        if (found.shape, found.dtype) != (expected.shape, expected.dtype) or found != expected:
            values = f"{found.tolist()}, {_describe(found)}, expected {expected.item()}, {_describe(expected)}"
            raise ValueError(f"0.{grid} is {values}")
        grid_of(grid, centroids.dtype)


def _untied(found: list[Found]) -> list[str]:
    """The targets that are tied in the model, but have several values in the state."""
    first: dict[int, Found] = {}
    return [
        f"{' and '.join(target.names)} are tied in the model, but differ in the checkpoint"
        for target, parts in found
        if not _same(first.setdefault(id(target), Found(target, parts)).parts, parts)
    ]


def _same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one is other or (one.keys() == other.keys() and all(torch.equal(one[part], other[part]) for part in one))
