"""Pretrained weights from files, under our names, Caffe's or torchvision's -> AlexNet and VGG-16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from deepcompression.checkpoint import open_checkpoint
from reproduce.large.networks import VGG16, AlexNet, Large

# torchvision numbers modules, those without weights too
_FEATURES = {
    AlexNet: (0, 3, 6, 8, 10),
    VGG16: (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
_CLASSIFIER = {AlexNet: (1, 4, 6), VGG16: (0, 3, 6)}
_TORCHVISION_ALEXNET = (64, 3, 11, 11)


def names_of_torchvision(model: Large) -> dict[str, str]:
    """Torchvision's name of a module -> ours."""
    kind = type(model)
    names = [name for name, module in model.named_children() if hasattr(module, "weight")]
    numbered = [f"features.{n}" for n in _FEATURES[kind]] + [f"classifier.{n}" for n in _CLASSIFIER[kind]]
    return dict(zip(numbered, names, strict=True))


def load_weights(model: Large, path: Path) -> None:
    """Fills a model from a safetensors file or a state_dict. Raises ValueError for one of another architecture, before
    anything has changed, and the errors of `open_checkpoint`.
    """
    with open_checkpoint(path) as source:
        shapes = {_plain(name): entry.shape for name, entry in source.entries.items()}
        _check(model, shapes, path)
        renamed = names_of_torchvision(model)
        places = model.state_dict()
        with torch.no_grad():
            for name in source.entries:
                module, _, part = _plain(name).rpartition(".")
                values = source.read(name).numpy().astype(np.float32)
                places[f"{renamed.get(module, module)}.{part}"].copy_(torch.from_numpy(values))


def _plain(name: str) -> str:
    return name.removeprefix("module.")


def _check(model: Large, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    kind = type(model).__name__
    if isinstance(model, AlexNet) and shapes.get("features.0.weight") == _TORCHVISION_ALEXNET:
        raise ValueError(
            f"{path} is torchvision's AlexNet, which is another network: its convolutions have 64, 192, 384, 256 and "
            "256 channels and no groups, the paper's (Caffe's) 96, 256, 384, 384 and 256, some in two groups"
        )
    if any(name.endswith("running_mean") for name in shapes):
        raise ValueError(f"{path} is a network with batch normalisation (vgg16_bn?); the paper's {kind} has none")
    renamed = names_of_torchvision(model)
    found = {}
    for name, shape in shapes.items():
        module, _, part = name.rpartition(".")
        found[f"{renamed.get(module, module)}.{part}"] = tuple(shape)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not in the network" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name])}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        hint = "; give --classes as it was trained with" if all(p.startswith("fc8") for p in problems) else ""
        raise ValueError(f"{path} does not fit {kind}: {'; '.join(problems[:8])}{more}{hint}")
