"""One version's side of `benchmarks.versions`: a worker (benchmarks/worker.py) with tasks of the version that it
imports, by public names where there are any.

    {"make": NAME, "kind": a key of KINDS, "file": PATH, ...}  -> {"form": TEXT, "magnitude": sum of |values|}
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import deepcompression as dc
from benchmarks import timing
from benchmarks.worker import Message, serve
from deepcompression import _core

# The modules of functions without a public name, those of the newest version first.
HOMES = {
    "pack": ("deepcompression.packed.packing", "deepcompression.packing"),
    "header": ("deepcompression.packed.packing", "deepcompression.packing"),
    "matmul": ("deepcompression.packed.multiply", "deepcompression.packing"),
    "encode": ("deepcompression.coding.coders", "deepcompression.encode"),
}
CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
# A command -> the call that is timed, and the form of its weights.
Made = tuple[Callable[[], Any], str]


def find(name: str) -> Any:
    """A function of this version."""
    for home in HOMES[name]:
        try:
            return getattr(importlib.import_module(home), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    raise AttributeError(f"this version has {name} in none of {', '.join(HOMES[name])}")


@functools.lru_cache(maxsize=1)
def weights(path: str) -> list[Any]:
    """The shared tensors that `benchmarks.versions.tasks` wrote."""
    with np.load(path) as file:
        parts = [[file[f"{number}/{part}"] for part in range(4)] for number in range(len(file) // 4)]
    return [dc.CompressedTensor(tuple(shape.tolist()), *rest) for shape, *rest in parts]


def inputs(shape: list[int]) -> Any:
    return np.random.default_rng(7).standard_normal(shape, np.float32)


def layer(command: Message) -> Made:
    (tensor,), batch, activations = weights(command["file"]), command["batch"], command["activations"]
    packed = find("pack")(tensor, activations, batch)
    x, out = inputs([batch, tensor.shape[1]]), np.empty((batch, tensor.shape[0]), np.float32)
    multiply = functools.partial(find("matmul"), packed, x, out, None, activations, command["threads"])
    return multiply, find("header")(packed).form


def convolution(command: Message) -> Made:
    module = torch.nn.Conv2d(**command["settings"], bias=False, device="meta")
    small, x = dc.run(module, command["file"], batch=1), torch.from_numpy(inputs(command["shape"]))
    return torch.inference_mode()(lambda: small(x)), ""


def encoding(command: Message) -> Made:
    tensors, encode = weights(command["file"]), find("encode")
    return lambda: [np.frombuffer(encode(tensor, profile=command["profile"])[1], np.uint8) for tensor in tensors], ""


def decoding(command: Message) -> Made:
    return lambda: list(dc.load_tensors(command["file"], threads=command["threads"]).values()), ""


def opening(command: Message) -> Made:
    def call() -> list[int]:
        with dc.DczFile(command["file"]) as file:
            return [len(file)]

    return call, ""


def loading(command: Message) -> Made:
    """Into a network of as many layers as the file has weights; it is never called."""
    model = torch.nn.Module()
    for name, array in dc.load_tensors(command["file"]).items():
        if name.endswith(".weight"):
            outputs, inputs, *kernel = array.shape
            made = torch.nn.Conv2d(inputs, outputs, (*kernel,)) if kernel else torch.nn.Linear(inputs, outputs)
            model.add_module(name.removesuffix(".weight"), made)
    return lambda: [each.detach() for each in dc.load(command["file"], into=model).parameters()], ""


KINDS = {
    "layer": layer,
    "convolution": convolution,
    "encoding": encoding,
    "decoding": decoding,
    "opening": opening,
    "loading": loading,
}


def stay_on(cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def prepare(command: Message) -> None:
    """Before each turn: a task of one thread stays on one core; the instruction set is that of the command."""
    stay_on({max(CORES)} if CORES and command["threads"] == 1 else CORES)
    _core.force_instruction_set(command.get("instruction_set", ""))


def make(command: Message) -> tuple[timing.Task, Message]:
    prepare(command)
    # threads that are made here inherit the cores
    stay_on(CORES)
    torch.set_num_threads(command["threads"])
    call, form = KINDS[command["kind"]](command)
    result = call()
    arrays = result if isinstance(result, list) else [result]
    magnitude = sum(float(np.abs(np.asarray(array)).sum(dtype=np.float64)) for array in arrays)
    before = functools.partial(prepare, command)
    return timing.Call(call, timing.flush_of(1), before), {"form": form, "magnitude": magnitude}


if __name__ == "__main__":
    serve(make)
