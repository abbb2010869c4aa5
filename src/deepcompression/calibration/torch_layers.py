"""Which weights the functions of torch use, how, and with what inputs, seen while a model runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from deepcompression.calibration.network import Layout, Moments, Role
from deepcompression.nn.attention import attend

_CONVOLUTIONS: dict[Callable[..., Any], int] = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}


class Watch(TorchFunctionMode, ABC):
    """Sees the calls of functions that take weights; `use` is called with the weight's name, layout, bias and input."""

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.names = {parameter.untyped_storage().data_ptr(): name for name, parameter in parameters.items()}
        self.shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}

    @abstractmethod
    def use(self, name: str, layout: Layout, bias: str | None, inputs: Callable[[], torch.Tensor]) -> None:
        """Called before the function."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.linear:
            self._linear(*args, **kwargs)
        elif function in _CONVOLUTIONS:
            self._convolution(_CONVOLUTIONS[function], *args, **kwargs)
        elif function is F.multi_head_attention_forward:
            # its projections are calls of F.linear
            with self:
                return attend(*args, **kwargs)
        return function(*args, **kwargs)

    def _name(self, tensor: torch.Tensor | None) -> str | None:
        # one that is made of others has no memory of its own
        if tensor is None or hasattr(tensor, "__tensor_flatten__"):
            return None
        return self.names.get(tensor.untyped_storage().data_ptr())

    def _linear(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        name = self._name(weight)
        # the whole of a parameter, or some of its rows
        if name is not None and weight.shape[1:] == self.shapes[name][1:] and weight.is_contiguous():
            layout = Layout.of(self.shapes[name])
            self.use(name, layout, self._name(bias), lambda: input.reshape(-1, input.shape[-1]))

    def _convolution(
        self,
        dimensions: int,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> None:
        name = self._name(weight)
        if name is None:
            return
        layout = Layout.of(tuple(weight.shape), groups=groups)

        def patches() -> torch.Tensor:
            strides, dilations = (_several(n, dimensions) for n in (stride, dilation))
            x = input if input.dim() == dimensions + 2 else input[None]
            x = F.pad(x, _edges(padding, weight.shape[2:], dilations))
            for at, (size, each, spread) in enumerate(zip(weight.shape[2:], strides, dilations, strict=True)):
                x = x.unfold(2 + at, (size - 1) * spread + 1, each)[..., ::spread]
            return x.movedim(1, 1 + dimensions)

        self.use(name, layout, self._name(bias), patches)


class WatchRoles(Watch):
    """Collects the roles in the order of execution."""

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        super().__init__(parameters)
        self.found: dict[str, Role] = {}

    def use(self, name: str, layout: Layout, bias: str | None, inputs: Callable[[], torch.Tensor]) -> None:
        before = self.found.get(name)
        # a weight of several layers: no one bias makes up for its error
        self.found[name] = Role(layout, bias if before is None or before.bias == bias else None)


class WatchInputs(Watch):
    """Collects moments."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], moments: Mapping[str, Moments], batches: int) -> None:
        super().__init__(parameters)
        self.moments, self.batches = moments, batches

    def use(self, name: str, layout: Layout, bias: str | None, inputs: Callable[[], torch.Tensor]) -> None:
        found = self.moments.get(name)
        if found is None:
            return
        x = inputs()
        # a convolution's are a view (batch, places..., channels, kernel...): only the wanted samples are copied
        leading = x.shape[: (x.dim() if x.dim() == 2 else x.dim() // 2 + 1) - 1]
        wanted = found.wanted(int(np.prod(leading)), self.batches)
        at = np.unravel_index(wanted, tuple(leading))
        found.add(x[tuple(torch.from_numpy(part) for part in at)].reshape(len(wanted), -1).float().cpu().numpy())


def _several(numbers: Any, count: int) -> tuple[int, ...]:
    found = (numbers,) if isinstance(numbers, int) else tuple(numbers)
    return found * count if len(found) == 1 else found


def _edges(padding: Any, kernel: Iterable[int], dilations: Iterable[int]) -> list[int]:
    """As F.pad takes them, the last dimension first."""
    kernel = list(kernel)
    if padding == "valid":
        padding = 0
    if padding == "same":
        whole = [(size - 1) * spread for size, spread in zip(kernel, dilations, strict=True)]
        pairs = [(each // 2, each - each // 2) for each in whole]
    else:
        pairs = [(each, each) for each in _several(padding, len(kernel))]
    return [edge for pair in reversed(pairs) for edge in pair]
