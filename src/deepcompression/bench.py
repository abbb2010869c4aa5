"""What computing from the compressed form brings, measured layer by layer for a file."""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from deepcompression import _core, packing
from deepcompression.energy import Meter, UnmeasurableError
from deepcompression.file import LIMIT_BYTES, DczFile
from deepcompression.index import Entry
from deepcompression.runtime.layers import BoundLinear, Step
from deepcompression.runtime.weights import DenseWeight, Floats, matrix_weight, read_shared, tile_weight
from deepcompression.runtime.windows import BoundConv, Conv, Conv1d, Conv2d, Conv3d
from deepcompression.tensor import WEIGHT_DTYPES

# Calls are timed in blocks of about so many seconds, ours and the dense ones in turn.
_BLOCK_SECONDS = 0.002
_MIN_ROUNDS, _MAX_ROUNDS = 3, 1000
_CONVOLUTIONS: dict[int, type[Conv]] = {3: Conv1d, 4: Conv2d, 5: Conv3d}

Call = Callable[[], object]


@dataclass(frozen=True)
class Settings:
    """What is measured.

    batch    vectors or images of a call
    size     extent of the images that convolutions are given, along each axis; padded so that it stays
    seconds  about how long the time of each layer is measured, and its energy
    """

    batch: int = 1
    threads: int = 1
    activations: str = "float32"
    size: int = 14
    seconds: float = 1.0

    def __post_init__(self) -> None:
        packing.check_activations(self.activations)
        for name in ("batch", "threads", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is from 1 on; found {getattr(self, name)}")
        if not 0 < self.seconds <= 600:
            raise ValueError(f"seconds are above 0, at most 600; found {self.seconds:g}")


@dataclass(frozen=True)
class LayerResult:
    """One tensor of a file, as the weight of a layer.

    stays                       why it stays dense and is not measured, None for one that is
    dense_ms, compressed_ms     medians of a call
    dense_bytes, held_bytes     of the weight in memory, in either form
    dense_moved, moved_bytes    by a call: the weight in its form, activations in and out
    dense_joules, joules        by a call, of all that the machine's counters see; None if not measured
    """

    name: str
    shape: tuple[int, ...]
    density: float | None
    kernel: str
    stays: str | None
    dense_bytes: int
    held_bytes: int
    dense_ms: float | None = None
    compressed_ms: float | None = None
    dense_moved: int | None = None
    moved_bytes: int | None = None
    dense_joules: float | None = None
    joules: float | None = None

    @property
    def speed_up(self) -> float | None:
        return _ratio(self.dense_ms, self.compressed_ms)

    @property
    def energy_ratio(self) -> float | None:
        return _ratio(self.dense_joules, self.joules)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"speed_up": self.speed_up, "energy_ratio": self.energy_ratio}


@dataclass(frozen=True)
class BenchResult:
    """A whole file. `energy` says what was counted, or why nothing was, None if it was not asked for; `idle_watts` is
    what the counters see when this process does nothing.
    """

    file: str
    settings: Settings
    dense_engine: str
    instruction_set: str
    layers: tuple[LayerResult, ...]
    energy: str | None = None
    idle_watts: float | None = None

    def total(self) -> LayerResult:
        """The sum over the layers that were measured; its bytes held also count those that stay dense."""
        measured = [layer for layer in self.layers if layer.stays is None]

        def of(name: str) -> Any:
            values = [getattr(layer, name) for layer in measured]
            return sum(values) if values and None not in values else None

        names = ("dense_ms", "compressed_ms", "dense_moved", "moved_bytes", "dense_joules", "joules")
        dense_bytes, held_bytes = (sum(getattr(x, n) for x in self.layers) for n in ("dense_bytes", "held_bytes"))
        return LayerResult("sum", (), None, "", None, dense_bytes, held_bytes, **{name: of(name) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return asdict(self) | {
            "layers": [layer.to_dict() for layer in self.layers],
            "sum": {key: value for key, value in self.total().to_dict().items() if key not in ("shape", "name")},
        }


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
    meter            gives what counts energy, if that is to be measured too
    progress         is told a layer's name, its number from 0 on, and the number of layers

    Dense is torch where it is installed, else NumPy. Raises FormatError for a bad file, ValueError for an instruction
    set that this CPU does not have.
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
    with _instruction_set(instruction_set), _threads(settings.threads), DczFile(path, limit_bytes) as file:
        for number, entry in enumerate(file.entries.values()):
            progress(entry.name, number, len(file.entries))
            found.append(_measure(file, entry, settings, counting))
        used = _core.instruction_set()
    return BenchResult(str(path), settings, _dense_engine(), used, tuple(found), energy, idle_watts)


def _measure(file: DczFile, entry: Entry, settings: Settings, meter: Meter | None) -> LayerResult:
    dense_bytes = entry.dense_bytes

    def stays(why: str) -> LayerResult:
        held = 0 if entry.tied_to else dense_bytes
        return LayerResult(entry.name, entry.shape, None, "", why, held, held)

    if entry.tied_to:
        return stays(f"is tied to {entry.tied_to}")
    if len(entry.shape) < 2:
        return stays("is no matrix")
    if entry.dtype not in WEIGHT_DTYPES:
        return stays(f"{entry.dtype} is no dtype of weights")
    if len(entry.shape) > 2 + len(_CONVOLUTIONS):
        return stays(f"has {len(entry.shape)} dimensions")
    if not math.prod(entry.shape):
        return stays("has no elements")
    tensor = read_shared(file, entry.name)
    if tensor is None:
        return stays("is not shared")
    matrix = len(entry.shape) == 2
    weight = (
        matrix_weight(tensor, settings.activations, settings.batch, settings.threads)
        if matrix
        else tile_weight(tensor, settings.threads)
    )
    dense = np.ascontiguousarray(tensor.compressed().numpy(), np.float32)
    padding = tuple((k - 1) // 2 for k in entry.shape[2:])
    given = (settings.batch, entry.shape[1], *[max(settings.size, k) for k in entry.shape[2:]])
    x = np.random.default_rng(0).standard_normal(given, np.float32)
    step = BoundLinear(weight, None) if matrix else BoundConv(weight, None, _convolution(entry, padding))
    calls: tuple[Call, Call] = (_dense_call(dense, x, entry, padding), lambda: step(x))
    activations = x.nbytes + 4 * math.prod(step.shape(x.shape))
    with _no_gradients():
        dense_ms, compressed_ms = (1000 * s for s in interleaved_medians(calls, settings.seconds))
        result = LayerResult(
            entry.name,
            entry.shape,
            weight.survivors / math.prod(entry.shape),
            weight.kernel,
            None,
            dense.nbytes,
            weight.nbytes,
            dense_ms,
            compressed_ms,
            dense.nbytes + activations,
            weight.nbytes + activations,
        )
        if meter is None:
            return result
        dense_joules, joules = (meter.measure(call, settings.seconds / 2).joules_per_call for call in calls)
        return replace(result, dense_joules=dense_joules, joules=joules)


def interleaved_medians(calls: tuple[Call, ...], seconds: float) -> list[float]:
    """Seconds of each call, medians over rounds in which a block of each has its turn, so that what else the machine
    does meets all alike.
    """
    blocks = []
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        blocks.append(max(1, int(_BLOCK_SECONDS / max(time.perf_counter() - start, 1e-9))))
    times: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds
    while len(times[0]) < _MIN_ROUNDS or (time.perf_counter() < end and len(times[0]) < _MAX_ROUNDS):
        for call, block, own in zip(calls, blocks, times, strict=True):
            start = time.perf_counter()
            for _ in range(block):
                call()
            own.append((time.perf_counter() - start) / block)
    return [statistics.median(own) for own in times]


def _ratio(dense: float | None, compressed: float | None) -> float | None:
    """None where one is not known or nothing was counted."""
    return dense / compressed if dense is not None and compressed else None


def _convolution(entry: Entry, padding: tuple[int, ...]) -> Conv:
    return _CONVOLUTIONS[len(entry.shape)](entry.name, padding=padding)


def _with_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _dense_engine() -> str:
    if _with_torch():
        import torch

        return f"torch {torch.__version__}"
    return f"NumPy {np.__version__}"


def _dense_call(dense: Floats, x: Floats, entry: Entry, padding: tuple[int, ...]) -> Call:
    """The layer as it is computed without compression."""
    if _with_torch():
        import torch
        from torch.nn import functional as F

        weight, vectors = torch.from_numpy(dense), torch.from_numpy(x)
        if not padding:
            return lambda: F.linear(vectors, weight)
        convolve: Any = getattr(F, f"conv{len(padding)}d")
        return lambda: convolve(vectors, weight, padding=padding)
    whole = DenseWeight(dense.shape, dense.reshape(len(dense), -1))
    step: Step = BoundConv(whole, None, _convolution(entry, padding)) if padding else BoundLinear(whole, None)
    return lambda: step(x)


def _no_gradients() -> Any:
    if not _with_torch():
        return nullcontext()
    import torch

    return torch.inference_mode()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """All that computes dense has so many threads."""
    with threadpool_limits(count):
        if not _with_torch():
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _instruction_set(name: str | None) -> Iterator[None]:
    if name is None:
        yield
        return
    _core.force_instruction_set(name)
    try:
        yield
    finally:
        _core.force_instruction_set("")
