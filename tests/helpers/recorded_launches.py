"""A driver for Triton that compiles as for a GPU and remembers launches, so that tests see what it would be given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

# The most programs of a launch, by dimension: those of CUDA.
MOST_PROGRAMS = (2**31 - 1, 65535, 65535)


class Launch(NamedTuple):
    """One call of a kernel that was compiled for its arguments."""

    kernel: str
    grid: tuple[int, int, int]
    stream: int
    arguments: tuple[Any, ...]


class Recorder:
    """Takes the place of Triton's driver. Tensors of the CPU stand for those of a GPU; kernels write nothing."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.utils = SimpleNamespace(
            get_device_properties=lambda device: {"max_shared_mem": 227 * 1024},
            load_binary=lambda name, *others: (name, name, 32, 0, 1024),
            unload_module=lambda module: None,
        )

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 7

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def launcher_cls(self, source: Any, metadata: Any) -> Any:
        def launch(x: int, y: int, z: int, stream: int, function: str, *others: Any) -> None:
            # behind the kernel's metadata, those of the launch and two hooks. Triton keeps launchers for later tests
            driver.active.launches.append(Launch(function, (x, y, z), stream, others[4:]))

        return launch


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """The launches inside of the context."""
    recorder, before = Recorder(), driver._active
    driver.set_active(recorder)
    try:
        yield recorder.launches
    finally:
        driver._active = before
