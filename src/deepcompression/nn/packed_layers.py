"""Layers with a packed weight that call it at once: dispatch and hooks take as long as a small layer."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch._C import _get_tracing_state
from torch.nn.modules import module as modules

from deepcompression.packed.convolution import ConvolutionSettings


class PackedLinear(nn.Linear):
    """A linear layer with a packed weight. Skips the dispatch of `F.linear`, which takes as long as a small layer."""

    def __call__(self, input: Tensor) -> Tensor:
        """As nn.Module's, which takes as long as a small layer to find that it has no hooks."""
        if (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or self._compiled_call_impl
            or modules._global_forward_hooks
            or modules._global_forward_pre_hooks
            or modules._global_backward_hooks
            or modules._global_backward_pre_hooks
            or _get_tracing_state()
        ):
            return cast(Tensor, super().__call__(input))
        return self.forward(input)

    def forward(self, input: Tensor) -> Tensor:
        weight: Any = self._modules["weight"]
        y: Tensor = weight.linear(input, self._parameters["bias"])
        return y


class PackedConv2d(nn.Conv2d):
    """A convolution with a packed weight and zeros around its inputs. Skips the dispatch of `F.conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        weight: Any = self._modules["weight"]
        padding: Any = self.padding
        settings = ConvolutionSettings(self.stride, padding, self.dilation, self.groups)
        y: Tensor = weight.convolve(input, self._parameters["bias"], settings)
        return y
