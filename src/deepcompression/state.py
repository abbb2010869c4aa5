"""Checkpoints in mid-stage: a `state_dict` with masks and codebooks loaded into a model built anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from deepcompression.grid import LIMITS, grid_of
from deepcompression.parametrize import attach_codebook, attach_mask, original, parametrization
from deepcompression.targets import Target, module_name, targets_of
from deepcompression.tensor import CompressedTensor
from deepcompression.torch_tensor import from_torch

State = Mapping[str, torch.Tensor]

# the parts that a tensor has in a state_dict in each stage, as torch calls those of a parametrized tensor
_PLAIN = ("",)
_MASKED = ("original", "0.mask", "0.step")
_SHARED = ("original", "0.positions", "0.codes")
# beside _SHARED, the part that tells of a codebook's grid -> its name
_GRIDS = {f"0.{grid}": grid for grid in LIMITS}


class _Found(NamedTuple):
    """A target and its parts in the state."""

    target: Target
    parts: dict[str, torch.Tensor]


def restore(model: nn.Module, state: State) -> None:
    """Attaches the masks and codebooks found in `state` to a plain model and loads all of it.

    Raises ValueError, listing what does not fit, before anything has changed.
    """
    problems: list[str] = []
    known: set[str] = set()
    found: list[_Found] = []
    for target in targets_of(model):
        if parametrization(target) is not None:
            raise ValueError(f"{target.name} is pruned or shared already: resume on a model built anew")
        # where weights are tied, a checkpoint may hold them under one of their names only
        stages = {name: stage for name in target.names if (stage := _stage(name, state))}
        for name, stage in stages.items() or [(target.name, _PLAIN)]:
            keys = {part: _key(name, part) for part in stage}
            known.update(keys.values())
            missing = [f"{key} is missing" for key in keys.values() if key not in state]
            problems += missing
            if not missing:
                found.append(_Found(target, {part: state[key] for part, key in keys.items()}))
                problems += [f"{name}: {problem}" for problem in _misfits(found[-1])]
    problems += [f"{key} is not in the model" for key in state if key not in known]
    problems += _untied(found)
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"the checkpoint does not fit the model: {'; '.join(problems[:8])}{more}")
    for target, parts in {id(target): (target, parts) for target, parts in found}.values():
        _attach(target, parts)


def _key(name: str, part: str) -> str:
    """The key of a part of a tensor: `fc1.parametrizations.weight.0.mask`, or its plain name."""
    module, local = module_name(name), name.rpartition(".")[2]
    return f"{module}.parametrizations.{local}.{part}".removeprefix(".") if part else name


def _stage(name: str, state: State) -> tuple[str, ...] | None:
    """The parts that a name ought to have in the state, or None if it has not any."""
    if _key(name, "0.positions") in state or _key(name, "0.codes") in state:
        return _SHARED + tuple(part for part in _GRIDS if _key(name, part) in state)
    if any(_key(name, part) in state for part in _MASKED):
        return _MASKED
    return _PLAIN if name in state else None


def _misfits(found: _Found) -> list[str]:
    """What is wrong with shapes, dtypes and values of a tensor's parts."""
    target, parts = found
    dtype = original(target).dtype
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
    expected |= {"0.mask": (target.shape, torch.bool), "0.step": ((), torch.int64)}
    return [
        f"{part or 'it'} is {_describe(tensor)}, expected {list(expected[part][0])} of {expected[part][1]}"
        for part, tensor in parts.items()
        if (tuple(tensor.shape), tensor.dtype) != expected[part]
    ]


def _describe(tensor: torch.Tensor) -> str:
    return f"{list(tensor.shape)} of {tensor.dtype}"


def _compressed(target: Target, parts: Mapping[str, torch.Tensor]) -> CompressedTensor:
    """Checks, by making a CompressedTensor of them, that the parts of a codebook belong together."""
    centroids, positions, codes = (from_torch(target.name, parts[part]) for part in _SHARED)
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


def _untied(found: list[_Found]) -> list[str]:
    """Targets that are tied in the model, but stand in the state with several values."""
    first: dict[int, _Found] = {}
    return [
        f"{' and '.join(target.names)} are tied in the model, but differ in the checkpoint"
        for target, parts in found
        if not _same(first.setdefault(id(target), _Found(target, parts)).parts, parts)
    ]


def _same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one is other or (one.keys() == other.keys() and all(torch.equal(one[part], other[part]) for part in one))


def _attach(target: Target, parts: Mapping[str, torch.Tensor]) -> None:
    if "0.codes" in parts:
        grid = next((grid for part, grid in _GRIDS.items() if part in parts), None)
        attach_codebook(target, parts["0.positions"], parts["0.codes"], parts["original"], grid)
        return
    if "0.mask" in parts:
        attach_mask(target, parts["0.mask"], int(parts["0.step"]))
    with torch.no_grad():
        original(target).copy_(parts[""] if "" in parts else parts["original"])
