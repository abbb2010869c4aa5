"""Layers with a packed weight that call it at once: dispatch and hooks take as long as a small layer."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules import module as modules

from deepcompression.nn.packed_weight import at_once, nothing_watches
from deepcompression.packed.convolution import ConvolutionSettings


class PackedLinear(nn.Linear):
    """A linear layer with a packed weight. Skips the dispatch of `F.linear`, which takes as long as a small layer."""

    def __call__(self, input: Tensor) -> Tensor:
        """As nn.Module's, which takes as long as a small layer even without hooks."""
        state = self.__dict__
        if nothing_watches() and not (
            state["_forward_hooks"]
            or state["_forward_pre_hooks"]
            or state["_backward_hooks"]
            or state["_backward_pre_hooks"]
            or "forward" in state
            or "_compiled_call_impl" in state
            or modules._global_forward_hooks
            or modules._global_forward_pre_hooks
            or modules._global_backward_hooks
            or modules._global_backward_pre_hooks
        ):
            y = at_once(state["_modules"]["weight"].__dict__, input, state["_parameters"]["bias"])
            if y is not None:
                return y
        return cast(Tensor, super().__call__(input))

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


def packed_class(kind: type[nn.Module], module: nn.Module) -> type[nn.Module]:
    """The class for a module whose class is `kind`, and whose weight is one packed matrix."""
    if kind is nn.Linear:
        return PackedLinear
    return PackedConv2d if kind is nn.Conv2d and vars(module)["padding_mode"] == "zeros" else kind
