"""Checkpoints in mid-stage: a `state_dict` with masks and codebooks loaded into a model built anew."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from deepcompression.model import from_torch
from deepcompression.parametrize import Mask, attach_codebook, attach_mask, original, parametrization
from deepcompression.targets import Target, module_name, targets_of
from deepcompression.tensor import CompressedTensor

State = Mapping[str, torch.Tensor]


def _key(name: str, part: str) -> str:
    """The key that torch gives a part of a parametrized tensor: `fc1.parametrizations.weight.0.mask`."""
    module, local = module_name(name), name.rpartition(".")[2]
    return f"{module}.parametrizations.{local}.{part}".removeprefix(".")


def restore(model: nn.Module, state: State) -> None:
    """Attaches the masks and codebooks found in `state` to a plain model and loads all of it.

    Raises ValueError, listing what does not fit, before anything has changed.
    """
    problems: list[str] = []
    known: set[str] = set()
    shared: dict[str, CompressedTensor] = {}
    masked: set[str] = set()
    targets = targets_of(model)
    for target in targets:
        if target.trained and parametrization(target) is not None:
            raise ValueError(f"{target.name} is pruned or shared already: resume on a model built anew")
        # where weights are tied, a checkpoint may hold them under one of their names only
        names = [name for name in target.names if name in state or _key(name, "original") in state]
        for name in names:
            known |= {name} | {_key(name, part) for part in ("original", "0.mask", "0.step", "0.positions", "0.codes")}
        if not names:
            problems.append(f"{target.name} is missing")
        elif names[0] in state:
            problems += _misfit(names[0], state, target.shape)
        elif _key(names[0], "0.mask") in state:
            masked.add(target.name)
            for part in ("original", "0.mask"):
                problems += _misfit(_key(names[0], part), state, target.shape)
        else:
            try:
                shared[target.name] = _shared(names[0], state, target)
            except (KeyError, ValueError) as error:
                problems.append(f"{names[0]}: {error}")
    problems += [f"{key} is not in the model" for key in state if key not in known]
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"the checkpoint does not fit the model: {'; '.join(problems[:8])}{more}")
    for target in targets:
        name = next(name for name in target.names if name in state or _key(name, "original") in state)
        _attach(target, name, state, shared.get(target.name), target.name in masked)


def _misfit(key: str, state: State, shape: tuple[int, ...]) -> list[str]:
    if key not in state:
        return [f"{key} is missing"]
    found = tuple(state[key].shape)
    return [] if found == shape else [f"{key} is {list(found)}, in the model {list(shape)}"]


def _shared(name: str, state: State, target: Target) -> CompressedTensor:
    """Checks, by making a CompressedTensor of them, that the parts of a codebook belong together."""
    centroids = from_torch(name, state[_key(name, "original")])
    positions, codes = state[_key(name, "0.positions")], state[_key(name, "0.codes")]
    return CompressedTensor(
        target.shape, positions.cpu().numpy(), centroids.elements, codes.cpu().numpy(), centroids.dtype
    )


def _attach(target: Target, name: str, state: State, shared: CompressedTensor | None, masked: bool) -> None:
    if shared is not None:
        centroids = state[_key(name, "original")]
        attach_codebook(target, torch.from_numpy(shared.positions), torch.from_numpy(shared.codes), centroids)
        return
    if masked:
        attach_mask(target, state[_key(name, "0.mask")])
        present = parametrization(target)
        assert isinstance(present, Mask)
        present.step.copy_(state[_key(name, "0.step")])
    with torch.no_grad():
        module, local = target.places[0]
        place = original(target) if target.trained else getattr(module, local)
        place.copy_(state[_key(name, "original") if masked else name])
