"""A torch model with calibration inputs, as data-aware compression sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from deepcompression.calibration.network import Layout, Moments, Role
from deepcompression.calibration.torch_layers import WatchInputs, WatchRoles
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.error_cost import Floats
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.from_torch import from_torch
from deepcompression.training.attach import chain

# How many draws gains are the mean of; each is one backward of a part of the inputs.
_DRAWS = 32


class TorchNetwork:
    """`Network` of a model whose weights are plain. Raises ValueError for inputs that are missing, not finite, or that
    the model cannot take, and for a model that is pruned, shared or parametrized.

    batches  each one a tensor, a tuple or list of positional arguments, or a dict of named ones
    """

    def __init__(self, model: nn.Module, batches: Iterable[Any]) -> None:
        self.model = model
        self.batches = _checked(batches)
        self._places = {}
        for target in targets_of(model):
            module, local = target.places[0]
            # a weight that is made of other tensors, as torchao quantizes it, stays as it is
            if target.trained and target.floating and not hasattr(getattr(module, local), "__tensor_flatten__"):
                if chain(target):
                    raise ValueError(f"{target.name} is pruned, shared or parametrized: calibrate needs plain weights")
                self._places[target.name] = target
        watch = WatchRoles(self._parameters())
        self._run(watch, self.batches[:1])
        unknown = [n for n, t in self._places.items() if n not in watch.found and len(t.shape) >= 2 and t.count]
        shapes = {name: self._places[name].shape for name in unknown}
        self.roles: Mapping[str, Role] = watch.found | {n: Role(Layout.of(s)) for n, s in shapes.items()}

    def _tensor(self, name: str) -> torch.Tensor:
        module, local = self._places[name].places[0]
        found: torch.Tensor = getattr(module, local)
        return found

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {name: self._tensor(name) for name in self._places}

    def weight(self, name: str) -> Array:
        return from_torch(name, self._tensor(name)).numpy()

    def dtype(self, name: str) -> str:
        """One of `WEIGHT_DTYPES`."""
        return from_torch(name, self._tensor(name)).dtype

    def moments(self, names: Iterable[str]) -> dict[str, Moments]:
        wanted = {name: Moments(self.roles[name].layout) for name in names}
        self._run(WatchInputs(self._parameters(), wanted, len(self.batches)), self.batches)
        return {name: found for name, found in wanted.items() if found.count}

    def outputs(self, replaced: Mapping[str, Array]) -> Floats:
        before = {name: self._tensor(name).detach().clone() for name in replaced}
        with torch.no_grad():
            try:
                for name, values in replaced.items():
                    self._tensor(name).copy_(torch.from_numpy(np.array(values)))
                found = self._run(None, self.batches)
            finally:
                for name, kept in before.items():
                    self._tensor(name).copy_(kept)
        return torch.cat([output.reshape(-1).float() for outputs in found for output in outputs]).cpu().numpy()

    def gains(self, names: Iterable[str]) -> dict[str, Floats]:
        """By backward of random signs: the mean square of such a gradient is that of a weight's whole effect."""
        parameters = {name: self._tensor(name) for name in names}
        flags = {name: parameter.requires_grad for name, parameter in parameters.items()}
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        generator = torch.Generator().manual_seed(0)
        size = 0.0
        try:
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            for part in self._draws():
                (outputs,) = self._run(None, [part], gradient=True)
                size += sum(float(output.detach().double().square().sum()) for output in outputs)
                signed = [
                    (o * (torch.randint(0, 2, o.shape, generator=generator) * 2 - 1).to(o)).sum().float()
                    for o in outputs
                ]
                gradients = torch.autograd.grad(torch.stack(signed).sum(), list(parameters.values()), allow_unused=True)
                for name, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        sums[name] += gradient.to_dense().double().square()
        finally:
            for name, flag in flags.items():
                parameters[name].requires_grad_(flag)
        return {name: (found / max(size, 1e-300)).float().cpu().numpy() for name, found in sums.items()}

    def _draws(self) -> Iterator[Any]:
        """About `_DRAWS` parts of the inputs, again and again if there are few."""
        parts = list(self._parts())
        for _ in range(max(1, _DRAWS // len(parts))):
            yield from parts

    def _parts(self) -> Iterator[Any]:
        """The batches, each cut along its first dimension, if its tensors agree in it: about `_DRAWS` in all."""
        pieces = max(1, round(_DRAWS / len(self.batches)))
        for batch in self.batches:
            lengths = {len(part) if part.dim() else 0 for part in _flat(batch) if isinstance(part, torch.Tensor)}
            length = lengths.pop() if len(lengths) == 1 else 1
            size = max(1, -(-length // pieces))
            for start in range(0, max(1, length), size):
                yield batch if length < 2 else _cut(batch, slice(start, start + size))

    def _run(
        self, mode: TorchFunctionMode | None, batches: list[Any], gradient: bool = False
    ) -> list[list[torch.Tensor]]:
        """The floating outputs of each batch."""
        found = []
        with _evaluating(self.model), torch.set_grad_enabled(gradient):
            for number, batch in enumerate(batches):
                try:
                    with mode or nullcontext():
                        output = _call(self.model, batch)
                except (RuntimeError, TypeError, IndexError, KeyError, AssertionError) as error:
                    raise ValueError(
                        f"calibration batch {number} ({_describe(batch)}) does not fit the model: {error}"
                    ) from error
                outputs = [o for o in _flat(output) if isinstance(o, torch.Tensor) and o.is_floating_point()]
                if not outputs:
                    raise ValueError(f"the model gives no floating-point tensor, but {type(output).__name__}")
                if bad := sum(int((~o.isfinite()).sum()) for o in outputs):
                    raise ValueError(f"for calibration batch {number} the model gives {bad} values that are not finite")
                found.append(outputs)
        return found


def _checked(batches: Iterable[Any]) -> list[Any]:
    if isinstance(batches, torch.Tensor | Mapping):
        raise TypeError(f"batches are an iterable of inputs, found one {type(batches).__name__}: put it into a list")
    found = list(batches)
    if not found:
        raise ValueError("there are no calibration batches: give some hundred inputs like those the model will see")
    for number, batch in enumerate(found):
        if not isinstance(batch, torch.Tensor | tuple | list | Mapping):
            raise TypeError(
                f"calibration batch {number} is a {type(batch).__name__}; expected a tensor, a tuple of positional "
                "arguments or a dict of named ones"
            )
        for part in _flat(batch):
            if isinstance(part, torch.Tensor) and part.is_floating_point() and (bad := int((~part.isfinite()).sum())):
                raise ValueError(f"calibration batch {number} has {bad} values that are not finite: mend the inputs")
    return found


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def _cut(value: Any, part: slice) -> Any:
    if isinstance(value, Mapping):
        return {key: _cut(each, part) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_cut(each, part) for each in value]
    return value[part] if isinstance(value, torch.Tensor) else value


def _describe(batch: Any) -> str:
    return ", ".join(
        f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}" if isinstance(part, torch.Tensor) else repr(part)
        for part in _flat(batch)
    )


def _call(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return model(batch)
    return model(**batch) if isinstance(batch, Mapping) else model(*batch)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In the mode of inference, without the shortcuts past functions that others can watch."""
    training = [module for module in model.modules() if module.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module in training:
            module.training = True
