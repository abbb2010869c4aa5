"""Small networks of the kinds that run on boards, with weights from a seed; pruned to a third, or shared, as trained
ones are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Cnn(nn.Module):
    """Convolutions with BatchNorm, pooling, and fully connected layers."""

    shape = (1, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, dilation=2, bias=False)
        self.fc1 = nn.Linear(128, 16)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 3, stride=1, padding=1)
        x = F.avg_pool2d(F.relu6(self.conv2(x)), 3, stride=1, padding=1)
        return F.softmax(self.fc2(torch.tanh(self.fc1(x.flatten(1)))), 1)


class DsCnn(nn.Module):
    """Depthwise separable convolutions, as in keyword spotting."""

    shape = (1, 13, 10)

    def __init__(self) -> None:
        super().__init__()

        def block(channels):
            return nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )

        self.first = nn.Sequential(nn.Conv2d(1, 8, (5, 3), stride=2, padding=(2, 1), bias=False), nn.BatchNorm2d(8))
        self.blocks = nn.Sequential(block(8), block(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(8, 6)

    def forward(self, x):
        return self.last(self.drop(self.pool(self.blocks(F.relu(self.first(x)))).flatten(1)))


class Branches(nn.Module):
    """A residual sum, a concatenation, a gate for each channel, a split, and a BatchNorm that nothing can take in."""

    shape = (4, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 3, padding=1)
        self.right = nn.Conv2d(2, 4, 1)
        self.gate = nn.Linear(8, 8)
        self.mix = nn.Conv2d(8, 4, 1, groups=2)
        self.last = nn.Linear(144, 4)

    def forward(self, x):
        x = self.norm(x)
        y = F.hardswish(self.left(x)) + x
        first, _ = torch.split(y, 2, 1)
        z = torch.cat([F.gelu(self.right(first)), F.leaky_relu(y, 0.1)], 1)
        z = z * torch.sigmoid(self.gate(z.mean((2, 3))))[:, :, None, None]
        return self.last(torch.clamp(self.mix(z) + y, -2, 2).flatten(1)) * 0.5


class Gru(nn.Module):
    """Two layers of GRU over a sequence; the last state alone is read."""

    shape = (9, 5)

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 8, num_layers=2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        states, _ = self.gru(x)
        return self.last(states[:, -1])


class Lstm(nn.Module):
    """A convolution over time, an LSTM, and a layer on every state."""

    shape = (4, 12)

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 6, batch_first=True)
        self.each = nn.Linear(6, 4)
        self.conv = nn.Conv1d(4, 3, 3, padding=1)

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.conv(F.elu(self.each(states)))


class Functions(nn.Module):
    """The other functions, a sum with a number for each channel, and means that count their padding."""

    shape = (3, 5, 4)

    def forward(self, x):
        y = F.hardsigmoid(F.silu(x)) + F.gelu(x, approximate="tanh")
        y = F.adaptive_max_pool2d(y, 1) - F.elu(y)
        y = F.avg_pool2d(y, 3, stride=(2, 1), padding=1, count_include_pad=True)
        return torch.cat([F.softmax(y, 3), 2 - y], 1)[:, 1:5]


class Speech(nn.Module):
    """A convolution over features and time, a GRU in both directions, and the mean of its states."""

    shape = (1, 8, 9)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, stride=(2, 1), padding=1)
        self.gru = nn.GRU(12, 5, batch_first=True, bidirectional=True)
        self.last = nn.Linear(10, 4)

    def forward(self, x):
        x = F.relu(self.conv(x)).permute(0, 3, 1, 2).flatten(2)
        return self.last(self.gru(x)[0].mean(1))


NETWORKS = {each.__name__: each for each in (Cnn, DsCnn, Branches, Gru, Lstm, Functions, Speech)}


def network(name, density=0.3, centroids=32):
    """A network in the mode `eval`, whose weights are pruned and shared."""
    torch.manual_seed(len(name))
    model = NETWORKS[name]().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(-1.5, 1.5)
                module.bias.normal_()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                least = parameter.abs().flatten().kthvalue(int((1 - density) * parameter.numel()) + 1).values
                step = parameter.abs().max() / (centroids // 2)
                parameter.mul_(parameter.abs() >= least).copy_(torch.round(parameter / step) * step)
    return model


def inputs_of(name, count=24, seed=0):
    shape = NETWORKS[name].shape
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def outputs_of(model, inputs):
    """The outputs of torch, one input at a time, in float64 arithmetic; float32 (count, elements)."""
    model = model.double()
    with torch.no_grad():
        found = [model(torch.from_numpy(each[None]).double()).flatten() for each in inputs]
    model.float()
    return torch.stack(found).float().numpy()
