"""The price of a bit at which all weights of a network together reach a size or a change of its outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from deepcompression.calibration.calibrate import Calibrated
from deepcompression.calibration.plan_problem import Problem
from deepcompression.common.messages import listed
from deepcompression.file.writer import Encoded, encoded, head_of
from deepcompression.tensors.change import change_between
from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import CompressedTensor, Tensor

# Penalties beyond these change nothing: all weights are zero above, and 256 centroids are too few below.
LEAST_PENALTY, MOST_PENALTY = 4.0**-16, 4.0**8

# A search ends at a file, or a change, between this part of the target and the target.
_LEAST_FILLED = 0.985
_LEAST_CHANGED = 0.9
_ROUNDS = 12

# Codebooks are full if a price e times lower adds no larger part to a file; others add some 9 % and more.
_FLAT = 3e-3


class Line(NamedTuple):
    """One weight at one penalty; at 0 it is stored as it is.

    change_of_weights  ||w' - w|| / ||w|| of this weight
    change_of_outputs  the relative change of the outputs if only this weight is replaced; None without inputs
    """

    tensor: str
    weights: int
    penalty: float
    density: float
    centroids: int
    file_bytes: int
    change_of_weights: float
    change_of_outputs: float | None

    @property
    def change(self) -> float:
        """The change that counts in a search: of the outputs, or without inputs of the weight."""
        return self.change_of_weights if self.change_of_outputs is None else self.change_of_outputs


def line_of(problem: Problem, name: str, penalty: float, found: Calibrated, size: int) -> Line:
    tensor = found.tensor
    assert isinstance(tensor, CompressedTensor)
    before = problem.tensors[name]
    assert not isinstance(before, Tie)
    of_weights = change_between(before.numpy(), tensor.numpy())
    of_outputs = None if problem.outputs is None else math.sqrt(max(found.cost, 0))
    return Line(name, tensor.size, penalty, tensor.density, len(tensor.codebook), size, of_weights, of_outputs)


class Attempt(NamedTuple):
    """All weights at one price.

    replaced  by the name of a weight: the tensors that replace it and its bias
    encoded   all of these, by their own names
    """

    lines: tuple[Line, ...]
    replaced: dict[str, dict[str, Tensor]]
    encoded: dict[str, Encoded]
    file_bytes: int

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor for each in self.replaced.values() for name, tensor in each.items()}


class Draft:
    """The file that `save_tensors` would write with some tensors replaced. Other tensors are encoded once."""

    def __init__(self, tensors: Mapping[str, Tensor | Tie], profile: str, metadata: Mapping[str, str]) -> None:
        self.tensors, self.metadata = tensors, metadata
        self.encode = partial(encoded, profile=profile)
        self._kept: dict[str, Encoded] = {}

    def kept(self, name: str) -> Encoded:
        """A tensor that nothing replaces, encoded."""
        if name not in self._kept:
            tensor = self.tensors[name]
            assert not isinstance(tensor, Tie)
            self._kept[name] = self.encode(name, tensor)
        return self._kept[name]

    def file(self, replaced: Mapping[str, Encoded]) -> dict[str, Encoded | Tie]:
        """All tensors of the file, in their order."""
        return {
            name: tensor if isinstance(tensor, Tie) else replaced[name] if name in replaced else self.kept(name)
            for name, tensor in self.tensors.items()
        }

    def size(self, replaced: Mapping[str, Encoded]) -> int:
        """Bytes of the whole file."""
        file = self.file(replaced)
        payloads = sum(len(each.payload) for each in file.values() if isinstance(each, Encoded))
        return len(head_of(file, self.metadata)) + payloads


def _attempt(problem: Problem, price: float, draft: Draft) -> Attempt:
    """Fits all weights at one price of a bit, in squared change of the outputs."""
    found: dict[str, tuple[float, Calibrated]] = {}
    waiting: dict[str, Future[Encoded]] = {}
    # the core encodes a weight while the next one is fitted
    with ThreadPoolExecutor(1) as pool:
        for name, unit in problem.units.items():
            penalty = float(np.clip(price / unit, LEAST_PENALTY, MOST_PENALTY))
            found[name] = penalty, problem.fit(name, penalty)
            for each, tensor in found[name][1].replaced(name).items():
                waiting[each] = pool.submit(draft.encode, each, tensor)
        made = {each: future.result() for each, future in waiting.items()}
    lines = tuple(line_of(problem, name, *each, len(made[name].payload)) for name, each in found.items())
    return Attempt(lines, {name: each.replaced(name) for name, (_, each) in found.items()}, made, draft.size(made))


def _with_exact(problem: Problem, attempt: Attempt, most: int, draft: Draft) -> Attempt:
    """Stores weights as they are while there is room: first those whose errors cost most for their bytes."""
    exact = {name: len(draft.kept(name).payload) for name in problem.units}

    def worth(line: Line) -> float:
        return line.change**2 / max(1, exact[line.tensor] - line.file_bytes)

    for line in sorted(filter(worth, attempt.lines), key=worth, reverse=True):
        replaced = {name: tensors for name, tensors in attempt.replaced.items() if name != line.tensor}
        made = {name: attempt.encoded[name] for tensors in replaced.values() for name in tensors}
        file_bytes = draft.size(made)
        if file_bytes <= most:
            of_outputs = None if line.change_of_outputs is None else 0.0
            own = Line(line.tensor, line.weights, 0.0, 1.0, 0, exact[line.tensor], 0.0, of_outputs)
            lines = tuple(own if each is line else each for each in attempt.lines)
            attempt = Attempt(lines, replaced, made, file_bytes)
    return attempt


def _least(problem: Problem, draft: Draft) -> int:
    """Bytes of the file with all weights zero."""
    zeros = {}
    for name, tensor in problem.weights().items():
        nothing = np.zeros(0, np.int64), np.zeros(0, STORAGE[tensor.dtype]), np.zeros(0, np.uint8)
        zeros[name] = draft.encode(name, CompressedTensor(tensor.shape, *nothing, tensor.dtype))
    return draft.size(zeros)


def _limits(problem: Problem) -> tuple[float, float]:
    """The logarithms of the prices beyond which no penalty changes."""
    units = problem.units.values()
    return math.log(LEAST_PENALTY * min(units)), math.log(MOST_PENALTY * max(units))


def reach_size(problem: Problem, most: int, draft: Draft) -> Attempt:
    """Finds about the largest file of at most `most` bytes. Raises ValueError, with the best, if none is so small."""
    fixed = _least(problem, draft)
    if fixed > most:
        sizes = {
            name: math.prod(each.shape)
            for name, each in problem.tensors.items()
            if name not in problem.units and not isinstance(each, Tie)
        }
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))
        raise ValueError(
            f"{most:,} bytes cannot be reached: the best reachable is {fixed:,}, with all weights zero, "
            f"for the tensors that stay as they are ({'; '.join([listed(largest, 3), *problem.notes])})"
        )
    low, high = _limits(problem)
    counts = {name: math.prod(tensor.shape) for name, tensor in problem.weights().items()}
    count = sum(counts.values())
    best: Attempt | None = None
    # a factor of four in price is a bit of each weight
    bits = min(8.0, 8 * (most - fixed) / count)
    mean = sum(counts[name] * math.log(unit) for name, unit in problem.units.items()) / count
    at = float(np.clip(mean - math.log(4) * bits, low, high))
    tried: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        attempt = _attempt(problem, math.exp(at), draft)
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
        best = _attempt(problem, math.exp(high), draft)
        if best.file_bytes > most:
            raise ValueError(f"{most:,} bytes cannot be reached: the best reachable is {best.file_bytes:,}")
    return _with_exact(problem, best, most, draft) if best.file_bytes < _LEAST_FILLED * most else best


def reach_change(problem: Problem, most: float, draft: Draft) -> Attempt:
    """Finds about the smallest file that changes the outputs by at most `most`; without inputs, the weights.

    Raises ValueError, with the best, if none changes them so little.
    """
    low, high = _limits(problem)
    best: Attempt | None = None
    at = float(np.clip(math.log(most**2 / len(problem.units) / 1e6), low, high))
    tried: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        attempt = _attempt(problem, math.exp(at), draft)
        found = problem.measure(attempt.tensors)
        if found <= most and (best is None or attempt.file_bytes < best.file_bytes):
            best = attempt
        if _LEAST_CHANGED * most <= found <= most:
            break
        if found <= most:
            if at >= high - 1e-9:
                break
            low = at
        elif at <= low + 1e-9:
            break
        else:
            high = at
        tried.append((at, math.log(max(found, 1e-30))))
        at = _next(tried, math.log(0.95 * most), low, high, 0.45)
    if best is None:
        attempt = _attempt(problem, math.exp(low), draft)
        found = problem.measure(attempt.tensors)
        raise ValueError(
            f"a change of the {'weights' if problem.outputs is None else 'outputs'} of {most:g} cannot be reached by "
            f"sharing weights: the best reachable is {found:.3g}, "
            f"with {attempt.file_bytes:,} bytes"
        )
    return best


def _is_flat(tried: list[tuple[float, float]]) -> bool:
    """Whether lower prices add nothing, since codebooks are full."""
    if len(tried) < 2:
        return False
    (before, larger), (after, largest) = tried[-2:]
    return after < before - 0.5 and largest < larger + _FLAT * (before - after)


def _next(tried: list[tuple[float, float]], wanted: float, low: float, high: float, slope: float) -> float:
    """The next price, by the line through the last two tries, or with a usual slope, within the limits."""
    at, value = tried[-1]
    if len(tried) > 1 and at != tried[-2][0]:
        found = (value - tried[-2][1]) / (at - tried[-2][0])
        slope = found if found * slope > 0 and abs(found) > abs(slope) / 8 else slope
    after = at + (wanted - value) / slope
    if not low < after < high:
        # far limits are unmeasured: a step is at most a bit or two
        after = float(np.clip((low + high) / 2, at - 3, at + 3))
    return float(np.clip(after, low, high))
