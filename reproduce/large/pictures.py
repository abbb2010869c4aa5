"""Labelled pictures on disk: a folder of classes as ImageNet's, or the four idx files of MNIST and its likes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from reproduce.data import read_pair

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
TRAINING, TEST = "train", "val"
IDX = {TRAINING: "train", TEST: "t10k"}
_MOST_NAMED = 8


@dataclass(frozen=True)
class Cut:
    """The part that is cut out of pictures.

    Training cuts a random part of at least `least_area`, up to `aspect` times wider than high or higher than wide. A
    test cuts the centre, `centre` of the shorter side.
    """

    least_area: float
    aspect: float
    centre: float


class Pictures(Protocol):
    """Pictures of known classes, opened one by one; can be pickled, since processes share them.

    labels   int64 (count,): the index of each picture's class
    classes  the names of all classes
    cut      the part to cut out of them
    """

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def cut(self) -> Cut: ...

    def name(self, index: int) -> str:
        """For messages."""
        ...

    def open(self, index: int) -> Image.Image:
        """The picture in the mode RGB or L, in memory. Raises ValueError, naming it, if it is broken."""
        ...


@dataclass(frozen=True)
class FolderPictures:
    """Files of pictures in a folder for each class."""

    paths: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    # the usual cut for ImageNet: a random resized crop, and 224 of 256
    cut: Cut = Cut(least_area=0.08, aspect=4 / 3, centre=0.875)

    def name(self, index: int) -> str:
        return self.paths[index]

    def open(self, index: int) -> Image.Image:
        try:
            with Image.open(self.paths[index]) as image:
                return image.convert("L" if image.mode == "L" else "RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{self.paths[index]}: no picture can be read from it: {error}") from None


@dataclass(frozen=True)
class ArrayPictures:
    """Small grey pictures: uint8 (count, rows, columns)."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    # they fill their frame: little is cut off
    cut: Cut = Cut(least_area=0.75, aspect=1.1, centre=1.0)

    def name(self, index: int) -> str:
        return f"picture {index}"

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


def open_pictures(folder: Path) -> tuple[Pictures, Pictures]:
    """The pictures to train on and those to test with.

    They come from `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, or from the four idx files, gzipped or not. Raises
    FileNotFoundError for missing files and folders, and ValueError for classes that are empty or differ, and for files
    that do not go together.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if (folder / TRAINING).is_dir():
        training = _read_folder(folder / TRAINING)
        test = _read_folder(folder / TEST)
        if training.classes != test.classes:
            only = sorted(set(training.classes) ^ set(test.classes))
            raise ValueError(
                f"{folder / TRAINING} and {folder / TEST} have different classes; only one of them has {_some(only)}"
            )
        return training, test
    if any((place / name).exists() for place in (folder, folder / "MNIST" / "raw") for name in _idx_names("train")):
        return _read_arrays(folder, TRAINING), _read_arrays(folder, TEST)
    raise FileNotFoundError(
        f"{folder} has neither a folder {TRAINING} nor a file train-images-idx3-ubyte.gz; expected "
        f"{TRAINING}/CLASS/*.jpg and {TEST}/CLASS/*.jpg, or the four idx files of MNIST or Fashion-MNIST"
    )


def _some(texts: Sequence[str], separator: str = ", ") -> str:
    more = len(texts) - _MOST_NAMED
    return separator.join([*texts[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])


def _read_folder(folder: Path) -> FolderPictures:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: expected one folder in it for each class")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise ValueError(f"{folder} has {len(classes)} folders of classes, expected at least two: {folder}/CLASS/*.jpg")
    paths: list[str] = []
    labels: list[int] = []
    empty = []
    for label, name in enumerate(classes):
        found = sorted(entry.path for entry in os.scandir(folder / name) if _is_picture(entry.name))
        if not found:
            empty.append(name)
        paths += found
        labels += [label] * len(found)
    if empty:
        raise ValueError(
            f"{folder} has classes without any picture: {_some(empty)}; add some, or remove the folder from "
            f"{TRAINING} and {TEST} (pictures are files that end with {', '.join(sorted(SUFFIXES))})"
        )
    return FolderPictures(tuple(paths), np.array(labels), tuple(classes))


def _is_picture(name: str) -> bool:
    # macOS leaves files like ._a.jpg
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _idx_names(part: str) -> list[str]:
    return [f"{part}-images-idx3-ubyte", f"{part}-images-idx3-ubyte.gz"]


def _read_arrays(folder: Path, split: str) -> ArrayPictures:
    pixels, labels = read_pair(IDX[split], folder)
    if not len(labels) or labels.max() > 9:
        raise ValueError(f"{folder}: the {IDX[split]} labels must be from 0 to 9, and at least one")
    return ArrayPictures(pixels, labels.astype(np.int64), tuple(map(str, range(10))))


def broken(pictures: Pictures, indices: Iterable[int], whole: bool) -> list[str]:
    """The problem of each picture that cannot be read: in its first bytes, or, with `whole`, anywhere."""
    if not isinstance(pictures, FolderPictures):
        return []

    def look(index: int) -> str | None:
        try:
            if whole:
                pictures.open(index)
            else:
                with Image.open(pictures.paths[index]):
                    pass
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            name = pictures.name(index)
            return str(error) if name in str(error) else f"{name}: {error}"
        return None

    with ThreadPoolExecutor() as pool:
        return [problem for problem in pool.map(look, indices) if problem is not None]


def check_pictures(parts: Iterable[Pictures], whole: bool = False) -> None:
    """Raises ValueError that names the pictures that cannot be read."""
    problems = [problem for pictures in parts for problem in broken(pictures, range(len(pictures.labels)), whole)]
    if problems:
        raise ValueError(f"{len(problems)} broken pictures; mend or remove them: {_some(problems, '; ')}")
