"""MNIST: its four files found, checked and split; training images distorted at random."""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

BUNDLED = Path(__file__).parent.parent / "data" / "mnist"

# MD5 of the unpacked files
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

MEAN, DEVIATION = 0.1307, 0.3081
VALIDATION_COUNT = 5000
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Images:
    """`pixels` float32 (count, 1, 28, 28), (value / 255 - MEAN) / DEVIATION; `labels` int64 (count,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_test(folder: Path | None = None) -> Images:
    """The test images. Raises FileNotFoundError or ValueError for missing or damaged files."""
    return _load("t10k", folder)


def load_training(folder: Path | None = None) -> tuple[Images, Images]:
    """The training images in two parts that are always the same: those to train on, and 5,000 held back for choices."""
    everything = _load("train", folder)
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    held_back, rest = order[:VALIDATION_COUNT], order[VALIDATION_COUNT:]
    return (
        Images(everything.pixels[rest], everything.labels[rest]),
        Images(everything.pixels[held_back], everything.labels[held_back]),
    )


def _load(part: str, folder: Path | None) -> Images:
    pixels, labels = read_pair(part, folder)
    scaled = (torch.from_numpy(pixels).float() / 255 - MEAN) / DEVIATION
    return Images(scaled.unsqueeze(1), torch.from_numpy(labels).long())


def read_pair(part: str, folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The images, uint8 (count, 28, 28), and labels, uint8 (count,), of `train` or `t10k`. Raises FileNotFoundError,
    and ValueError for files that are damaged or do not go together.
    """
    pixels = _read_idx(f"{part}-images-idx3-ubyte", folder, (28, 28))
    labels = _read_idx(f"{part}-labels-idx1-ubyte", folder, ())
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images do not go with {len(labels)} labels in {folder or BUNDLED}")
    return pixels, labels


def _read_idx(name: str, folder: Path | None, item: tuple[int, ...]) -> np.ndarray:
    """One file in the idx format: two zeros, 8 for bytes, the number of axes, each axis as big-endian uint32, the
    bytes. Its first axis counts items of the shape `item`.
    """
    path, content = _content(name, folder)
    if folder is None and (found := hashlib.md5(content).hexdigest()) != MD5[name]:
        raise ValueError(f"{path} is damaged: the MD5 of its content is {found}, expected {MD5[name]}")
    axes = 1 + len(item)
    header = 4 + 4 * axes
    shape = tuple(int(axis) for axis in np.frombuffer(content[4:header], ">u4"))
    if content[:4] != bytes([0, 0, 8, axes]) or shape[1:] != item or len(content) != header + int(np.prod(shape)):
        raise ValueError(f"{path} is not an idx file of bytes with {item or 'one label'} for each item")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _content(name: str, folder: Path | None) -> tuple[Path, bytes]:
    """The unpacked file; `folder` may be torchvision's root, or the folder of the files, gzipped or not."""
    folders = [BUNDLED] if folder is None else [folder / "MNIST" / "raw", folder]
    candidates = [place / file for place in folders for file in (name, f"{name}.gz")]
    for path in candidates:
        if path.is_file():
            return path, gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    raise FileNotFoundError(f"no file {' or '.join(map(str, candidates))}")


@dataclass(frozen=True)
class Distortion:
    """Bounds of the random affine distortions: degrees of rotation, parts of scale and shear, pixels of shift."""

    degrees: float
    scale: float
    shear: float
    pixels: float


# So many neighbours in a batch get the same distortion, which is faster than one for each.
_ALIKE = 4
# the middles of an image's rows or columns, from -1 to 1
_AXIS = (2 * torch.arange(28) + 1) / 28 - 1


def distort(pixels: Tensor, distortion: Distortion, generator: torch.Generator) -> Tensor:
    """Images (count, 1, 28, 28), the count a multiple of 4, each distorted at random."""
    groups = len(pixels) // _ALIKE

    def uniform(bound: float) -> Tensor:
        return (2 * torch.rand(groups, 1, 1, generator=generator) - 1) * bound

    angle = uniform(math.radians(distortion.degrees))
    cos, sin = angle.cos(), angle.sin()
    wide, high, shear = 1 + uniform(distortion.scale), 1 + uniform(distortion.scale), uniform(distortion.shear)
    # grid_sample's unit is half an image
    right, down = uniform(distortion.pixels / 14), uniform(distortion.pixels / 14)
    x = wide * cos * _AXIS + (shear - wide * sin) * _AXIS.view(28, 1) + right
    y = high * sin * _AXIS + high * cos * _AXIS.view(28, 1) + down
    grid = torch.stack([x, y], 3)
    # outside of an image grid_sample sees zeros, which must be the background
    background = -MEAN / DEVIATION
    moved = F.grid_sample(pixels.view(groups, _ALIKE, 28, 28) - background, grid, align_corners=False) + background
    # convolutions on the CPU train faster from this layout
    return moved.view(len(pixels), 1, 28, 28).to(memory_format=torch.channels_last)
