"""Tensors of a file in the parts that a model of transformers has: experts joined, projections split, axes changed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import torch

from deepcompression.recipe.targets import unwrapped
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.from_torch import DTYPE_NAMES, TORCH_DTYPES, from_torch, to_torch
from deepcompression.tensors.tensor import DenseTensor, Tensor

if TYPE_CHECKING:
    from torch.nn import Module


# how a file's tensor is read: as it is stored, or dense
Read = TypeVar("Read", bound=Tensor)


class _Making(NamedTuple):
    """How tensors of a model are made of tensors of a file.

    first      the name in the model by which transformers knows them
    converter  transformers' own
    parts      the pattern of transformers that a part matches, and its name in the file
    """

    first: str
    converter: Any
    parts: list[tuple[str, str]]


class Joined:
    """The tensors of a file as transformers makes those of its own model of them; any other file's as they are.

    entries  name -> tensor; one that is made has its name in the model, and its parts are left out
    """

    def __init__(self, model: Module, entries: Mapping[str, TensorEntry]) -> None:
        self._model: Any = unwrapped(model)
        self._theirs = entries
        self._makings: dict[str, _Making] = {}
        self._made: dict[str, DenseTensor] = {}
        self.entries = dict(entries)
        own = self._model.state_dict().keys()
        for making in _makings(self._model, entries, own):
            made = self._outlines(making)
            if made and made.keys() <= own and not made.keys() & entries.keys():
                self._makings |= dict.fromkeys(made, making)
                for _, part in making.parts:
                    del self.entries[part]
                self.entries |= made

    def read(self, name: str, read: Callable[[str], Read]) -> Read | DenseTensor:
        """A tensor of `entries`, by a function that reads the file's. Those that are made of the same parts are made
        together, and wait until they are read.
        """
        if name not in self._makings:
            return read(name)
        if name not in self._made:
            making = self._makings[name]
            parts = {part: to_torch(read(self._theirs[part].tied_to or part).dense()) for _, part in making.parts}
            self._made = {made: from_torch(made, tensor) for made, tensor in self._convert(making, parts).items()}
        return self._made.pop(name)

    def _outlines(self, making: _Making) -> dict[str, TensorEntry]:
        """What would be made, without memory; nothing if it cannot be made, or not of a single dtype."""
        found = {part: self._theirs[part] for _, part in making.parts}
        if len({each.dtype for each in found.values()}) > 1 or any(
            each.dtype not in TORCH_DTYPES for each in found.values()
        ):
            return {}
        empty = {
            part: torch.empty(each.shape, dtype=TORCH_DTYPES[each.dtype], device="meta") for part, each in found.items()
        }
        try:
            made = self._convert(making, empty)
        # code of others may need what is not there: then the names are reported as those that do not fit
        except Exception:
            return {}
        like = next(iter(found.values()))
        return {
            name: replace(like, name=name, dtype=DTYPE_NAMES[each.dtype], shape=tuple(each.shape), tied_to=None)
            for name, each in made.items()
        }

    def _convert(self, making: _Making, parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        converter = deepcopy(making.converter)
        for pattern, part in making.parts:
            converter.add_tensor(making.first, part, pattern, parts[part])
        made = converter.convert(making.first, model=self._model, config=self._model.config)
        return {name: each[0] if isinstance(each, list) else each for name, each in made.items()}


def _makings(model: Any, theirs: Mapping[str, TensorEntry], own: Any) -> list[_Making]:
    """What transformers would make of the tensors of a file when it loads its own model."""
    if own <= theirs.keys() or not hasattr(model, "base_model_prefix") or "transformers" not in sys.modules:
        return []
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming, dot_natural_key, rename_source_key
    # before version 5 files and models have the same tensors
    except ImportError:
        return []
    steps = get_model_conversion_mapping(cast(Any, model))
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters: list[Any] = [step for step in steps if not isinstance(step, WeightRenaming)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    state = dict.fromkeys(own, True)
    found: dict[str, _Making] = {}
    for name in sorted(theirs, key=dot_natural_key):
        first, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, state)
        if pattern is not None and name not in own:
            found.setdefault(first, _Making(first, by_pattern[pattern], [])).parts.append((pattern, name))
    return list(found.values())
