"""A torch model <-> its named tensors: saving reads them, and loading writes to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import nn

from deepcompression.checkpoint.torchao import parts_of
from deepcompression.common.binary import digest
from deepcompression.common.messages import listed, some, warn
from deepcompression.recipe.targets import Target, check_dense, targets_of, unwrapped
from deepcompression.tensors.entry import TensorEntry, Tie
from deepcompression.tensors.from_torch import DTYPE_NAMES, from_torch
from deepcompression.tensors.tensor import CompressedTensor, Tensor, raw_bytes
from deepcompression.training.attach import dense, is_pruned_by_torch, original, parametrization
from deepcompression.training.fit_names import OwnBusiness, matched
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
        check_dense(model, "save")
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


class Fit(NamedTuple):
    """The plain tensors of a model that take tensors of a file.

    places  name in the model -> its tensor
    names   name in the model -> name in the file; tied tensors may be in the file under some of their names
    kept    name -> tensor of the model that is not in the file, and keeps its values; on meta the model computes them
    notes   what is left out, kept or guessed
    """

    places: dict[str, torch.Tensor]
    names: dict[str, str]
    kept: dict[str, torch.Tensor]
    notes: tuple[str, ...]

    def warn(self, where: str) -> None:
        """Warns the caller of the package."""
        for note in self.notes:
            warn(f"{where}: {note}")


def check_fit(model: nn.Module, entries: Mapping[str, TensorEntry], where: str, strict: bool = True) -> Fit:
    """Matches a file to a model.

    A tied tensor may be in the file under one of its names. Buffers that the model does not save, and what it declares
    as transformers does, may be in the file or not. A prefix of all names may differ.

    Raises ValueError that lists every name, shape and dtype that does not fit; without `strict` names may be missing or
    left over. It also raises for a model that is still pruned or shared, or that runs packed.
    """
    check_dense(model, "load into")
    targets = targets_of(model)
    places: dict[str, torch.Tensor] = {}
    for target in targets:
        if parametrization(target) is not None:
            raise ValueError(f"{target.name} is still pruned or shared: load into a new model, or call finalize first")
        for name in target.names:
            places[name] = original(target)
    own = OwnBusiness(model)
    theirs, note = matched(unwrapped(model), places.keys(), entries.keys())
    names = {name: theirs[name] for name in places if name in theirs}
    absent = [target.name for target in targets if names.keys().isdisjoint(target.names)]
    taken = {entries[found].tied_to or found for found in names.values()}
    # a tied name that the model does not have takes nothing away
    surplus = [
        name for name, found in theirs.items() if name not in places and (entries[found].tied_to or found) not in taken
    ]
    kept = [name for name in absent if not strict or own.covers_missing(name)]
    left_out = [name for name in surplus if not strict or own.covers_surplus(name, entries[theirs[name]].shape)]
    problems = [f"{name} is missing in the file" for name in absent if name not in kept]
    problems += [_misfit(name, places[name], entries[found]) for name, found in names.items()]
    problems += [f"{theirs[name]} is not in the model" for name in surplus if name not in left_out]
    problems += [
        f"{name} is not in the file, and has no memory (device meta)"
        for name in kept
        if places[name].is_meta and not own.covers_missing(name)
    ]
    if problems := [problem for problem in problems if problem]:
        pairs = [(places[name], entries[found]) for name, found in names.items()]
        found = listed(problems, separator="; ") + (_remedy(model, problems) or _remedy_of_dtype(pairs))
        raise ValueError(f"{where} does not fit the model: {found}")
    notes = [note] if note else []
    if left_out:
        notes.append(f"these tensors of the file have no place in the model, and are left out: {some(left_out)}")
    what = "these tensors of the model are not in the file, and"
    if held := [name for name in kept if not places[name].is_meta]:
        notes.append(f"{what} keep their values: {some(held)}")
    if computed := [name for name in kept if places[name].is_meta]:
        notes.append(f"{what} are computed by its own code: {some(computed)}")
    return Fit(places, names, {name: places[name] for name in kept}, tuple(notes))


def _misfit(name: str, place: torch.Tensor, entry: TensorEntry) -> str:
    """What is wrong with a place for a tensor of a file; empty if nothing is."""
    if tuple(place.shape) != entry.shape or DTYPE_NAMES.get(place.dtype) != entry.dtype:
        return (
            f"{name} is {list(entry.shape)} of {entry.dtype} in the file, "
            f"{list(place.shape)} of {DTYPE_NAMES.get(place.dtype, place.dtype)} in the model"
        )
    if place.is_meta and is_sharded(place):
        return f"{name} has no memory in the model (it is on the device meta): call model.to_empty(device=...) first"
    return ""


def _remedy(model: nn.Module, problems: list[str]) -> str:
    """The remedy if names alone are wrong."""
    missing, surplus = (
        [problem for problem in problems if problem.endswith(end)]
        for end in ("missing in the file", "not in the model")
    )
    if len(missing) + len(surplus) < len(problems):
        return ""
    tie = "; call model.tie_weights() first if these are tied" if missing and hasattr(model, "tie_weights") else ""
    return f"{tie}; strict=False takes what fits"


def _remedy_of_dtype(pairs: list[tuple[torch.Tensor, TensorEntry]]) -> str:
    """The remedy if floats have their shapes, and one other dtype in the file; else empty."""
    floats = [(place, entry) for place, entry in pairs if place.is_floating_point()]
    (dtype, *others) = sorted({entry.dtype for _, entry in floats}) or [""]
    wanted = next((known for known, name in DTYPE_NAMES.items() if name == dtype), None)
    shapes_fit = all(tuple(place.shape) == entry.shape for place, entry in floats)
    if others or not shapes_fit or wanted is None or all(place.dtype == wanted for place, _ in floats):
        return ""
    return f"; the file is of another dtype: call model.to({wanted}) first"
