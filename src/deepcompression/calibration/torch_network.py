"""A torch model with calibration inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from deepcompression.calibration.network import Layout, Moments, Role
from deepcompression.calibration.torch_layers import Watch
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.error_cost import Floats
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.from_torch import from_torch
from deepcompression.training.attach import chain, check_memory

# The number of draws whose mean is a gain; each is one backward pass of a part of the inputs.
_DRAWS = 32


class TorchNetwork:
    """`Network` of a model with plain weights.

    batches  each one a tensor, a tuple or list of positional arguments, or a dict of named ones

    Raises ValueError for inputs that are missing, not finite or do not fit the model, and for a model that is pruned or
    shared; TypeError for other kinds of batches.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Any]) -> None:
        self.model = model
        self.batches = _checked(batches)
        self._parameters: dict[str, torch.Tensor] = {}
        for target in targets_of(model):
            module, local = target.places[0]
            parameter = getattr(module, local)
            # a weight that is made of other tensors, as torchao quantizes it, stays as it is; so do the parts of one
            # that a parametrization of others computes
            if target.trained and target.selectable and not hasattr(parameter, "__tensor_flatten__"):
                if chain(target):
                    raise ValueError(f"{target.name} is pruned or shared: calibrate needs plain weights")
                check_memory(target)
                self._parameters[target.name] = parameter
        used: dict[str, Role] = {}

        def use(name: str, layout: Layout, bias: str | None, inputs: Callable[[], torch.Tensor]) -> None:
            # no single bias makes up for the error of a weight that several layers share
            role = used.setdefault(name, Role(layout, bias))
            if role != Role(layout, bias):
                used[name] = Role(role.layout)

        self._run(Watch(self._parameters, use), self.batches[:1])
        unused = {
            name: Role(Layout.of(tuple(parameter.shape)))
            for name, parameter in self._parameters.items()
            if name not in used and parameter.dim() >= 2 and parameter.numel()
        }
        self.roles: Mapping[str, Role] = used | unused

    def weight(self, name: str) -> Array:
        return from_torch(name, self._parameters[name]).numpy()

    def dtype(self, name: str) -> str:
        return from_torch(name, self._parameters[name]).dtype

    def moments(self, names: Iterable[str]) -> dict[str, Moments]:
        found = {name: Moments(self.roles[name].layout) for name in names}

        def use(name: str, layout: Layout, bias: str | None, inputs: Callable[[], torch.Tensor]) -> None:
            # a weight that is transposed elsewhere has other inputs there
            if name in found and found[name].layout == layout:
                x = inputs()
                # those of a convolution are a view: only the drawn samples are copied
                drawn = found[name].draw(tuple(x.shape[: x.dim() // 2]), len(self.batches))
                found[name].add(x[tuple(map(torch.from_numpy, drawn))].float().cpu().numpy())

        self._run(Watch(self._parameters, use), self.batches)
        return {name: moments for name, moments in found.items() if moments.count}

    def outputs(self, replaced: Mapping[str, Array]) -> Floats:
        before = {name: self._parameters[name].detach().clone() for name in replaced}
        with torch.no_grad():
            try:
                for name, values in replaced.items():
                    self._parameters[name].copy_(torch.from_numpy(np.array(values)))
                found = self._run(None, self.batches)
            finally:
                for name, kept in before.items():
                    self._parameters[name].copy_(kept)
        return torch.cat([output.reshape(-1).float() for outputs in found for output in outputs]).cpu().numpy()

    def gains(self, names: Iterable[str]) -> dict[str, Floats]:
        """Gains by backward passes of outputs with random signs.

        The mean square of these gradients is that of a weight's effect on all outputs.
        """
        parameters = {name: self._parameters[name] for name in names}
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

    def _draws(self) -> list[Any]:
        """About `_DRAWS` parts of the inputs, repeated if there are few.

        Each batch is cut along its first dimension, if its tensors agree in it.
        """
        pieces = max(1, round(_DRAWS / len(self.batches)))
        parts = []
        for batch in self.batches:
            lengths = {len(part) if part.dim() else 0 for part in _tensors(batch)}
            length = lengths.pop() if len(lengths) == 1 else 1
            size = max(1, -(-length // pieces))
            starts = range(0, max(1, length), size)
            parts += [batch if length < 2 else _cut(batch, slice(start, start + size)) for start in starts]
        return parts * max(1, _DRAWS // len(parts))

    def _run(self, watch: Watch | None, batches: list[Any], gradient: bool = False) -> list[list[torch.Tensor]]:
        """Runs the model. Returns the floating-point outputs of each batch."""
        found = []
        with _evaluating(self.model), torch.set_grad_enabled(gradient):
            for number, batch in enumerate(batches):
                try:
                    with watch or nullcontext():
                        output = _call(self.model, batch)
                except (RuntimeError, TypeError, IndexError, KeyError, AssertionError) as error:
                    raise ValueError(
                        f"calibration batch {number} ({_describe(batch)}) does not fit the model: {error}"
                    ) from error
                outputs = [part for part in _tensors(output) if part.is_floating_point()]
                if not outputs:
                    raise ValueError(f"the model returns no floating-point tensor; found {type(output).__name__}")
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
        for part in _tensors(batch):
            if part.is_floating_point() and (bad := int((~part.isfinite()).sum())):
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


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    return (part for part in _flat(value) if isinstance(part, torch.Tensor))


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
    """Keeps a model in evaluation mode, and its functions where `Watch` sees them: without torch's fast path."""
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
