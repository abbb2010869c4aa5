"""A torch model <-> its named tensors: what saving reads out of it and loading writes into it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from deepcompression.checkpoint.parts import parts_of
from deepcompression.file import Tie
from deepcompression.index import Entry
from deepcompression.parametrize import Codebook, dense, is_pruned_by_torch, original, parametrization
from deepcompression.targets import Target, targets_of
from deepcompression.tensor import CompressedTensor, Tensor
from deepcompression.torch_tensor import DTYPE_NAMES, from_torch


def read_model(model: nn.Module) -> dict[str, Tensor | Tie]:
    """Every parameter and persistent buffer by its plain name; tied ones once, shared ones compressed, masked ones
    with their zeros; what torchao has quantized as the tensors that it is made of.

    Raises ValueError, naming the tensor, for what a file cannot hold.
    """
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, torch.Tensor) or name.endswith("_extra_state"):
            raise ValueError(
                f"{name} is a {type(value).__name__} of a module's own: a .dcz file holds parameters and buffers only"
            )
    tensors: dict[str, Tensor | Tie] = {}
    for target in targets_of(model):
        own = _read(target)
        tensors |= own
        for name in target.names[1:]:
            tensors |= {part: Tie(first) for first, part in zip(own, _names(name, target), strict=True)}
    return tensors


def metadata_of(model: nn.Module) -> dict[str, str]:
    """What torchao needs to put the tensors together that it has quantized; nothing if there are none."""
    return parts_of({name: original(target) for target in targets_of(model) for name in target.names}).metadata


def _names(name: str, target: Target) -> list[str]:
    """Of the tensors that one is made of."""
    return list(parts_of({name: original(target)}).tensors)


def _read(target: Target) -> dict[str, Tensor]:
    codebook = None if is_pruned_by_torch(target) else parametrization(target)
    if not isinstance(codebook, Codebook):
        parts = parts_of({target.name: dense(target)}).tensors
        return {name: from_torch(name, part) for name, part in parts.items()}
    centroids = from_torch(target.name, codebook.on_grid(original(target)))
    compressed = CompressedTensor(
        target.shape,
        codebook.positions.cpu().numpy(),
        centroids.elements,
        codebook.codes.cpu().numpy(),
        centroids.dtype,
    )
    return {target.name: compressed}


def check_fit(
    model: nn.Module, entries: Mapping[str, Entry], where: str, written_to: bool = True
) -> dict[str, torch.Tensor]:
    """The plain tensors of a model that the tensors of a file belong into, by name.

    Raises ValueError that lists every name, shape and dtype that does not fit, a tensor without memory if it is to be
    written to, and for a model that is still pruned or shared.
    """
    places: dict[str, torch.Tensor] = {}
    for target in targets_of(model):
        if parametrization(target) is not None:
            raise ValueError(f"{target.name} is still pruned or shared: load into a new model, or call finalize first")
        for name in target.names:
            places[name] = original(target)
    problems = [f"{name} is missing in the file" for name in places if name not in entries]
    for name, entry in entries.items():
        place = places.get(name)
        if place is None:
            problems.append(f"{name} is not in the model")
        elif tuple(place.shape) != entry.shape or DTYPE_NAMES.get(place.dtype) != entry.dtype:
            problems.append(
                f"{name} is {list(entry.shape)} of {entry.dtype} in the file, "
                f"{list(place.shape)} of {DTYPE_NAMES.get(place.dtype, place.dtype)} in the model"
            )
        elif written_to and place.is_meta:
            problems.append(f"{name} has no memory in the model (it is on the device meta)")
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{where} does not fit the model: {'; '.join(problems[:8])}{more}")
    return places
