"""Times of a weight's layer, measured on this machine and kept in the user's cache folder."""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcompression import _core
from deepcompression.common.files import atomic_path
from deepcompression.common.messages import warn
from deepcompression.nn.stand_in import StandIn
from deepcompression.nn.uses import Use
from deepcompression.nn.what_pays import BAG, Expected
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.costs import POSITIONS, cpu_id
from deepcompression.packed.torch_reference import CONVOLUTIONS

# Dense and packed calls take turns, each in blocks of about so long.
_ROUNDS, _BLOCK_SECONDS = 5, 0.0005

Call = Callable[[], object]


def cache_file() -> Path | None:
    """The file of measured times, where the system keeps a user's caches; None for a user without a home."""
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "deepcompression" / "times.json"
    except RuntimeError:
        # a process without a home
        return None


class Times:
    """Measured times. A file that cannot be read counts as empty, and a warning names it."""

    def __init__(self) -> None:
        self._file = cache_file()
        self._known: dict[str, list[float]] = {}
        self._new = False
        if self._file is None:
            warn("this user has no home folder, so measured times are not kept: set XDG_CACHE_HOME to a folder")
            return
        try:
            self._known = _checked(json.loads(self._file.read_text()))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError, RecursionError) as error:
            warn(f"{self._file} is ignored, and its times are measured again: {error}")

    def of(
        self, use: Use, module: nn.Module, stand_in: StandIn, dense: Tensor, vectors: tuple[int, ...]
    ) -> tuple[Expected, ...]:
        """Of calls with so many vectors, dense and packed. Those of the file are not measured again.

        dense  the weight, on the device of the stand-in
        """
        found = []
        for count in vectors:
            key = json.dumps(_facts(use, module, stand_in, count))
            if key not in self._known:
                self._known[key] = _measured(*_calls(use, module, stand_in, dense, count))
                self._new = True
            found.append(Expected(count, *self._known[key]))
        return tuple(found)

    def keep(self) -> None:
        """Writes the file. Where that fails a warning says so, since the times are only a cache."""
        if not self._new or self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._file) as path:
                path.write_text(json.dumps(self._known))
        except OSError as error:
            warn(f"the measured times are not kept: {error}")


def _checked(found: Any) -> dict[str, list[float]]:
    if not isinstance(found, dict):
        raise ValueError(f"times are an object of JSON; found {type(found).__name__}")
    for times in found.values():
        if not (isinstance(times, list) and len(times) == 2 and all(isinstance(t, float) and t > 0 for t in times)):
            raise ValueError(f"each entry has two times in seconds; found {times!r:.60}")
    return found


def _facts(use: Use, module: nn.Module, stand_in: StandIn, vectors: int) -> list[Any]:
    """All that the times depend on."""
    settings = _settings(module) if use == "convolution" else None
    parts = [[*part.header, part.activations] for part in stand_in.parts()]
    machine = [cpu_id(), _core.instruction_set(), stand_in.device.type, torch.get_num_threads()]
    versions, bags = (version("deepcompression"), torch.__version__), isinstance(module, nn.EmbeddingBag)
    return [machine, versions, use, settings, bags, str(stand_in.dtype), parts, vectors]


def _settings(module: Any) -> ConvolutionSettings:
    return ConvolutionSettings.of(
        len(module.kernel_size), module.stride, module.padding, module.dilation, module.groups
    )


def _calls(use: Use, module: Any, weight: Any, dense: Tensor, vectors: int) -> tuple[Call, Call]:
    device = dense.device
    # of its own, so that the caller's random numbers stay as they are
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=dense.dtype)

    if use == "embedding":
        rows = vectors * (BAG if isinstance(module, nn.EmbeddingBag) else 1)
        numbers = torch.arange(rows, device=device) * 7919 % len(dense)
        return lambda: F.embedding(numbers, dense), lambda: weight.rows_of(numbers)
    if use == "convolution":
        settings, dimensions = _settings(module), dense.dim() - 2
        side = max(math.isqrt(POSITIONS), *dense.shape[2:])
        x = random(vectors, module.in_channels, *[side] * dimensions)
        return lambda: CONVOLUTIONS[dimensions](x, dense, None, *settings), lambda: weight.convolve(x, None, settings)
    matrix = dense.T if use == "transposed" else dense
    x = random(vectors, matrix.shape[1])
    return lambda: F.linear(x, matrix), lambda: weight.linear(x)


def _measured(*calls: Call) -> list[float]:
    """The median seconds of each call, over rounds in which each has a block."""
    blocks = []
    for call in calls:
        call()
        blocks.append(max(1, int(_BLOCK_SECONDS / max(_seconds(call, 1), 1e-9))))
    found = [[_seconds(call, block) for call, block in zip(calls, blocks, strict=True)] for _ in range(_ROUNDS)]
    return [statistics.median(times) for times in zip(*found, strict=True)]


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count
