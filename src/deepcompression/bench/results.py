"""The settings of a benchmark, and its results."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from deepcompression.packed import packing
from deepcompression.recipe.targets import module_name

# names of embedding tables in the models of torch, Transformers and timm
TABLES = ("*emb*", "wte", "wpe")


@dataclass(frozen=True)
class Settings:
    """The settings of a measurement.

    batch    vectors or images of a call
    size     extent along each axis of the images for convolutions, whose padding keeps it
    seconds  about how long the time of each layer is measured, and its energy
    device   that computes: the CPU, or a device of torch
    tables   globs of the last part of a module's name: their matrices are embedding tables, whose rows are looked up
    """

    batch: int = 1
    threads: int = 1
    activations: str = "float32"
    size: int = 14
    seconds: float = 1.0
    tables: tuple[str, ...] = TABLES
    device: str = "cpu"

    def is_table(self, name: str) -> bool:
        """Whether a matrix is an embedding table, by its name."""
        module = module_name(name).rpartition(".")[2]
        return any(fnmatchcase(module, pattern) for pattern in self.tables)

    def __post_init__(self) -> None:
        packing.check_activations(self.activations)
        for name in ("batch", "threads", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is from 1 on; found {getattr(self, name)}")
        most = max(16, 2 * (os.cpu_count() or 1))
        if self.threads > most:
            raise ValueError(f"threads are at most {most} on this machine; found {self.threads}")
        if not 0 < self.seconds <= 600:
            raise ValueError(f"seconds are above 0, at most 600; found {self.seconds:g}")


@dataclass(frozen=True)
class LayerResult:
    """One tensor of a file, as the weight of a layer.

    stays                       the reason why it stays dense and is not measured; None for a measured one
    dense_ms, compressed_ms     medians of a call
    dense_bytes, held_bytes     of the weight in memory, dense and compressed
    dense_moved, moved_bytes    of a call: the weight, activations in and out
    dense_joules, joules        of a call, from all counters of the machine; None if not measured
    run                         how `run` holds it: `compressed`, or `dense` with the reason; empty without torch
    expected_dense_ms, expected_ms  of a call, by the costs that `run` decides by; None where it decides without them
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
    run: str = ""
    expected_dense_ms: float | None = None
    expected_ms: float | None = None

    @property
    def run_ms(self) -> float | None:
        """Of a call as `run` holds the weight; None without torch."""
        if not self.run:
            return None
        return self.compressed_ms if self.run == "compressed" else self.dense_ms

    @property
    def expected_speed_up(self) -> float | None:
        return _ratio(self.expected_dense_ms, self.expected_ms)

    @property
    def speed_up(self) -> float | None:
        return _ratio(self.dense_ms, self.compressed_ms)

    @property
    def energy_ratio(self) -> float | None:
        return _ratio(self.dense_joules, self.joules)

    def to_dict(self) -> dict[str, Any]:
        names = ("speed_up", "expected_speed_up", "run_ms", "energy_ratio")
        return asdict(self) | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class BenchResult:
    """A whole file.

    dense_engine, instruction_set  what computed dense, and from the compressed form
    energy      the counters, or the reason why energy was not measured; None if nobody asked for it
    idle_watts  of the machine while this process does nothing
    """

    file: str
    settings: Settings
    dense_engine: str
    instruction_set: str
    layers: tuple[LayerResult, ...]
    energy: str | None = None
    idle_watts: float | None = None

    def total(self) -> LayerResult:
        """The sum over the measured layers; its bytes held also count layers that stay dense."""
        measured = [layer for layer in self.layers if layer.stays is None]

        def of(name: str) -> Any:
            values = [getattr(layer, name) for layer in measured]
            return sum(values) if values and None not in values else None

        names = ("dense_ms", "compressed_ms", "dense_moved", "moved_bytes", "dense_joules", "joules")
        dense_bytes, held_bytes = (sum(getattr(x, n) for x in self.layers) for n in ("dense_bytes", "held_bytes"))
        return LayerResult("sum", (), None, "", None, dense_bytes, held_bytes, **{name: of(name) for name in names})

    def run_ms(self) -> float | None:
        """The sum over the measured layers as `run` holds them; None without torch."""
        found = [layer.run_ms for layer in self.layers if layer.run]
        return math.fsum(each for each in found if each is not None) if found else None

    def to_dict(self) -> dict[str, Any]:
        """All results and their sum, for JSON."""
        return asdict(self) | {
            "layers": [layer.to_dict() for layer in self.layers],
            "sum": {key: value for key, value in self.total().to_dict().items() if key not in ("shape", "name")}
            | {"run_ms": self.run_ms()},
        }


def _ratio(dense: float | None, compressed: float | None) -> float | None:
    """Dense / compressed; None where one is unknown or nothing was counted."""
    return dense / compressed if dense is not None and compressed else None
