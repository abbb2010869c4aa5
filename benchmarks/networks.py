"""Whole networks to be timed: their modules, compressed weights, and the shape of an input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import tensors
from deepcompression.tensors import tensor
from reproduce.large.networks import VGG16
from reproduce.models import LeNet5, LeNet300100


class AlexNet(nn.Module):
    """AlexNet as in Caffe, with torch's response normalisation. Input (count, 3, 227, 227), output (count, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(9216, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.local_response_norm(F.relu(self.conv1(x)), 5), 3, 2)
        x = F.max_pool2d(F.local_response_norm(F.relu(self.conv2(x)), 5), 3, 2)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, 2).flatten(1)
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


class VGG16Classifier(nn.Module):
    """VGG-16's fully connected layers alone. Input (count, 25088), output (count, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc6 = nn.Linear(25088, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


@dataclass(frozen=True)
class Network:
    build: Callable[[], nn.Module]
    # of one input
    shape: tuple[int, ...]
    tensors: Callable[[], dict[str, tensor.Tensor]]


def _classifier() -> dict[str, tensor.Tensor]:
    return tensors.network({name: layer for name, layer in tensors.VGG16.items() if name.startswith("fc")})


NETWORKS = {
    "LeNet-300-100": Network(LeNet300100, (1, 28, 28), lambda: tensors.lenets()["lenet-300-100"]),
    "LeNet-5": Network(LeNet5, (1, 28, 28), lambda: tensors.lenets()["lenet-5"]),
    "AlexNet": Network(AlexNet, (3, 227, 227), tensors.alexnet),
    "VGG-16": Network(VGG16, (3, 224, 224), lambda: tensors.network(tensors.VGG16)),
    "VGG-16 fc6-8": Network(VGG16Classifier, (25088,), _classifier),
}


def convolutions(network: str) -> dict[str, tuple[nn.Conv2d, tuple[int, ...]]]:
    """A network's convolutions, on no device, each with the shape of its input."""
    found: dict[str, tuple[nn.Conv2d, tuple[int, ...]]] = {}
    with torch.device("meta"):
        model = NETWORKS[network].build()
        for name, module in model.named_children():
            if isinstance(module, nn.Conv2d):

                def note(each: nn.Module, given: Any, name: str = name) -> None:
                    assert isinstance(each, nn.Conv2d)
                    found[name] = (each, tuple(given[0].shape))

                module.register_forward_pre_hook(note)
        model(torch.empty(1, *NETWORKS[network].shape))
    for module, _ in found.values():
        module._forward_pre_hooks.clear()
    return found
