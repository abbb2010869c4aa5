"""AlexNet as Caffe has it and VGG-16; input float32 (count, 3, size, size), output logits (count, classes)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 1000


class _Normalised(torch.autograd.Function):
    """Local response normalisation over five channels, alpha 1e-4, beta 0.75: x / (1 + alpha / 5 x sums of squares) ^
    beta.

    torch's takes three times as long as all the rest of AlexNet on a CPU, and knows no bfloat16 there. Sums over
    neighbouring channels are a convolution by a band of ones.
    """

    _RATE = 1e-4 / 5

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Tensor) -> Tensor:
        band = band.to(x.dtype)
        base = F.conv2d(x * x, band).mul_(_Normalised._RATE).add_(1)
        ctx.save_for_backward(x, base, band)
        return x * _Normalised._power(base)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, base, band = ctx.saved_tensors
        direct = gradient * _Normalised._power(base)
        # 2 x beta: the derivative of the power of the squares
        neighbours = F.conv2d((direct * x).div_(base), band).mul_(x)
        return direct.sub_(neighbours, alpha=1.5 * _Normalised._RATE), None

    @staticmethod
    def _power(base: Tensor) -> Tensor:
        """base ^ -0.75, faster than `pow`."""
        root = base.rsqrt()
        return root * root.sqrt()


_normalised = cast(Callable[[Tensor, Tensor], Tensor], _Normalised.apply)


class ResponseNorm(nn.Module):
    """`nn.LocalResponseNorm(5, 1e-4, 0.75, 1)` for so many channels, faster on a CPU."""

    band: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        index = torch.arange(channels)
        near = (index[:, None] - index).abs() <= 2
        self.register_buffer("band", near.float()[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return _normalised(x, self.band)


class Large(nn.Module, ABC):
    """The base of AlexNet and VGG-16: convolutions, then fc6, fc7 and fc8 with dropout after the first two.

    classes  outputs of fc8
    width    the part of channels and neurons that is kept: 1 for the network itself, less for tests
    size     rows and columns of an image
    """

    SIZE: ClassVar[int]
    """Rows and columns of the images that the network is made for."""

    def __init__(self, classes: int, width: float, size: int | None) -> None:
        super().__init__()
        self.classes, self.width, self.size = classes, width, size or self.SIZE
        # torch.nn.Dropout, so that a rate may change during training
        self.drop6, self.drop7 = nn.Dropout(0.5), nn.Dropout(0.5)

    def _channels(self, count: int) -> int:
        """The channels of a layer: even, since some layers have two groups."""
        return max(2, 2 * round(count * self.width / 2))

    def _classifier(self, inputs: int) -> None:
        if inputs < 1:
            raise ValueError(f"images of {self.size} x {self.size} are too small for this network")
        neurons = self._channels(4096)
        self.fc6 = nn.Linear(inputs, neurons)
        self.fc7 = nn.Linear(neurons, neurons)
        self.fc8 = nn.Linear(neurons, self.classes)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # variances that neither grow nor vanish through ReLUs (He et al., 2015)
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if name == "fc8" else "relu")
                nn.init.zeros_(cast(Tensor, module.bias))

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The outputs of the convolutions: (count, inputs of fc6)."""

    def classify(self, features: Tensor) -> Tensor:
        """The outputs of the fully connected layers: (count, classes)."""
        x = self.drop6(F.relu(self.fc6(features)))
        x = self.drop7(F.relu(self.fc7(x)))
        return cast(Tensor, self.fc8(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images, or of features that were computed before."""
        return self.classify(x if x.ndim == 2 else self.features(x))


class AlexNet(Large):
    """AlexNet as in Caffe (bvlc_alexnet): groups of two in conv2, conv4 and conv5, response normalisation before
    pooling; 60,965,224 parameters with 1000 classes.
    """

    SIZE = 227

    def __init__(self, classes: int = CLASSES, width: float = 1.0, size: int | None = None) -> None:
        super().__init__(classes, width, size)
        one, two, three, five = (self._channels(count) for count in (96, 256, 384, 256))
        self.conv1 = nn.Conv2d(3, one, 11, stride=4)
        self.norm1 = ResponseNorm(one)
        self.conv2 = nn.Conv2d(one, two, 5, padding=2, groups=2)
        self.norm2 = ResponseNorm(two)
        self.conv3 = nn.Conv2d(two, three, 3, padding=1)
        self.conv4 = nn.Conv2d(three, three, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(three, five, 3, padding=1, groups=2)
        side = (self.size - 11) // 4 + 1
        for _ in range(3):
            side = max(0, (side - 3) // 2 + 1)
        self._classifier(five * side * side)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.norm1(F.relu(self.conv1(x))), 3, 2)
        x = F.max_pool2d(self.norm2(F.relu(self.conv2(x))), 3, 2)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        return F.max_pool2d(F.relu(self.conv5(x)), 3, 2).flatten(1)


class VGG16(Large):
    """VGG-16 (Simonyan and Zisserman, configuration D); 138,357,544 parameters with 1000 classes."""

    SIZE = 224
    BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    """Channels and convolutions of each block, after which there is pooling."""

    def __init__(self, classes: int = CLASSES, width: float = 1.0, size: int | None = None) -> None:
        super().__init__(classes, width, size)
        inputs = 3
        for block, (count, convolutions) in enumerate(self.BLOCKS, 1):
            for number in range(1, convolutions + 1):
                outputs = self._channels(count)
                self.add_module(f"conv{block}_{number}", nn.Conv2d(inputs, outputs, 3, padding=1))
                inputs = outputs
        self._classifier(inputs * (self.size // 32) ** 2)

    def features(self, x: Tensor) -> Tensor:
        for block, (_, convolutions) in enumerate(self.BLOCKS, 1):
            for number in range(1, convolutions + 1):
                x = F.relu(self.get_submodule(f"conv{block}_{number}")(x))
            x = F.max_pool2d(x, 2)
        return x.flatten(1)


LARGE: dict[str, type[AlexNet] | type[VGG16]] = {"alexnet": AlexNet, "vgg-16": VGG16}
