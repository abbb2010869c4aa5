"""The tasks that two versions are timed on, with the files that both read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import deepcompression as dc
from benchmarks import tensors
from benchmarks.environment import ROOT
from benchmarks.layers.ours import LAYERS
from benchmarks.layers.ours import weights as layer_weights
from benchmarks.networks import convolutions
from deepcompression import _core

PROFILES = ("fast", "small", "paper")
BATCHES, ACTIVATIONS = (1, 8, 64), ("float32", "int8")
SMALL_FILE = ROOT / "reproduce" / "results" / "lenet-5.dcz"


class Task(NamedTuple):
    """`command` is what benchmarks/versions/worker.py makes it from."""

    group: str
    name: str
    command: dict[str, Any]


def write_weights(path: Path, shared: Iterable[dc.CompressedTensor]) -> str:
    """Shared tensors in a file that depends on no version of the package."""
    parts = [(np.array(each.shape), each.positions, each.codebook, each.codes) for each in shared]
    arrays = {f"{number}/{part}": array for number, four in enumerate(parts) for part, array in enumerate(four)}
    np.savez(path, allow_pickle=False, **arrays)
    return str(path)


def layers(folder: Path, quick: bool) -> Iterator[Task]:
    for name in list(LAYERS)[-1:] if quick else LAYERS:
        file = write_weights(folder / f"{name}.npz", [layer_weights(name)])
        for instruction_set, activations, batch in itertools.product(_core.instruction_sets(), ACTIVATIONS, BATCHES):
            label = f"{name}, batch {batch}, {activations}, {instruction_set}"
            given = {"batch": batch, "activations": activations, "instruction_set": instruction_set, "threads": 1}
            yield Task("layers", label, {"kind": "layer", "file": file} | given)


def networks(folder: Path, quick: bool) -> Iterator[Task]:
    for network, table in tensors.TABLES.items():
        found = convolutions(network)
        for name in list(found)[-1:] if quick else found:
            module, shape = found[name]
            file = folder / "convolution.dcz"
            dc.save_tensors(file, {"weight": tensors.convolution(*table[name])})
            keys = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
            settings = {key: getattr(module, key) for key in keys}
            given = {"file": str(file), "settings": settings, "shape": shape, "threads": 1}
            yield Task("convolutions", f"{network} {name}", {"kind": "convolution"} | given)


def coding(folder: Path, quick: bool) -> Iterator[Task]:
    made = {
        "convolution": lambda: [tensors.convolution()],
        "convolution, nothing pruned": lambda: [tensors.convolution((512, 512, 3, 3), 1 - 1e-9)],
        "AlexNet fc6": lambda: [tensors.alexnet_fc6()],
        "VGG-16 fc6": lambda: [tensors.vgg16_fc6()],
    }
    if tensors.SQUEEZENET.exists():
        released = tensors.squeezenet
        made["SqueezeNet"] = lambda: [each for each in released().values() if isinstance(each, dc.CompressedTensor)]
    for name in list(made)[:1] if quick else made:
        shared = made[name]()
        weights, file = write_weights(folder / f"coding {name}.npz", shared), folder / "coding.dcz"
        for profile in PROFILES:
            given = {"file": weights, "profile": profile, "threads": 1}
            yield Task("coding", f"encoding {name}, {profile}", {"kind": "encoding"} | given)
            dc.save_tensors(file, {str(number): each for number, each in enumerate(shared)}, profile=profile)
            for threads in (1, 2):
                label = f"decoding {name}, {profile}, {threads} thread{'s' if threads > 1 else ''}"
                yield Task("coding", label, {"kind": "decoding", "file": str(file), "threads": threads})


def reading(folder: Path, quick: bool) -> Iterator[Task]:
    files = {"LeNet-5": SMALL_FILE}
    yield Task("reading", "opening LeNet-5", {"kind": "opening", "file": str(SMALL_FILE), "threads": 1})
    if not quick:
        files["AlexNet"] = folder / "alexnet.dcz"
        dc.save_tensors(files["AlexNet"], tensors.alexnet())
    for name, file in files.items():
        for threads in (1, 2):
            label = f"load_tensors, {name}, {threads} thread{'s' if threads > 1 else ''}"
            yield Task("reading", label, {"kind": "decoding", "file": str(file), "threads": threads})
        yield Task("reading", f"load, {name}", {"kind": "loading", "file": str(file), "threads": 2})


def tasks(folder: Path, quick: bool) -> Iterator[Task]:
    """All tasks, or with `quick` a few small ones. The files of one may be gone when the next is taken."""
    for group in (layers, networks, coding, reading):
        yield from group(folder, quick)
