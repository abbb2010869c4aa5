"""Sizes of a pruned and shared tensor elsewhere: its entropy, general compressors, DeepCABAC."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.file_size.nncodec_size import RELEASE, deepcabac, environment
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.tensor import CompressedTensor


def entropy_bits(counts: NDArray[Any]) -> float:
    """Bits a symbol, of order 0, for counts of symbols."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def order0_bound(tensor: CompressedTensor) -> float:
    """Bytes of positions and codes if both were independent: N * H(density) + survivors * H0(codes)."""
    survivors = len(tensor.positions)
    positions = tensor.size * entropy_bits(np.array([survivors, tensor.size - survivors]))
    return (positions + survivors * entropy_bits(np.bincount(tensor.codes))) / 8


def byte_streams(tensor: CompressedTensor) -> list[bytes]:
    """A byte for each element, 0 where nothing survives, else code + 1. With 256 centroids, which do not fit a byte
    beside that zero: a bit for each element, and a byte for each survivor.
    """
    if len(tensor.codebook) > 255:
        survives = np.zeros(tensor.size, bool)
        survives[tensor.positions] = True
        return [np.packbits(survives).tobytes(), tensor.codes.tobytes()]
    elements = np.zeros(tensor.size, np.uint8)
    elements[tensor.positions] = tensor.codes + 1
    return [elements.tobytes()]


def xz(data: bytes) -> int:
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def zstd(data: bytes) -> int:
    import zstandard

    return len(zstandard.ZstdCompressor(level=19).compress(data))


def dense_size(elements: Array) -> int:
    """Bytes of an array that is not shared, by the best of raw, zstd and xz."""
    data = elements.tobytes()
    return min(len(data), zstd(data), xz(data))


class Peers:
    """Sizes in bytes by peer; those that take long are kept in `folder`, by the tensor's content.

    Each holds positions, codes and the float32 centroids in use: raw ones are added where the peer stores none. The
    bound has no centroids.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "peers.json"
        self.known: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.python = environment(folder / "nncodec")
        # kept sizes hold for one version of each peer
        search = (Path(__file__).parent / "deepcabac.py").read_bytes()
        self.versions = {
            "zstd": version("zstandard"),
            "xz": "",
            "deepcabac": RELEASE + hashlib.sha256(search).hexdigest(),
        }

    def sizes(self, tensor: CompressedTensor) -> dict[str, int]:
        tensor = tensor.canonical()
        codebook = tensor.codebook.nbytes
        streams = byte_streams(tensor)
        sizes = {"bound": round(order0_bound(tensor))}
        sizes["zstd"] = codebook + self._kept("zstd", tensor, lambda: sum(map(zstd, streams)))
        sizes["xz"] = codebook + self._kept("xz", tensor, lambda: sum(map(xz, streams)))
        sizes["deepcabac"] = codebook + self.deepcabac(tensor)["bytes"]
        return sizes

    def deepcabac(self, tensor: CompressedTensor) -> dict[str, Any]:
        """As `nncodec_size.deepcabac`."""
        found: dict[str, Any] = self._kept("deepcabac", tensor.canonical(), lambda: deepcabac(tensor, self.python))
        return found

    def _kept(self, name: str, tensor: CompressedTensor, measure: Callable[[], Any]) -> Any:
        digest = hashlib.sha256(f"{name} {self.versions[name]} {tensor.shape}".encode())
        for part in (tensor.positions, tensor.codebook, tensor.codes):
            digest.update(part.tobytes())
        key = f"{name} {digest.hexdigest()}"
        if key not in self.known:
            self.known[key] = measure()
            self.path.write_text(json.dumps(self.known, indent=1))
        return self.known[key]
