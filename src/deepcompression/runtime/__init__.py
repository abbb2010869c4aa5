"""Runs a sequence of layers from a `.dcz` file with NumPy arrays, for services that do not want torch.

    net = Sequence.load("lenet-5.dcz", [Conv2d("conv1"), MaxPool2d(2), Conv2d("conv2"), MaxPool2d(2),
                                        Flatten(), Linear("fc1"), ReLU(), Linear("fc2")])
    y = net(x)  # x float32 (count, 1, 28, 28) -> y float32 (count, 10)

Weights stay compressed in memory: fully connected layers are computed straight from them, convolutions decode a few
rows at a time. Layers take the arguments of torch's modules of the same name and give what those give.
"""

from deepcompression.runtime.layers import (
    BatchNorm,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Softmax,
    Step,
    Tanh,
)
from deepcompression.runtime.sequence import LayerFacts, Sequence
from deepcompression.runtime.windows import AdaptiveAvgPool2d, AvgPool2d, Conv1d, Conv2d, Conv3d, MaxPool2d

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BatchNorm",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Flatten",
    "Layer",
    "LayerFacts",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Sequence",
    "Sigmoid",
    "Softmax",
    "Step",
    "Tanh",
]
