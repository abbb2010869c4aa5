"""Smaller models by common ways: gzip and zstd of the file, int8 and zstd, magnitude and k-means at a given size."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.packages import missing_library
from benchmarks.real_models.network import Array, Batch, RealModel
from deepcompression import Prune, Recipe, Rule, Share, compress_tensors, save_tensors
from deepcompression.tensors.tensor import DenseTensor, Tensor

BITS = (2, 3, 4, 5, 6, 8)
# The paper's first centroids, which leave few codes frequent, and those of the least error, which need more bits.
INITS = ("linear", "optimal")
LEAST_DENSITY = 0.05
# A file shall be so near below the wanted size; after so many tries the nearest so far is taken. One per cent of the
# bytes takes about so many per cent of the survivors.
NEAR, TRIES, STEEPNESS = 0.015, 5, 1.25


def change(outputs: Sequence[Array], original: Sequence[Array]) -> float:
    """||y' - y|| / ||y|| over all batches."""
    pairs = zip(outputs, original, strict=True)
    difference = sum(float(np.sum(np.square(y - x, dtype=np.float64))) for y, x in pairs)
    return math.sqrt(difference / sum(float(np.sum(np.square(x, dtype=np.float64))) for x in original))


def zipped(data: bytes) -> dict[str, int]:
    """Bytes by gzip -9 and zstd -19. Raises UnavailableError without zstandard."""
    return {"gzip -9": len(gzip.compress(data, 9, mtime=0)), "zstd -19": zstd(data)}


def zstd(data: bytes) -> int:
    try:
        import zstandard
    except ImportError as error:
        raise missing_library(error) from None
    return len(zstandard.ZstdCompressor(level=19, threads=2).compress(data))


class Made(NamedTuple):
    """A model made smaller: its tensors, the bytes of all, and how."""

    tensors: dict[str, Tensor]
    size: int
    how: str


def int8(model: RealModel) -> Made:
    """Weights rounded to 255 levels, evenly spaced up to the largest magnitude of an output channel. Codes, float32
    scales and all other tensors are compressed by zstd -19, without any container.
    """
    parts: list[bytes] = []
    tensors = model.tensors()
    weights = model.weights(tensors)
    for name, tensor in tensors.items():
        values = tensor.dense().numpy()
        if name not in weights:
            parts.append(values.tobytes())
            continue
        others = tuple(axis for axis in range(values.ndim) if axis not in weights[name])
        scale = (np.abs(values).max(others, keepdims=True) / 127).astype(np.float32)
        codes = np.rint(values / np.where(scale > 0, scale, 1)).astype(np.int8)
        parts += [codes.tobytes(), scale.tobytes()]
        tensors[name] = DenseTensor.from_numpy((codes * scale).astype(values.dtype))
    return Made(tensors, zstd(b"".join(parts)), "int8 by channel")


class Plain:
    """Magnitude and k-means with one density and one width of codes for all weights; files of the profile `small`."""

    def __init__(self, model: RealModel, folder: Path) -> None:
        self.original = model.tensors()
        self.weights = set(model.weights(self.original))
        self.folder = folder
        self._whole: dict[tuple[int, str], int] = {}
        # logarithms of the part of its bytes that a file has left, and of the density that leaves it
        self._parts: list[tuple[float, float]] = [(0.0, 0.0)]

    def make(self, density: float, bits: int, init: str) -> Made:
        recipe = Recipe(
            rules=[
                Rule(
                    where=lambda target: target.name in self.weights,
                    prune=Prune(density=density),
                    share=Share(bits=bits, init=init),
                )
            ]
        )
        tensors = compress_tensors(self.original, recipe)
        path = self.folder / "plain.dcz"
        save_tensors(path, tensors, profile="small")
        return Made(tensors, path.stat().st_size, f"density {density:.3f}, {bits} bits, {init}")

    def unpruned_size(self, bits: int, init: str) -> int:
        if (bits, init) not in self._whole:
            self._whole[bits, init] = self.make(1.0, bits, init).size
        return self._whole[bits, init]

    def of_size(self, size: int, bits: int, init: str) -> Made | None:
        """As many survivors as a file of at most `size` bytes holds; None if less than a twentieth of the weights."""
        whole = self.unpruned_size(bits, init)
        if whole <= size:
            return self.make(1.0, bits, init)
        aimed = math.log((1 - NEAR / 2) * size / whole)
        density, best = self._density_for(aimed), None
        for _ in range(TRIES):
            if density < LEAST_DENSITY:
                break
            found = self.make(density, bits, init)
            part = math.log(found.size / whole)
            self._parts.append((part, math.log(density)))
            if found.size <= size and (best is None or found.size > best.size):
                best = found
            if (1 - NEAR) * size <= found.size <= size:
                break
            # the curve goes through this point, and has about the slope of those of other codes
            density *= math.exp(STEEPNESS * (aimed - part))
        return best

    def _density_for(self, part: float) -> float:
        """The density at which files made so far, of any codes, had this part (its logarithm) of the unpruned size."""
        parts, densities = zip(*sorted(self._parts), strict=True)
        if part < parts[0]:
            return math.exp(densities[0] + STEEPNESS * (part - parts[0]))
        return math.exp(float(np.interp(part, parts, densities)))

    def candidates(self, size: int, init: str) -> Iterator[Made]:
        """The widest codes that need no pruning, then all wider ones, pruned to fit. Narrower codes only lose."""
        widest = next((bits for bits in reversed(BITS) if self.unpruned_size(bits, init) <= size), 0)
        for bits in BITS:
            if bits >= widest and (made := self.of_size(size, bits, init)) is not None:
                yield made


def best_plain(
    model: RealModel, plain: Plain, size: int, batches: Sequence[Batch], original: Sequence[Array]
) -> tuple[Made, float]:
    """The one of at most `size` bytes whose outputs of the calibration batches change least, and that change. For each
    of `INITS`, codes grow wider until the change does.

    Raises ValueError if none fits.
    """
    best: tuple[Made, float] | None = None
    for init in INITS:
        before = math.inf
        for made in plain.candidates(size, init):
            found = change(model.run(made.tensors, batches), original)
            if best is None or found < best[1]:
                best = made, found
            if found > before:
                break
            before = found
    if best is None:
        raise ValueError(f"{model.release.name}: no density and width of codes gives a file of {size} bytes")
    return best
