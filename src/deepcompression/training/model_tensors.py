"""A torch model <-> its named tensors: saving reads them, and loading writes to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import torch
from torch import nn

from deepcompression.checkpoint.torchao import parts_of
from deepcompression.common.binary import digest
from deepcompression.common.messages import listed
from deepcompression.recipe.targets import Target, targets_of, unwrapped
from deepcompression.tensors.entry import TensorEntry, Tie
from deepcompression.tensors.from_torch import DTYPE_NAMES, from_torch
from deepcompression.tensors.tensor import CompressedTensor, Tensor, raw_bytes
from deepcompression.training.attach import dense, is_pruned_by_torch, original, parametrization
from deepcompression.training.parametrizations import Codebook
from deepcompression.training.sharded import is_sharded, whole

# The attribute of a model that holds noted metadata, and the digest of the model then.
_NOTED = "_deepcompression_noted"


class ModelTensors(Mapping[str, Tensor | Tie]):
    """Every parameter and persistent buffer of a model by its plain name. Tied tensors come once, shared ones
    compressed, masked ones with their zeros; those that torchao has quantized as the tensors they consist of.

    Each access reads a tensor, and gathers a sharded one: all ranks must read in the same order, or `gather_rest`.
    Raises ValueError, naming the tensor, for a tensor that a file cannot hold.
    """

    def __init__(self, model: nn.Module) -> None:
        for name, value in unwrapped(model).state_dict(keep_vars=True).items():
            if not isinstance(value, torch.Tensor) or name.endswith("_extra_state"):
                raise ValueError(
                    f"{name} is a {type(value).__name__} of a module's own: a .dcz file holds parameters and buffers "
                    "only"
                )
        self._own: dict[str, Target] = {}
        self._roots: dict[str, str] = {}
        for target in targets_of(model):
            if not is_pruned_by_torch(target):
                parametrization(target)
            each = {name: list(parts_of({name: original(target)}).tensors) for name in target.names}
            self._own |= dict.fromkeys(each[target.name], target)
            for names in each.values():
                self._roots |= dict(zip(names, each[target.name], strict=True))
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor | Tie:
        root = self._roots[name]
        if name != root:
            return Tie(root)
        self._read.add(name)
        return _read(name, self._own[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._roots)

    def __len__(self) -> int:
        return len(self._roots)

    def gather_rest(self) -> None:
        """Takes part in gathering the sharded tensors that were not read here."""
        for name, target in self._own.items():
            if name not in self._read and not is_pruned_by_torch(target):
                whole(original(target))


def read_model(model: nn.Module) -> dict[str, Tensor | Tie]:
    """All of `ModelTensors` at once."""
    return dict(ModelTensors(model))


def metadata_of(model: nn.Module) -> dict[str, str]:
    """The metadata of the model's file: those from which torchao rebuilds the tensors that it has quantized, and those
    that were noted, if the model has not changed since then.
    """
    metadata = parts_of({name: original(target) for target in targets_of(model) for name in target.names}).metadata
    noted, then = getattr(unwrapped(model), _NOTED, ({}, b""))
    return metadata | noted if noted and _digest(model) == then else metadata


def note_metadata(model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Notes metadata that hold as long as no tensor of the model changes. A model that cannot be saved needs none."""
    with suppress(ValueError):
        setattr(unwrapped(model), _NOTED, (dict(metadata), _digest(model)))


def _digest(model: nn.Module) -> bytes:
    """The digest of all tensors of a model, in dense form; empty for a sharded model, which one rank cannot read."""
    if any(map(is_sharded, model.parameters())):
        return b""
    found = b""
    for name, tensor in ModelTensors(model).items():
        if not isinstance(tensor, Tie):
            dense_tensor = tensor.dense()
            found = digest(found, f"{name} {dense_tensor.dtype}".encode(), raw_bytes(dense_tensor))
    return found


def _read(name: str, target: Target) -> Tensor:
    codebook = None if is_pruned_by_torch(target) else parametrization(target)
    if not isinstance(codebook, Codebook):
        return from_torch(name, parts_of({target.name: dense(target)}).tensors[name])
    centroids = from_torch(target.name, codebook.on_grid(whole(original(target))))
    positions, codes = (part.cpu().numpy() for part in (codebook.positions, codebook.codes))
    return CompressedTensor(target.shape, positions, centroids.elements, codes, centroids.dtype)


def check_fit(
    model: nn.Module, entries: Mapping[str, TensorEntry], where: str, written_to: bool = True
) -> dict[str, torch.Tensor]:
    """The plain tensors of a model that take the tensors of a file, by name.

    Raises ValueError that lists every name, shape and dtype that does not fit, and tensors without memory if they are
    to be written to; also for a model that is still pruned or shared.
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
        raise ValueError(f"{where} does not fit the model: {listed(problems, separator='; ')}")
    return places
