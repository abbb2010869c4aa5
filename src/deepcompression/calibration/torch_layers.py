"""Weights that functions of torch use, and their inputs, seen while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from deepcompression.calibration.network import Layout
from deepcompression.nn.attention import attend
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.torch_reference import CONVOLUTIONS

_DIMENSIONS = {function: dimensions for dimensions, function in CONVOLUTIONS.items()}

# Takes a weight's name, its layout, its bias, and a function that returns its inputs. Half of their axes count samples,
# the others columns.
Use = Callable[[str, Layout, str | None, Callable[[], torch.Tensor]], None]


class Watch(TorchFunctionMode):
    """Calls `use` before each function that takes a weight."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], use: Use) -> None:
        super().__init__()
        self.use = use
        self.shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        self._own = {id(parameter): name for name, parameter in parameters.items()}
        # parameters may be views of one storage, whole or not
        self._stored: dict[int, list[tuple[str, torch.Tensor]]] = {}
        for name, parameter in parameters.items():
            self._stored.setdefault(parameter.untyped_storage().data_ptr(), []).append((name, parameter))

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.linear:
            self._linear(*args, **kwargs)
        elif function in _DIMENSIONS:
            self._convolution(_DIMENSIONS[function], *args, **kwargs)
        elif function is F.multi_head_attention_forward:
            # its projections are calls of F.linear
            with self:
                return attend(*args, **kwargs)
        return function(*args, **kwargs)

    def _name(self, tensor: torch.Tensor | None) -> str | None:
        """The parameter that the tensor is, as a whole or as some of its rows."""
        # a tensor that is made of others has no memory of its own
        if tensor is None or hasattr(tensor, "__tensor_flatten__"):
            return None
        if id(tensor) in self._own:
            return self._own[id(tensor)]
        beside = self._stored.get(tensor.untyped_storage().data_ptr(), [])
        # of several that overlap there, the smallest is the tensor itself, if any is
        found = sorted((each.numel(), name) for name, each in beside if _are_rows(tensor, each))
        return found[0][1] if found else None

    def _linear(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        if weight.dim() != 2 or hasattr(weight, "__tensor_flatten__"):
            return
        name, transposed = self._name(weight), False
        if name is None:
            name, transposed = self._name(weight.t()), True
        # some rows of a transposed parameter have other inputs than the whole of it
        if name is not None and (not transposed or self.shapes[name] == tuple(weight.t().shape)):
            layout = Layout.of(self.shapes[name], transposed)
            self.use(name, layout, self._name(bias), lambda: input.reshape(-1, input.shape[-1]))

    def _convolution(
        self,
        dimensions: int,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *settings: Any,
        **named: Any,
    ) -> None:
        name = self._name(weight)
        if name is None or self.shapes[name] != tuple(weight.shape):
            return
        stride, _, dilation, groups = chosen = ConvolutionSettings.of(dimensions, *settings, **named)
        kernel = tuple(weight.shape[2:])

        def patches() -> torch.Tensor:
            x = input if input.dim() == dimensions + 2 else input[None]
            # F.pad takes the last dimension first
            x = F.pad(x, [edge for at in reversed(range(dimensions)) for edge in chosen.edges(kernel, at)])
            for at, size in enumerate(kernel):
                x = x.unfold(2 + at, (size - 1) * dilation[at] + 1, stride[at])[..., :: dilation[at]]
            return x.movedim(1, 1 + dimensions)

        self.use(name, Layout.of(tuple(weight.shape), groups=groups), self._name(bias), patches)


def _are_rows(part: torch.Tensor, whole: torch.Tensor) -> bool:
    """Whether a tensor in the storage of another lies there as the other does, or as some of its rows."""
    if part.dtype != whole.dtype or part.shape[1:] != whole.shape[1:] or part.stride() != whole.stride():
        return False
    if not part.numel() or not part.dim():
        return part.numel() == whole.numel() and part.storage_offset() == whole.storage_offset()
    rows, rest = divmod(int(part.storage_offset() - whole.storage_offset()), max(1, whole.stride(0)))
    return rest == 0 and 0 <= rows <= len(whole) - len(part)
