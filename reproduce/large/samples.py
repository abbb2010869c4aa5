"""Pictures -> batches for training and for tests, always the same ones, for any number of processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from reproduce.large.pictures import Cut, Pictures

_SPLIT_SEED = 0
_MOST_HELD_BACK = 5000


class Key(NamedTuple):
    """The origin of one sample: a picture's index, and numbers that decide all random choices (none for a test)."""

    index: int
    seed: tuple[int, ...] = ()


class Source(Protocol):
    """Samples by their keys: inputs of a network, and a label."""

    labels: np.ndarray

    def __getitem__(self, key: Key) -> tuple[Tensor, int]: ...


class PictureSamples(Dataset[tuple[Tensor, int]]):
    """Pictures cut, flipped (in training) and scaled: uint8 (3, size, size)."""

    def __init__(self, pictures: Pictures, size: int) -> None:
        self.pictures, self.size, self.labels = pictures, size, pictures.labels

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        image = self.pictures.open(key.index)
        cut, size = self.pictures.cut, (self.size, self.size)
        if not key.seed:
            image = image.resize(size, Image.Resampling.BILINEAR, _centre(image, cut))
        else:
            random = np.random.default_rng(key.seed)
            image = image.resize(size, Image.Resampling.BILINEAR, _part(image, cut, random))
            if random.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
        return pixels.permute(2, 0, 1), int(self.labels[key.index])


Box = tuple[float, float, float, float]


def _centre(image: Image.Image, cut: Cut) -> Box:
    side = cut.centre * min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    return left, top, left + side, top + side


def _part(image: Image.Image, cut: Cut, random: np.random.Generator) -> Box:
    for _ in range(10):
        area = random.uniform(cut.least_area, 1) * image.width * image.height
        aspect = math.exp(random.uniform(-1, 1) * math.log(cut.aspect))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if width <= image.width and height <= image.height:
            left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
            return left, top, left + width, top + height
    return _centre(image, cut)


def held_back(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training pictures in two parts that are always the same: those to train on, and those held back
    for choices, a tenth and at most 5,000.
    """
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    part = min(_MOST_HELD_BACK, count // 10)
    return np.sort(order[part:]), np.sort(order[:part])


@dataclass(frozen=True)
class Order(Sampler[list[Key]]):
    """The batches of one rank, from step `first` to `last` of a phase. An epoch takes every picture once in random
    order, but for those that do not fill a batch. All draws follow from `seed` alone. A job may therefore resume at any
    step, on any number of processes that divides `batch`.
    """

    indices: np.ndarray
    batch: int
    seed: tuple[int, ...]
    first: int
    last: int
    rank: int
    ranks: int

    def __iter__(self) -> Iterator[list[Key]]:
        steps = len(self.indices) // self.batch
        known, order = -1, self.indices
        for step in range(self.first, self.last):
            epoch, at = divmod(step, steps)
            if epoch != known:
                known, order = epoch, np.random.default_rng((*self.seed, epoch)).permutation(self.indices)
            whole = order[at * self.batch : (at + 1) * self.batch]
            yield [Key(int(index), (*self.seed, epoch, int(index))) for index in whole[self.rank :: self.ranks]]


@dataclass(frozen=True)
class InOrder(Sampler[list[Key]]):
    """Every picture once, as for a test; each rank takes its own."""

    indices: Sequence[int] | np.ndarray
    batch: int
    rank: int
    ranks: int

    def __iter__(self) -> Iterator[list[Key]]:
        own = self.indices[self.rank :: self.ranks]
        for at in range(0, len(own), self.batch):
            yield [Key(int(index)) for index in own[at : at + self.batch]]


def batches(source: Source, order: Order | InOrder, workers: int) -> DataLoader[tuple[Tensor, int]]:
    """Inputs and labels, batch after batch, prepared by so many processes beside this one."""
    return DataLoader(
        source,
        batch_sampler=order,
        num_workers=workers,
        # nobody draws from it; without it torch would draw from the generator that dropout uses
        generator=torch.Generator(),
    )
