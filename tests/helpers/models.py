"""Small models of every kind that the tests compress, each with an input: `MODELS` is the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

torch.set_num_threads(1)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))


class ConvNet(nn.Module):
    """Two convolutions, BatchNorm with its buffers, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, groups=2, bias=False)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3)))


class Tied(nn.Module):
    """An embedding whose weight is also that of the output layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.output = nn.Linear(8, 11)
        self.output.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.embedding(x))


class Twice(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 6, num_layers=2, bidirectional=True)
        self.gru = nn.GRU(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(self.lstm(x)[0])[0]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


class Own(nn.Module):
    """Parameters and buffers of a module of one's own, some of the model itself, one of them frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 5))
        self.fixed = nn.Parameter(torch.randn(5, 5), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * (x @ self.table @ self.fixed)


class Empty(nn.Module):
    """A layer without any elements beside an ordinary one."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(0, 5))
        self.fc = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) + self.nothing.sum()


def _float(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(5))


Row = tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]

MODELS: dict[str, Row] = {
    "mlp": (mlp, _float(3, 12)),
    "conv-net": (ConvNet, _float(3, 1, 7, 7)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, dilation=2), _float(2, 3, 9)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), _float(2, 2, 4, 4, 4)),
    "transposed1d": (lambda: nn.ConvTranspose1d(3, 4, 3), _float(2, 3, 5)),
    "transposed2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), _float(2, 4, 5, 5)),
    "transposed3d": (lambda: nn.ConvTranspose3d(2, 3, 2), _float(2, 2, 3, 3, 3)),
    "tied": (Tied, lambda: torch.tensor([[1, 4, 10], [0, 2, 2]])),
    "twice": (Twice, _float(3, 6)),
    "recurrent": (Recurrent, _float(4, 2, 5)),
    "attention": (Attention, _float(4, 2, 8)),
    "own": (Own, _float(3, 7)),
    "empty": (Empty, _float(3, 5)),
    "f16": (lambda: mlp().half(), lambda: _float(3, 12)().half()),
    "bf16": (lambda: mlp().bfloat16(), lambda: _float(3, 12)().bfloat16()),
    "f64": (lambda: mlp().double(), lambda: _float(3, 12)().double()),
}


def make(name: str, seed: int = 0) -> nn.Module:
    """A model of the table, the same for the same seed; torch's random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS[name][0]()


def example(name: str) -> torch.Tensor:
    return MODELS[name][1]()


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the `state_dict`, to see afterwards that nothing has changed."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two `state_dict`s are the same, bit for bit: names, dtypes, shapes and elements."""
    assert list(found) == list(expected), (list(found), list(expected))
    for name in expected:
        assert bits(found[name]) == bits(expected[name]), name


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    flat = tensor.detach().contiguous().reshape(-1)
    return tensor.dtype, tensor.shape, flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def dense(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that a model computes with, in whatever stage, by their plain names."""
    from deepcompression.recipe.targets import targets_of

    with torch.no_grad():
        return {
            name: getattr(*target.places[0]).detach().clone() for target in targets_of(model) for name in target.names
        }


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    """One step towards nothing in particular: every parameter that reaches the output gets a gradient."""
    optimizer.zero_grad()
    output = model(x)
    (output - torch.arange(output.shape[-1], dtype=output.dtype)).square().mean().backward()
    optimizer.step()
