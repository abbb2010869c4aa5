"""The price of a bit at which all weights of a network together reach a size or a change of its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from deepcompression.calibration.calibrate import Calibrated
from deepcompression.calibration.plan_problem import Subject
from deepcompression.coding.coders import encode
from deepcompression.file.index import Entry, write_head
from deepcompression.tensors.dtypes import narrow
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import CompressedTensor, Tensor

# Penalties beyond these change nothing: above, all weights are zero; below, 256 centroids are not enough.
LEAST_PENALTY, MOST_PENALTY = 4.0**-16, 4.0**8

# A file is at most as large as the target, and at least this part of it.
_LEAST_FILLED = 0.985
_LEAST_CHANGED = 0.9
_ROUNDS = 12

# So little more, relatively, for a price e times lower is nothing; what is not full yet gives some 9 % and more.
_FLAT = 3e-3


class Line(NamedTuple):
    """One weight at one penalty; at 0 it is stored as it is.

    change  of the network's outputs if this weight alone were replaced, relative; without data, of the weight
    """

    tensor: str
    weights: int
    penalty: float
    density: float
    centroids: int
    file_bytes: int
    change: float


def line_of(name: str, penalty: float, found: Calibrated, size: int) -> Line:
    tensor = found.tensor
    assert isinstance(tensor, CompressedTensor)
    return Line(name, tensor.size, penalty, tensor.density, len(tensor.codebook), size, math.sqrt(max(found.cost, 0)))


class Attempt(NamedTuple):
    """All weights at one price. `entries` are those of all tensors that were replaced, by the name of the weight."""

    lines: tuple[Line, ...]
    replaced: dict[str, dict[str, Tensor]]
    entries: dict[str, Entry]
    file_bytes: int

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor for each in self.replaced.values() for name, tensor in each.items()}

    @property
    def predicted(self) -> float:
        return math.sqrt(sum(line.change**2 for line in self.lines))


class Sizes:
    """Bytes of the file that `save_tensors` would write, with some tensors replaced."""

    def __init__(self, tensors: Mapping[str, Tensor | Tie], profile: str, metadata: Mapping[str, str]) -> None:
        self.tensors, self.profile, self.metadata = tensors, profile, metadata
        self._kept: dict[str, Entry] = {}

    def entry(self, name: str, tensor: Tensor) -> Entry:
        coder, payload = encode(tensor, profile=self.profile)
        return Entry(name, tensor.dtype, tensor.shape, coder=coder, length=len(payload), checksum=0)

    def of(self, replaced: Mapping[str, Entry]) -> int:
        entries: dict[str, Entry] = {}
        for name, tensor in self.tensors.items():
            if isinstance(tensor, Tie):
                entries[name] = replace(entries[tensor.to], name=name, tied_to=tensor.to)
            elif name in replaced:
                entries[name] = replaced[name]
            else:
                if name not in self._kept:
                    self._kept[name] = self.entry(name, tensor)
                entries[name] = self._kept[name]
        payloads = sum(entry.length for entry in entries.values() if entry.tied_to is None)
        return len(write_head(entries.values(), self.metadata)) + payloads


def _attempt(subject: Subject, price: float, sizes: Sizes) -> Attempt:
    """All weights at one price of a bit, in squared change of the outputs."""
    found: dict[str, Calibrated] = {}
    penalties = {
        name: float(np.clip(price / unit, LEAST_PENALTY, MOST_PENALTY)) for name, unit in subject.units.items()
    }
    waiting: dict[str, Future[Entry]] = {}
    # while the core encodes one weight, the next is fitted
    with ThreadPoolExecutor(1) as pool:
        for name, penalty in penalties.items():
            found[name] = subject.fit(name, penalty)
            for each, tensor in found[name].replaced(name).items():
                waiting[each] = pool.submit(sizes.entry, each, tensor)
        entries = {each: entry.result() for each, entry in waiting.items()}
    lines = tuple(line_of(name, penalties[name], each, entries[name].length) for name, each in found.items())
    replaced = {name: dict(each.replaced(name)) for name, each in found.items()}
    return Attempt(lines, replaced, entries, sizes.of(entries))


def _with_exact(subject: Subject, attempt: Attempt, most: int, sizes: Sizes) -> Attempt:
    """Some weights stored as they are where there is room left: those first whose errors cost most for their bytes."""
    exact = {name: sizes.entry(name, tensor) for name, tensor in subject.weights().items()}
    worth = {
        line.tensor: line.change**2 / max(1, exact[line.tensor].length - line.file_bytes) for line in attempt.lines
    }
    for name in sorted(worth, key=worth.__getitem__, reverse=True):
        replaced = {each: tensors for each, tensors in attempt.replaced.items() if each != name}
        kept = {each for tensors in replaced.values() for each in tensors}
        entries = {each: entry for each, entry in attempt.entries.items() if each in kept}
        file_bytes = sizes.of(entries)
        if file_bytes > most or not worth[name]:
            continue
        own = Line(
            name,
            next(line.weights for line in attempt.lines if line.tensor == name),
            0.0,
            1.0,
            0,
            exact[name].length,
            0.0,
        )
        lines = tuple(own if line.tensor == name else line for line in attempt.lines)
        attempt = Attempt(lines, replaced, entries, file_bytes)
    return attempt


def _least(subject: Subject, sizes: Sizes) -> int:
    """Bytes of the file with all weights zero."""
    zeros: dict[str, Entry] = {}
    for name, tensor in subject.weights().items():
        nothing = np.zeros(0, np.int64), narrow(np.zeros(0, np.float32), tensor.dtype), np.zeros(0, np.uint8)
        zeros[name] = sizes.entry(name, CompressedTensor(tensor.shape, *nothing, tensor.dtype))
    return sizes.of(zeros)


def _prices(subject: Subject) -> tuple[float, float]:
    """Beyond which no penalty changes any more."""
    units = subject.units.values()
    return LEAST_PENALTY * min(units), MOST_PENALTY * max(units)


def reach_size(subject: Subject, most: int, sizes: Sizes) -> Attempt:
    """The largest file of at most so many bytes, to a per cent or two."""
    fixed = _least(subject, sizes)
    if fixed > most:
        raise ValueError(
            f"{most:,} bytes cannot be reached: the best reachable is {fixed:,}, with all weights zero, "
            "for what is stored as it is"
        )
    low, high = (math.log(price) for price in _prices(subject))
    counts = {name: math.prod(tensor.shape) for name, tensor in subject.weights().items()}
    count = sum(counts.values())
    best: Attempt | None = None
    # a bit of each weight for a factor of four, from a start at so many bits
    bits = min(8.0, 8 * (most - fixed) / count)
    mean = sum(counts[name] * math.log(unit) for name, unit in subject.units.items()) / count
    at = float(np.clip(mean - math.log(4) * bits, low, high))
    tried: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        attempt = _attempt(subject, math.exp(at), sizes)
        if attempt.file_bytes <= most and (best is None or best.file_bytes <= attempt.file_bytes):
            best = attempt
        if _LEAST_FILLED * most <= attempt.file_bytes <= most:
            break
        if attempt.file_bytes > most:
            low = max(low, at)
        else:
            high = min(high, at)
        tried.append((at, math.log(max(1, attempt.file_bytes - fixed))))
        if attempt.file_bytes < most and (at <= low + 1e-9 or _is_flat(tried)):
            break
        at = _next(tried, math.log(max(1.0, 0.993 * most - fixed)), low, high, -0.2)
    if best is None:
        best = _attempt(subject, math.exp(high), sizes)
        if best.file_bytes > most:
            raise ValueError(f"{most:,} bytes cannot be reached: the best reachable is {best.file_bytes:,}")
    return _with_exact(subject, best, most, sizes) if best.file_bytes < _LEAST_FILLED * most else best


def reach_change(subject: Subject, most: float, sizes: Sizes) -> Attempt:
    """The smallest file of those that change the outputs by at most so much."""
    low, high = (math.log(price) for price in _prices(subject))
    best: Attempt | None = None
    at = float(np.clip(math.log(most**2 / sum(1 for _ in subject.units) / 1e6), low, high))
    tried: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        attempt = _attempt(subject, math.exp(at), sizes)
        found = subject.measure(attempt.tensors)
        if found <= most and (best is None or attempt.file_bytes < best.file_bytes):
            best = attempt
        if _LEAST_CHANGED * most <= found <= most:
            break
        if found <= most:
            if at >= high - 1e-9:
                break
            low = at
        elif at <= low + 1e-9:
            raise ValueError(
                f"a change of {most:g} cannot be reached by sharing weights: the best reachable is {found:.3g}, "
                f"with {attempt.file_bytes:,} bytes"
            )
        else:
            high = at
        tried.append((at, math.log(max(found, 1e-30))))
        at = _next(tried, math.log(0.95 * most), low, high, 0.45)
    if best is None:
        attempt = _attempt(subject, math.exp(low), sizes)
        found = subject.measure(attempt.tensors)
        raise ValueError(
            f"a change of {most:g} cannot be reached by sharing weights: the best reachable is {found:.3g}, "
            f"with {attempt.file_bytes:,} bytes"
        )
    return best


def _is_flat(tried: list[tuple[float, float]]) -> bool:
    """Whether lower prices buy nothing any more: codebooks are full."""
    if len(tried) < 2:
        return False
    (before, larger), (after, largest) = tried[-2:]
    return after < before - 0.5 and largest < larger + _FLAT * (before - after)


def _next(tried: list[tuple[float, float]], wanted: float, low: float, high: float, slope: float) -> float:
    """By the line through the last two tries, or with a slope that is usual, within what is known."""
    at, value = tried[-1]
    if len(tried) > 1 and at != tried[-2][0]:
        found = (value - tried[-2][1]) / (at - tried[-2][0])
        slope = found if found * slope > 0 and abs(found) > abs(slope) / 8 else slope
    after = at + (wanted - value) / slope
    if not low < after < high:
        # limits that are far away are not yet measured: no further than a bit or two at once
        after = float(np.clip((low + high) / 2, at - 3, at + 3))
    return float(np.clip(after, low, high))
