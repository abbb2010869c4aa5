"""Which weights of a model wait for their first use, when `run` is asked to be lazy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from deepcompression.file.reader import DczFile
from deepcompression.nn.unread import Judge, StoredFile, Unread, let_wait
from deepcompression.nn.uses import use_of
from deepcompression.nn.what_pays import LEAST_WEIGHTS
from deepcompression.recipe.targets import Target
from deepcompression.training import attach


def check_lazy(model: nn.Module, has_file: bool, device: torch.device | None, tune: bool) -> None:
    """Raises ValueError for options that do not go together with lazy=True."""
    if not has_file:
        raise ValueError("lazy=True reads layers from a file when they are used: name the file")
    if tune:
        raise ValueError("tune=True measures all layers, lazy=True reads none: choose one")
    devices = {device or each.device for each in model.parameters()} - {torch.device("cpu"), torch.device("meta")}
    if devices:
        found = ", ".join(sorted(map(str, devices)))
        raise ValueError(f"lazy=True is for the CPU, and found {found}: a model goes to another device as a whole")


@dataclass
class _Found:
    """A weight that will wait, and what the copies of its modules have until then. references: to that, before."""

    target: Target
    name: str
    empty: nn.Parameter
    references: int = 0


class Lazy:
    """The weights of one model that wait for their first use.

    stored  gives the name in the file of a tensor that the file holds as the model does, else None
    """

    def __init__(self, file: DczFile, stored: Callable[[Target], str | None]) -> None:
        self._file, self._stored = file, stored
        self._found: list[_Found] = []
        self._at_once: set[str] = set()

    def takes(self, target: Target, is_linear: bool, memo: dict[int, Any]) -> bool:
        """Whether a tensor waits: a large enough weight of the file, of modules whose use of it is known. Code that
        uses a weight otherwise might hold it anywhere.

        is_linear  whether linear= names it
        memo       receives the tensor without memory that the copies of its modules have
        """
        if (
            target.kept
            or len(target.shape) < 2
            or target.count < LEAST_WEIGHTS
            or target.name in self._at_once
            or attach.chain(target)
            or not all(is_linear or use_of(module, local) is not None for module, local in target.places)
            or (name := self._stored(target)) is None
        ):
            return False
        original = attach.original(target)
        found = _Found(target, name, nn.Parameter(_without_memory(original), original.requires_grad))
        memo[id(original)] = found.empty
        found.references = sys.getrefcount(found.empty)
        self._found.append(found)
        return True

    def is_held_elsewhere(self) -> bool:
        """Whether the copy of the model holds a weight that waits in other places, too, such as a list. Such a weight
        is read at once, and all are taken anew.
        """
        held = {
            found.target.name
            for found in self._found
            if sys.getrefcount(found.empty) > found.references + len(found.target.places)
        }
        if held:
            self._at_once |= held
            self._found = []
        return bool(held)

    def wait(self, targets: Iterable[Target], memo: Mapping[int, Any], judge: Callable[[list[Target]], Judge]) -> None:
        """Lets the weights wait in the copies of their modules.

        targets  all of the model
        memo     the copies of modules by the `id` of the original
        judge    of the targets in sketches of these copies
        """
        sketches = _Sketches(memo)
        own = {target.name: sketches.of(target) for target in targets}
        of_these, file = judge(list(own.values())), StoredFile(self._file)
        for found in self._found:
            copies = [(memo[id(module)], local) for module, local in found.target.places]
            unread = Unread(own[found.target.name], copies, file, found.name, of_these)
            for module, local in copies:
                let_wait(module, local, unread)


class _Sketches:
    """Modules of the same classes and settings as those of a model, for decisions about weights: they hold no other
    modules, and parameters without memory.
    """

    def __init__(self, memo: Mapping[int, Any]) -> None:
        self._memo, self._made = memo, dict[int, nn.Module]()

    def of(self, target: Target) -> Target:
        return replace(target, places=tuple((self._of(module), local) for module, local in target.places))

    def _of(self, module: nn.Module) -> nn.Module:
        if id(module) not in self._made:
            self._made[id(module)] = _sketch(self._memo[id(module)])
        return self._made[id(module)]


def _sketch(module: nn.Module) -> nn.Module:
    made: nn.Module = object.__new__(type(module))
    parameters = {
        name: None if each is None else nn.Parameter(_without_memory(each), each.requires_grad)
        for name, each in module._parameters.items()
    }
    vars(made).update(vars(module), _modules=dict.fromkeys(module._modules), _parameters=parameters)
    return made


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
