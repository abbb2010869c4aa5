"""Tensors of a file -> a model's memory: all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from deepcompression.recipe.targets import unwrapped
from deepcompression.tensors.from_torch import from_torch, to_torch
from deepcompression.tensors.tensor import DenseTensor
from deepcompression.training.sharded import fill, is_sharded


class Filling:
    """Fills the tensors of a model. A context manager: after an exception in its block the model is as it was.

    places  name -> tensor that is to be filled
    where   the file, for messages

    The values before wait in memory until the block ends. Tensors on the device meta are replaced by others on the CPU.
    """

    def __init__(self, model: nn.Module, places: Mapping[str, Tensor], where: str) -> None:
        self._modules = list(unwrapped(model).modules())
        self._where = where
        self._undo: list[Callable[[], object]] = []
        self._overlapping = _overlapping(places.values())
        self._filled: dict[int, tuple[str, Tensor, DenseTensor | None]] = {}

    def fill(self, name: str, tensor: Tensor, values: DenseTensor) -> None:
        """Fills a tensor; a tied one once. Raises ValueError for memory that cannot be written so."""
        if id(tensor) in self._filled:
            return
        self._filled[id(tensor)] = name, tensor, values if id(tensor) in self._overlapping else None
        if tensor.is_meta:
            self.replace({id(tensor): to_torch(values)})
            return
        local = cast(Tensor, cast(Any, tensor).to_local()) if is_sharded(tensor) else tensor.detach()
        before = local.clone()
        self._undo.append(lambda: local.copy_(before))
        try:
            fill(tensor, to_torch(values))
        except RuntimeError as error:
            raise ValueError(f"{name} cannot be filled: {error}") from error

    def replace(self, made: Mapping[int, Tensor]) -> None:
        """Puts other tensors in all places of parameters and buffers, by the `id` of those before."""
        parameters: dict[int, nn.Parameter] = {}
        for module in self._modules:
            for local, parameter in module._parameters.items():
                if parameter is not None and id(parameter) in made:
                    new = parameters.setdefault(
                        id(parameter), nn.Parameter(made[id(parameter)], parameter.requires_grad)
                    )
                    self._set(module._parameters, local, new)
            for local, buffer in module._buffers.items():
                if buffer is not None and id(buffer) in made:
                    self._set(module._buffers, local, made[id(buffer)])

    def _set(self, named: dict[str, Any], local: str, new: Tensor) -> None:
        before = named[local]
        self._undo.append(lambda: named.__setitem__(local, before))
        named[local] = new

    def check(self) -> None:
        """Raises ValueError for tensors in overlapping memory whose values differ."""
        differ = [
            name
            for name, tensor, values in self._filled.values()
            if values is not None and from_torch(name, tensor).elements.tobytes() != values.elements.tobytes()
        ]
        if differ:
            raise ValueError(
                f"{', '.join(differ)} overlaps other tensors of the model in memory, but differs from them in "
                f"{self._where}: give each memory of its own (clone) first"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with torch.no_grad():
                for undo in reversed(self._undo):
                    # memory that cannot be written has not changed
                    with suppress(RuntimeError):
                        undo()


def _overlapping(tensors: Iterable[Tensor]) -> set[int]:
    """The `id` of each tensor whose range of addresses meets that of another, even if their elements alternate."""
    ranges: list[tuple[str, int, int, int]] = []
    for tensor in {id(tensor): tensor for tensor in tensors}.values():
        if not tensor.is_meta and not is_sharded(tensor) and tensor.layout == torch.strided and tensor.numel():
            steps = ((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            start, length = tensor.data_ptr(), (sum(steps) + 1) * tensor.element_size()
            ranges.append((str(tensor.device), start, start + length, id(tensor)))
    found: set[int] = set()
    last = ("", 0, 0, 0)
    for each in sorted(ranges):
        if each[0] == last[0] and each[1] < last[2]:
            found |= {last[3], each[3]}
            last = (each[0], each[1], max(last[2], each[2]), each[3] if each[2] > last[2] else last[3])
        else:
            last = each
    return found
