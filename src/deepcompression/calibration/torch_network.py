"""A torch model with calibration inputs."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepcompression.calibration.network import Layout, Moments, Outputs, Role, held_back
from deepcompression.calibration.torch_batches import DRAWS, Batch, batches_of
from deepcompression.calibration.torch_layers import Watch
from deepcompression.recipe.targets import targets_of
from deepcompression.tensors.dtypes import Array, Floats
from deepcompression.tensors.from_torch import from_torch
from deepcompression.training.attach import chain, check_memory

# Outputs beyond this are masks, such as the least value of float32: no weights scale them.
_MASK = 1e15


class TorchNetwork:
    """`Network` of a model with plain weights.

    batches  each one a tensor, a tuple or list of positional arguments, or a dict of named ones

    Raises ValueError for inputs that are missing, not finite or do not fit the model, and for a model that is pruned or
    shared; TypeError for other kinds of batches.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Any]) -> None:
        self.model = model
        self.batches = batches_of(batches)
        self._parameters: dict[str, torch.Tensor] = {}
        for target in targets_of(model):
            module, local = target.places[0]
            parameter = getattr(module, local)
            # a weight that is made of other tensors, as torchao quantizes it, stays as it is; so do the parts of one
            # that a parametrization of others computes
            if target.trained and not target.kept and not hasattr(parameter, "__tensor_flatten__"):
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
        if not self._takes_rows():
            self.batches = [batch._replace(whole=True) for batch in self.batches]
        unused = {
            name: Role(Layout.of(tuple(parameter.shape)))
            for name, parameter in self._parameters.items()
            if name not in used and parameter.dim() >= 2 and parameter.numel()
        }
        self.roles: Mapping[str, Role] = used | unused

    def _takes_rows(self) -> bool:
        """Whether the model takes a single row of a batch: not if it fixes their number, or has another first axis."""
        first = self.batches[0]
        try:
            self._run(None, [first.rows(np.arange(1))] if first.length > 1 else [])
        except ValueError:
            return False
        return True

    @property
    def count(self) -> int:
        return sum(each.length for each in self.batches)

    def split(self) -> tuple[TorchNetwork, TorchNetwork | None]:
        numbers = np.concatenate([np.full(each.length, at) for at, each in enumerate(self.batches)])
        held = np.isin(np.arange(len(numbers)), held_back(len(numbers)))
        if not held.any():
            return self, None
        return self._with(numbers, ~held), self._with(numbers, held)

    def _with(self, numbers: NDArray[np.int64], chosen: NDArray[np.bool_]) -> TorchNetwork:
        """The network with some of its inputs; `numbers` has the batch of each."""
        network = copy.copy(self)
        rows = [np.flatnonzero(chosen[numbers == at]) for at in range(len(self.batches))]
        network.batches = [batch.rows(own) for batch, own in zip(self.batches, rows, strict=True) if len(own)]
        return network

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

    def outputs(self, replaced: Mapping[str, Array]) -> Outputs:
        before = {name: self._parameters[name].detach().clone() for name in replaced}
        with torch.no_grad():
            try:
                for name, values in replaced.items():
                    self._parameters[name].copy_(torch.from_numpy(np.array(values)))
                # an output may be a weight itself: it is copied before the weights come back
                return _joined(self._run(None, self.batches, changed=bool(replaced)))
            finally:
                for name, kept in before.items():
                    self._parameters[name].copy_(kept)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def gains(self, names: Iterable[str]) -> dict[str, Floats]:
        """Gains by backward passes of outputs with random signs.

        The mean square of these gradients is that of a weight's effect on all outputs.
        """
        parameters = {name: self._parameters[name] for name in names}
        if not parameters:
            return {}
        if made := [name for name, parameter in parameters.items() if parameter.is_inference()]:
            raise ValueError(
                f"{made[0]} was made in torch.inference_mode(), and has no gradients, which calibration needs: build "
                "or load the model outside of it"
            )
        flags = {name: parameter.requires_grad for name, parameter in parameters.items()}
        sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
        generator = torch.Generator().manual_seed(0)
        size = 0.0
        try:
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            for part in self._draws():
                (outputs,) = self._run(None, [part], gradient=True)
                floats = [each.where(each.abs() < _MASK, 0) for each in outputs.values() if each.is_floating_point()]
                size += sum(float(output.detach().double().square().sum()) for output in floats)
                signed = [
                    (o * (torch.randint(0, 2, o.shape, generator=generator) * 2 - 1).to(o)).sum().float()
                    for o in floats
                ]
                gradients = torch.autograd.grad(torch.stack(signed).sum(), list(parameters.values()), allow_unused=True)
                for name, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        sums[name] += gradient.to_dense().double().square()
        finally:
            for name, flag in flags.items():
                parameters[name].requires_grad_(flag)
        return {name: (found / max(size, 1e-300)).float().cpu().numpy() for name, found in sums.items()}

    def _draws(self) -> list[Batch]:
        """About `DRAWS` parts of the inputs, repeated if there are few."""
        pieces = max(1, round(DRAWS / len(self.batches)))
        parts = [part for batch in self.batches for part in batch.pieces(pieces)]
        return parts * max(1, DRAWS // len(parts))

    def _run(
        self, watch: Watch | None, batches: list[Batch], gradient: bool = False, changed: bool = False
    ) -> list[dict[str, torch.Tensor]]:
        """Runs the model. Returns the outputs of each batch by name, finite ones unless the weights are changed."""
        found = []
        with (
            _same_state(self.model),
            _evaluating(self.model),
            torch.set_grad_enabled(gradient),
            _same_chance(self.model),
        ):
            for batch in batches:
                with watch or nullcontext():
                    outputs = batch.run(self.model)
                if not changed:
                    batch.check(outputs)
                found.append(outputs)
        return found


@contextmanager
def _alike(model: nn.Module) -> Iterator[None]:
    """Makes runs the same: in evaluation mode, from the same state, by the same chance."""
    with _same_state(model), _evaluating(model), _same_chance(model):
        yield


@contextmanager
def _same_state(model: nn.Module) -> Iterator[None]:
    """Gives a model copies of its buffers, and takes back the attributes that it sets: every run starts alike."""
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    own = [each for module in modules for each in (vars(module), module._buffers)]
    before = [dict(each) for each in own]
    copies: dict[int, torch.Tensor] = {}
    for module in modules:
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())
    try:
        yield
    finally:
        for each, then in zip(own, before, strict=True):
            if each.keys() != then.keys() or any(each[name] is not then[name] for name in each):
                each.clear()
                each.update(then)


@contextmanager
def _same_chance(model: nn.Module) -> Iterator[None]:
    """Makes outputs by chance the same each time, and leaves the generators of torch, NumPy and Python as they were."""
    devices = {parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"}
    generators = [torch.default_generator, *(torch.cuda.default_generators[device] for device in devices)]
    states = [generator.get_state() for generator in generators]
    numpy_random: Any = np.random
    of_numpy, of_python = numpy_random.get_bit_generator(), random.getstate()
    try:
        for generator in generators:
            generator.manual_seed(0)
        numpy_random.set_bit_generator(np.random.MT19937(0))
        random.seed(0)
        yield
    finally:
        random.setstate(of_python)
        numpy_random.set_bit_generator(of_numpy)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _joined(batches: list[dict[str, torch.Tensor]]) -> Outputs:
    """The outputs of all batches, flat, in NumPy's dtypes."""
    parts: dict[str, list[Array]] = {}
    for outputs in batches:
        for name, output in outputs.items():
            wide = output.float() if output.is_floating_point() and output.dtype != torch.float64 else output
            parts.setdefault(name, []).append(wide.reshape(-1).cpu().numpy())
    return {name: np.concatenate(each) for name, each in parts.items()}


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
