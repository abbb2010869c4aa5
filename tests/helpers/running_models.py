"""Models that are run from their compressed form, each beside the dense one in float64."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

import deepcompression as dc
from deepcompression import Prune, Recipe, Rule, Share

torch.set_num_threads(1)


def recipe(density: float = 0.1, bits: int = 4) -> Recipe:
    return Recipe(rules=[Rule(module="*", prune=Prune(density=density), share=Share(bits=bits))])


def compressed(model: nn.Module, density: float = 0.1, bits: int = 4) -> nn.Module:
    """The model pruned and shared, plain again: a dense one with few values."""
    dc.prune(model, recipe(density, bits))
    dc.share(model, recipe(density, bits))
    return dc.finalize(model)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floats(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def linear(rows: int = 96, columns: int = 80, bias: bool = True, density: float = 0.1, bits: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(rows + columns)
        return compressed(nn.Linear(columns, rows, bias), density, bits)


class Named(nn.Module):
    """A layer with a name."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc = linear(**options)

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(x)


def mlp() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = (nn.Linear(80, 96), nn.ReLU(), nn.Dropout(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
        return compressed(nn.Sequential(*layers)).eval()


def saved(model: nn.Module, folder: Path, profile: str = "fast") -> Path:
    path = folder / "model.dcz"
    dc.save(model, path, profile=profile)
    return path


def double(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).double()


def assert_near(found: torch.Tensor, expected: torch.Tensor, bound: float = 1e-6) -> None:
    """Within `bound` of the largest."""
    assert found.shape == expected.shape
    error = (found.double() - expected.double()).abs()
    largest = expected.double().abs().max() if expected.numel() else 0
    assert not error.numel() or error.max() <= bound * largest, float(error.max() / largest)


def packed_names(small: nn.Module) -> set[str]:
    return {name for row in dc.explain(small).rows if row.packed for name in row.names}
