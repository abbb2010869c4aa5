"""Measurements of every layer of a file, dense and computed from its compressed form."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepcompression import _core
from deepcompression.bench import engines, on_device
from deepcompression.bench.energy import Meter, UnmeasurableError
from deepcompression.bench.engines import CONVOLUTIONS, Call
from deepcompression.bench.on_device import pair_on
from deepcompression.bench.results import BenchResult, LayerResult, Settings
from deepcompression.checkpoint.onnx.graph import GRAPH, holds_graph
from deepcompression.coding.coders import shared_form
from deepcompression.common.binary import LIMIT_BYTES
from deepcompression.common.extras import named_extra
from deepcompression.common.messages import counted
from deepcompression.file.index import Entry
from deepcompression.file.reader import DczFile
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Array
from deepcompression.tensors.tensor import CompressedTensor

if TYPE_CHECKING:
    import torch

    from deepcompression.bench.torch_expected import Held

# Calls are timed in blocks of about so many seconds, compressed and dense ones in turn.
_BLOCK_SECONDS = 0.002
_CALLS_ON_DEVICE = 100
_MIN_ROUNDS, _MAX_ROUNDS = 3, 1000


def instruction_sets() -> list[str]:
    """Those of this CPU and build, which `bench` can force."""
    return _core.instruction_sets()


def bench(
    path: Path,
    settings: Settings | None = None,
    *,
    instruction_set: str | None = None,
    meter: Callable[[], Meter] | None = None,
    limit_bytes: int = LIMIT_BYTES,
    progress: Callable[[str, int, int], None] = lambda name, number, count: None,
) -> BenchResult:
    """Measures every shared weight of two or more dimensions, computed dense and from its compressed form.

    instruction_set  forces one of the core's
    meter            makes the meter of energy; without it, energy is not measured
    progress         is called with a layer's name, its number from 0 on, and the number of layers

    Torch computes dense layers where it is installed, else NumPy. Raises FormatError for a bad file, ValueError for an
    instruction set that this CPU lacks.
    """
    settings = settings or Settings()
    found: list[LayerResult] = []
    energy, idle_watts, counting = None, None, None
    if meter is not None:
        try:
            counting = meter()
            idle_watts = counting.idle(settings.seconds / 2).watts
            energy = counting.source
        except UnmeasurableError as error:
            counting, energy = None, f"not measured: {error}"
    device = _device_of(settings)
    with ExitStack() as stack:
        if instruction_set is not None:
            _core.force_instruction_set(instruction_set)
            stack.callback(_core.force_instruction_set, "")
        stack.enter_context(engines.ready(settings.threads))
        file = stack.enter_context(DczFile(path, limit_bytes))
        graph = {GRAPH} if holds_graph(file.entries, file.metadata) else set()
        entries = [entry for name, entry in file.entries.items() if name not in graph]
        held = _expectations(entries, settings, device)
        for number, entry in enumerate(entries):
            progress(entry.name, number, len(entries))
            found.append(_measure(file, entry, settings, counting, device, held))
        used, engine = _core.instruction_set(), engines.name()
    if device is not None:
        from deepcompression.nn.on_device import kernel

        used, engine = kernel(device), f"{engine} on {on_device.name_of(device)}"
    return BenchResult(str(path), settings, engine, used, tuple(found), energy, idle_watts)


def _device_of(settings: Settings) -> torch.device | None:
    """The device that computes; None for the CPU. Raises ValueError for one that cannot be had."""
    if settings.device == "cpu":
        return None
    with named_extra():
        from deepcompression.nn.devices import checked_device
    return checked_device(settings.device)


def _expectations(
    entries: list[Entry], settings: Settings, device: torch.device | None
) -> Callable[[str, CompressedTensor, int], Held] | None:
    if not engines.with_torch():
        return None
    import torch

    from deepcompression.bench.torch_expected import Expectations

    return Expectations(entries, settings, device or torch.device("cpu")).of


def _measure(
    file: DczFile,
    entry: Entry,
    settings: Settings,
    meter: Meter | None,
    device: torch.device | None,
    held_by_run: Callable[[str, CompressedTensor, int], Held] | None,
) -> LayerResult:
    def stays(why: str) -> LayerResult:
        held = 0 if entry.tied_to else entry.nbytes
        return LayerResult(entry.name, entry.shape, None, "", why, held, held)

    if entry.tied_to:
        return stays(f"is tied to {entry.tied_to}")
    if len(entry.shape) < 2:
        return stays("is no matrix")
    if entry.dtype not in WEIGHT_DTYPES:
        return stays(f"{entry.dtype} is no dtype of weights")
    if len(entry.shape) > max(CONVOLUTIONS):
        return stays(f"has {counted(len(entry.shape), 'dimension')}")
    if not math.prod(entry.shape):
        return stays("has no elements")
    tensor = shared_form(file.read(entry.name, settings.threads))
    if tensor is None:
        return stays("is not shared")
    random, is_table = np.random.default_rng(0), len(entry.shape) == 2 and settings.is_table(entry.name)
    given = (settings.batch, entry.shape[1], *[max(settings.size, k) for k in entry.shape[2:]])
    vectors = random.standard_normal(given, np.float32)
    x: Array = vectors
    if held_by_run is None:
        if is_table:
            return stays("is an embedding table, whose look-ups are measured with torch")
        pair = engines.pair(tensor, vectors, settings)
    else:
        if is_table:
            x = random.integers(0, entry.shape[0], settings.batch)
        pair = pair_on(device, tensor, x, settings)
    run, times = ("", None) if held_by_run is None else held_by_run(entry.name, tensor, pair.weight.nbytes)
    calls = (pair.dense, pair.compressed)
    dense_ms, compressed_ms = (1000 * s for s in interleaved_medians(calls, settings.seconds, pair.finish))
    dense_bytes, held_bytes = 4 * tensor.size, pair.weight.nbytes
    activations = x.nbytes + 4 * math.prod(pair.out)
    result = LayerResult(
        entry.name,
        entry.shape,
        pair.weight.survivors / tensor.size,
        pair.kernel,
        None,
        dense_bytes,
        held_bytes,
        dense_ms,
        compressed_ms,
        dense_bytes + activations,
        held_bytes + activations,
        run=run,
        expected_dense_ms=None if times is None else 1000 * times.dense,
        expected_ms=None if times is None else 1000 * times.packed,
    )
    if meter is None:
        return result
    # a device that waits for its caller after each call would idle in between
    together = 1 if device is None else _CALLS_ON_DEVICE
    many = (_repeated(call, together, pair.finish) for call in calls)
    dense_joules, joules = (meter.measure(call, settings.seconds / 2).joules_per_call / together for call in many)
    return replace(result, dense_joules=dense_joules, joules=joules)


def _repeated(call: Call, times: int, finish: Call) -> Call:
    def repeated() -> None:
        for _ in range(times):
            call()
        finish()

    return repeated


def interleaved_medians(calls: tuple[Call, ...], seconds: float, finish: Call = lambda: None) -> list[float]:
    """The median seconds of each call, over rounds in which each has a block: other load then meets all alike.

    finish  returns when all calls are done
    """
    blocks = []
    for call in calls:
        call()
        finish()
        start = time.perf_counter()
        call()
        finish()
        blocks.append(max(1, int(_BLOCK_SECONDS / max(time.perf_counter() - start, 1e-9))))
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(times[0]) < _MIN_ROUNDS or (time.perf_counter() < end and len(times[0]) < _MAX_ROUNDS):
        for call, block, own in zip(calls, blocks, times, strict=True):
            start = time.perf_counter()
            for _ in range(block):
                call()
            finish()
            own.append((time.perf_counter() - start) / block)
    return [statistics.median(own) for own in times]
