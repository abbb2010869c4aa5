"""DeepCABAC, as the package nncodec has it, in an environment of its own: tensor -> bytes of its coded levels."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcompression.tensors.tensor import CompressedTensor

HERE = Path(__file__).parent
RELEASE = "nncodec==2.1.3"


class NncodecError(Exception):
    """nncodec cannot be built or run; the message says why."""


def levels(tensor: CompressedTensor) -> NDArray[np.int16]:
    """The tensor as signed integers, in its shape: 0 where nothing survives, else the rank of the centroid, counted
    away from zero, so that small levels are small weights: negative centroids get -1, -2, ..., the others 1, 2, ....
    """
    tensor = tensor.canonical()
    negative = int(np.count_nonzero(tensor.codebook < 0))
    ranks = np.arange(len(tensor.codebook)) - negative
    ranks[negative:] += 1
    values = np.zeros(tensor.size, np.int16)
    values[tensor.positions] = ranks[tensor.codes]
    return values.reshape(tensor.shape)


def environment(folder: Path) -> Path:
    """The interpreter of nncodec's own environment, made in `folder` if it is not there.

    nncodec's dependencies are left out (an old NumPy apart): its compiled coder needs none. Raises NncodecError.
    """
    python = folder / "bin" / "python"
    done = folder / RELEASE
    if not done.exists():
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [*install, "-r", str(HERE / "nncodec.txt")],
            [*install, "--no-deps", "--no-build-isolation", RELEASE],
        ):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                raise NncodecError(
                    f"{RELEASE} could not be installed: {Path(command[0]).name} {' '.join(command[1:3])}"
                )
        done.touch()
    return python


def deepcabac(tensor: CompressedTensor, python: Path) -> dict[str, Any]:
    """`bytes` of the coded levels (no header, no codebook) and the `settings` that made them fewest.

    Decoded again and compared. Raises NncodecError.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "levels.npy"
        np.save(path, levels(tensor))
        command = [str(python), str(HERE / "deepcabac.py"), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NncodecError(f"coding failed: {done.stderr.strip().splitlines()[-1]}")
    # nncodec's decoder prints its complaints before
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
