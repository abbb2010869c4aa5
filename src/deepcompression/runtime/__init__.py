"""Layers of a `.dcz` file, run with NumPy alone: `Sequence.load("m.dcz", [Linear("fc1"), ReLU()])(x)`.

Weights stay compressed in memory.

Imports file, packed and what those import.
"""

from deepcompression.runtime.convolution import AdaptiveAvgPool2d, AvgPool2d, Conv1d, Conv2d, Conv3d, MaxPool2d
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
