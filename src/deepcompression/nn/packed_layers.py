"""Layers with a packed weight that call it at once: dispatch and hooks take as long as a small layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, get_num_threads, is_grad_enabled, nn
from torch._C import _get_tracing_state, _is_any_autocast_enabled, _len_torch_dispatch_stack
from torch._C._functorch import maybe_current_level
from torch.autograd import forward_ad
from torch.nn.modules import module as modules

from deepcompression import _core
from deepcompression.nn.product import by_addresses, product
from deepcompression.nn.watchers import refuse_backward
from deepcompression.packed.convolution import ConvolutionSettings


class PackedLinear(nn.Linear):
    """A linear layer with a packed weight. Skips the dispatch of `F.linear`, which takes as long as a small layer."""

    if product is not by_addresses:
        __call__: Any = _core.layer_call(
            nn.Linear,
            (_is_any_autocast_enabled, _len_torch_dispatch_stack, _get_tracing_state, maybe_current_level),
            (
                modules._global_forward_hooks,
                modules._global_forward_pre_hooks,
                modules._global_backward_hooks,
                modules._global_backward_pre_hooks,
            ),
            get_num_threads,
            is_grad_enabled,
            refuse_backward,
            vars(forward_ad),
        )

    def forward(self, input: Tensor) -> Tensor:
        weight: Any = self._modules.get("weight")
        if weight is None:
            # somebody has put a parameter in its place
            return super().forward(input)
        y: Tensor = weight.linear(input, self._parameters["bias"])
        return y


class PackedConv2d(nn.Conv2d):
    """A convolution with a packed weight and zeros around its inputs. Skips the dispatch of `F.conv2d`."""

    def forward(self, input: Tensor) -> Tensor:
        weight: Any = self._modules.get("weight")
        if weight is None:
            return super().forward(input)
        padding: Any = self.padding
        settings = ConvolutionSettings(self.stride, padding, self.dilation, self.groups)
        y: Tensor = weight.convolve(input, self._parameters["bias"], settings)
        return y


def packed_class(kind: type[nn.Module], module: nn.Module) -> type[nn.Module]:
    """The class for a module whose class is `kind`, and whose weight is one packed matrix."""
    if kind is nn.Linear:
        return PackedLinear
    return PackedConv2d if kind is nn.Conv2d and vars(module)["padding_mode"] == "zeros" else kind
