"""Networks before and after an update, as tensors by name: what patches are made for."""

from __future__ import annotations

import numpy as np

from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

Tensors = dict[str, Tensor]


def pruned_and_shared(shape: tuple[int, ...], density: float, centroids: int, seed: int) -> CompressedTensor:
    """Codes are likely in the middle of the codebook, as those of trained weights are near zero."""
    generator = np.random.default_rng(seed)
    positions = np.flatnonzero(generator.random(int(np.prod(shape))) < density).astype(np.int64)
    codebook = np.sort(generator.standard_normal(centroids, np.float32))
    codes = np.clip(generator.normal(centroids / 2, centroids / 5, len(positions)), 0, centroids - 1)
    return CompressedTensor(shape, positions, codebook, codes.astype(np.uint8))


def network(seed: int = 0) -> Tensors:
    """Three layers with biases, and a table that is neither pruned nor shared."""
    generator = np.random.default_rng(seed)
    tensors: Tensors = {}
    for number, (shape, density) in enumerate([((100, 400), 0.1), ((30, 100), 0.2), ((10, 30), 0.4)]):
        tensors[f"fc{number}.weight"] = pruned_and_shared(shape, density, 32, seed + number)
        tensors[f"fc{number}.bias"] = DenseTensor.from_numpy(generator.standard_normal(shape[0], np.float32))
    tensors["table"] = DenseTensor.from_numpy(generator.standard_normal((4, 30), np.float32))
    return tensors


def _recoded(tensor: CompressedTensor, generator: np.random.Generator, part: float) -> CompressedTensor:
    """Other centroids, and a part of the codes moved to a neighbour."""
    moved = generator.random(len(tensor.codes)) < part
    codes = tensor.codes + moved * generator.choice([-1, 1], len(tensor.codes))
    codes = np.clip(codes, 0, len(tensor.codebook) - 1).astype(np.uint8)
    codebook = np.sort(tensor.codebook + generator.normal(0, 1e-3, len(tensor.codebook)).astype(np.float32))
    return CompressedTensor.from_bits(tensor.shape, tensor.bits, codebook, codes)


def retrained(tensors: Tensors, seed: int = 1, part: float = 0.3) -> Tensors:
    """Trained on under the same masks and shared again."""
    generator = np.random.default_rng(seed)
    found: Tensors = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, CompressedTensor):
            found[name] = _recoded(tensor, generator, part)
        else:
            moved = tensor.elements + generator.normal(0, 1e-4, tensor.elements.shape).astype(np.float32)
            found[name] = DenseTensor.from_numpy(moved)
    return found


def other_masks(tensors: Tensors, seed: int = 2) -> Tensors:
    """A tenth of the survivors gone, and some weights that came back."""
    generator = np.random.default_rng(seed)
    found: Tensors = dict(tensors)
    for name, tensor in tensors.items():
        if isinstance(tensor, CompressedTensor):
            kept = generator.random(len(tensor.codes)) < 0.9
            back = np.setdiff1d(generator.integers(0, tensor.size, tensor.size // 200), tensor.positions)
            positions = np.concatenate([tensor.positions[kept], back])
            codes = np.concatenate([tensor.codes[kept], np.full(len(back), len(tensor.codebook) // 2, np.uint8)])
            order = np.argsort(positions)
            found[name] = CompressedTensor(tensor.shape, positions[order], tensor.codebook, codes[order])
    return found


def other_head(tensors: Tensors, classes: int = 10) -> Tensors:
    """The last layer replaced by one of so many classes."""
    return {**tensors, "fc2.weight": pruned_and_shared((classes, 30), 0.4, 32, 9)}
