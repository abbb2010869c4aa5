"""DeepCABAC, from the package nncodec in an environment of its own: tensor -> bytes of its coded levels."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.packages import interpreter
from deepcompression.tensors.tensor import CompressedTensor

HERE = Path(__file__).parent
RELEASE = "nncodec==2.1.3"


def levels(tensor: CompressedTensor) -> NDArray[np.int16]:
    """The tensor as signed integers, in its shape: 0 where nothing survives, else the centroid's rank away from zero.
    Negative centroids have -1, -2, ..., the others 1, 2, ....
    """
    tensor = tensor.canonical()
    negative = int(np.count_nonzero(tensor.codebook < 0))
    ranks = np.arange(len(tensor.codebook)) - negative
    ranks[negative:] += 1
    values = np.zeros(tensor.size, np.int16)
    values[tensor.positions] = ranks[tensor.codes]
    return values.reshape(tensor.shape)


def environment(folder: Path) -> Path:
    """The interpreter of nncodec's own environment. Of nncodec's dependencies it has an old NumPy alone, since the
    compiled coder needs no other. Raises UnavailableError.
    """
    without_dependencies = ["--no-deps", "--no-build-isolation", RELEASE]
    return interpreter(folder, RELEASE, ["-r", str(HERE / "nncodec.txt")], without_dependencies)


def deepcabac(tensor: CompressedTensor, python: Path) -> dict[str, Any]:
    """`bytes` of the coded levels (no header, no codebook) and the `settings` that made them fewest.

    Decoded again and compared. Raises RuntimeError.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "levels.npy"
        np.save(path, levels(tensor))
        command = [str(python), str(HERE / "deepcabac.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{RELEASE} failed: {done.stderr.strip().splitlines()[-1]}")
    # nncodec's decoder prints its messages before
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
