"""A recipe for a size or a quality: one price of a bit for all weights of a network, found by fitting and measuring."""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from deepcompression.calibrate import Calibrated, Calibration
from deepcompression.encode import DEFAULT_PROFILE, check_profile, encode
from deepcompression.file import Tie
from deepcompression.fit import Floats, Metric, fit_penalty
from deepcompression.index import Entry, write_head
from deepcompression.network import Network, change
from deepcompression.recipe import Recipe, Rule, Share
from deepcompression.targets import targets_of
from deepcompression.tensor import CompressedTensor, Tensor, size_bytes

if TYPE_CHECKING:
    from torch.nn import Module

# Penalties beyond these change nothing: above, all weights are zero; below, 256 centroids are not enough.
LEAST_PENALTY, MOST_PENALTY = 4.0**-16, 16.0

# The penalties of sensitivity curves: about a bit apart.
LADDER = tuple(4.0**-bits for bits in (1, 2, 3, 4, 5, 6))

# A file is at most as large as the target, and at least this part of it.
_LEAST_FILLED = 0.985
_LEAST_CHANGED = 0.9
_ROUNDS = 12

_NO_WEIGHT = "there is no weight of two or more dimensions to be shared"


class Line(NamedTuple):
    """One weight at one penalty.

    change  of the network's outputs if this weight alone were replaced, relative; without data, of the weight
    """

    tensor: str
    weights: int
    penalty: float
    density: float
    centroids: int
    file_bytes: int
    change: float


@dataclass(frozen=True)
class Plan:
    """What reaches a target.

    recipe       a rule for each tensor; `calibrate` with the same model and inputs gives just what was measured
    file_bytes   of the whole file, in the profile that was planned for
    dense_bytes  of all its tensors as they are
    change       of the outputs on the calibration inputs, relative, measured; without data, of all weights
    predicted    what the weights' own changes add up to
    """

    recipe: Recipe
    lines: tuple[Line, ...]
    file_bytes: int
    dense_bytes: int
    change: float
    predicted: float

    @property
    def ratio(self) -> float:
        return self.dense_bytes / self.file_bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "file_bytes": self.file_bytes,
            "dense_bytes": self.dense_bytes,
            "ratio": self.ratio,
            "change": self.change,
            "predicted_change": self.predicted,
            "tensors": [line._asdict() for line in self.lines],
        }

    def __str__(self) -> str:
        return (
            f"{table(self.lines)}\n{self.file_bytes:,} bytes of {self.dense_bytes:,} ({self.ratio:.2f}x smaller); "
            f"change {self.change:.4g}, by the sum of its parts {self.predicted:.4g}"
        )


def table(lines: Iterable[Line]) -> str:
    """Lines as a table."""
    rows = [("tensor", "weights", "penalty", "density", "centroids", "bytes", "bits/weight", "change")]
    for line in lines:
        rows.append(
            (
                line.tensor,
                f"{line.weights:,}",
                f"{line.penalty:.3g}",
                f"{line.density:.3f}",
                str(line.centroids),
                f"{line.file_bytes:,}",
                f"{8 * line.file_bytes / max(1, line.weights):.2f}",
                f"{line.change:.4f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


class OwnTensors(Network, Protocol):
    """A network that knows all tensors of its file."""

    def tensors(self) -> Mapping[str, Tensor]:
        """By name, as they are."""


class _Subject(NamedTuple):
    """What is planned for.

    tensors  all of the file, by name, as they are now
    units    of the weights that are shared: what penalties are multiples of
    fit      a weight at a penalty
    measure  the change of the outputs with those tensors replaced
    """

    tensors: Mapping[str, Tensor | Tie]
    units: dict[str, float]
    fit: Callable[[str, float], Calibrated]
    measure: Callable[[Mapping[str, Tensor]], float]


def subject_of(model: Module | OwnTensors | Mapping[str, Tensor], batches: Iterable[Any] | None) -> _Subject:
    """A model with calibration inputs; or, without them, a model or the tensors of a checkpoint; or a network that has
    its own. Raises what `calibrate` does.
    """
    if isinstance(model, Mapping):
        return _without_data(model)
    if not _is_module(model):
        network = cast(OwnTensors, model)
        return _with_data(network, network.tensors())
    from deepcompression.model import read_model
    from deepcompression.torch_network import TorchNetwork

    module = cast("Module", model)
    tensors = read_model(module)
    return _without_data(tensors) if batches is None else _with_data(TorchNetwork(module, batches), tensors)


def _is_module(model: object) -> bool:
    return hasattr(model, "state_dict")


def _with_data(network: Network, tensors: Mapping[str, Tensor | Tie]) -> _Subject:
    if not network.targets:
        raise ValueError(_NO_WEIGHT)
    calibration = Calibration(network, network.targets)
    exact = network.outputs({})
    dtypes = {name: network.dtype(name) for name in network.targets}

    def fit(name: str, penalty: float) -> Calibrated:
        return calibration.apply(name, Rule(tensor=name, share=Share(penalty=penalty)), dtypes[name])

    def measure(replaced: Mapping[str, Tensor]) -> float:
        return change(network.outputs({name: tensor.numpy() for name, tensor in replaced.items()}), exact)

    units = {name: calibration.unit(name) for name in network.targets}
    # what the outputs do not depend on costs nothing at any penalty
    return _Subject(tensors, {name: max(unit, 1e-30) for name, unit in units.items()}, fit, measure)


def _without_data(tensors: Mapping[str, Tensor | Tie]) -> _Subject:
    """The change of the outputs is taken to be that of the weights, each tensor's relative to itself."""
    own = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie)}
    names = [target.name for target in targets_of(own) if target.floating and len(target.shape) >= 2 and target.count]
    weights: dict[str, Floats] = {}
    for name in names:
        weights[name] = own[name].numpy().astype(np.float32).reshape(1, 1, -1)
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"{name} has weights that are NaN, infinite or beyond float32; mend the training")

    def metric(name: str) -> Metric:
        energy = float(np.square(weights[name], dtype=np.float64).sum())
        return Metric.diagonal(np.full((1, 1), 1 / max(energy, 1e-30), np.float32), weights[name].shape[2])

    def fit(name: str, penalty: float) -> Calibrated:
        fitted = fit_penalty(weights[name], metric(name), penalty)
        cost = metric(name).cost(weights[name] - fitted.values())
        return Calibrated(fitted.compressed(own[name].shape, own[name].dtype), None, cost)

    def measure(replaced: Mapping[str, Tensor]) -> float:
        errors = [
            float(np.square(tensor.numpy().astype(np.float32).reshape(-1) - weights[name].reshape(-1)).sum(dtype=float))
            / max(float(np.square(weights[name], dtype=np.float64).sum()), 1e-30)
            for name, tensor in replaced.items()
        ]
        return math.sqrt(sum(errors) / max(1, len(weights)))

    return _Subject(tensors, {name: max(metric(name).unit(weights[name]), 1e-30) for name in names}, fit, measure)


class _Attempt(NamedTuple):
    lines: tuple[Line, ...]
    tensors: dict[str, Tensor]
    file_bytes: int
    predicted: float


def sensitivity(
    model: Module | OwnTensors | Mapping[str, Tensor],
    batches: Iterable[Any] | None = None,
    *,
    penalties: Iterable[float] = LADDER,
    profile: str = DEFAULT_PROFILE,
) -> list[Line]:
    """For each weight, alone, at each penalty: its bytes, encoded, and the change of the outputs, measured.

    Without batches the change is that of the weights. Raises what `calibrate` does.
    """
    check_profile(profile)
    subject = subject_of(model, batches)
    lines = []
    for name in subject.units:
        for penalty in penalties:
            found = subject.fit(name, penalty)
            size = len(encode(found.tensor, profile=profile)[1])
            line = _line(name, penalty, found, size)
            lines.append(line._replace(change=subject.measure(found.replaced(name))))
    return lines


def _line(name: str, penalty: float, found: Calibrated, size: int) -> Line:
    tensor = found.tensor
    assert isinstance(tensor, CompressedTensor)
    return Line(name, tensor.size, penalty, tensor.density, len(tensor.codebook), size, math.sqrt(max(found.cost, 0)))


def plan(
    model: Module | OwnTensors | Mapping[str, Tensor],
    batches: Iterable[Any] | None = None,
    *,
    target_size: int | None = None,
    target_ratio: float | None = None,
    max_change: float | None = None,
    profile: str = DEFAULT_PROFILE,
    metadata: Mapping[str, str] | None = None,
) -> Plan:
    """A recipe for one target, solved over all weights: the same price of a byte in each, as its own bytes and its own
    effect on the outputs are measured.

    batches       calibration inputs, as `calibrate` takes them; without them errors of the weights are what counts
    target_size   bytes of the whole file, which is never larger and at most 2 % smaller
    target_ratio  the same as bytes of all tensors / bytes of the file
    metadata      what the file will say besides its tensors: its bytes count
    max_change    ||y - y'|| / ||y|| of all outputs over the calibration inputs

    Raises ValueError for no target or two, for one that cannot be reached, naming the best that can, and what
    `calibrate` raises. Nothing is changed.
    """
    if [target_size, target_ratio, max_change].count(None) != 2:
        raise ValueError("a plan has one target: target_size, target_ratio or max_change")
    wanted = next(value for value in (target_size, target_ratio, max_change) if value is not None)
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"a target is a positive number; found {wanted}")
    check_profile(profile)
    subject = subject_of(model, batches)
    if not subject.units:
        raise ValueError(_NO_WEIGHT)
    dense_bytes = sum(_dense_bytes(tensor) for tensor in subject.tensors.values())
    sizes = _Sizes(subject.tensors, profile, metadata or {})
    if max_change is not None:
        attempt = _reach_change(subject, max_change, sizes)
    else:
        most = target_size if target_size is not None else math.floor(dense_bytes / (target_ratio or 1))
        attempt = _reach_size(subject, most, sizes)
    found = subject.measure(attempt.tensors)
    rules = [Rule(tensor=glob.escape(line.tensor), share=Share(penalty=line.penalty)) for line in attempt.lines]
    recipe = Recipe(name="plan", rules=tuple(rules))
    return Plan(recipe, attempt.lines, attempt.file_bytes, dense_bytes, found, attempt.predicted)


def _dense_bytes(tensor: Tensor | Tie) -> int:
    return 0 if isinstance(tensor, Tie) else size_bytes(tensor.dtype, tensor.shape)


class _Sizes:
    """Bytes of the file that `save_tensors` would write, with some tensors replaced."""

    def __init__(self, tensors: Mapping[str, Tensor | Tie], profile: str, metadata: Mapping[str, str]) -> None:
        self.tensors, self.profile, self.metadata = tensors, profile, metadata
        self._kept: dict[str, Entry] = {}

    def entry(self, name: str, tensor: Tensor) -> Entry:
        coder, payload = encode(tensor, profile=self.profile)
        return Entry(name, coder, tensor.dtype, tensor.shape, 0, len(payload), 0)

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


def _attempt(subject: _Subject, price: float, sizes: _Sizes) -> _Attempt:
    """All weights at one price of a bit, in squared change of the outputs."""
    lines: list[Line] = []
    tensors: dict[str, Tensor] = {}
    entries: dict[str, Entry] = {}
    cost = 0.0
    for name, unit in subject.units.items():
        penalty = float(np.clip(price / unit, LEAST_PENALTY, MOST_PENALTY))
        found = subject.fit(name, penalty)
        cost += found.cost
        replaced = found.replaced(name)
        tensors |= replaced
        entries |= {each: sizes.entry(each, tensor) for each, tensor in replaced.items()}
        lines.append(_line(name, penalty, found, entries[name].length))
    return _Attempt(tuple(lines), tensors, sizes.of(entries), math.sqrt(max(cost, 0.0)))


def _prices(subject: _Subject) -> tuple[float, float]:
    """Beyond which no penalty changes any more."""
    units = subject.units.values()
    return LEAST_PENALTY * min(units), MOST_PENALTY * max(units)


def _reach_size(subject: _Subject, most: int, sizes: _Sizes) -> _Attempt:
    """The largest file of at most so many bytes, to a per cent or two."""
    low, high = (math.log(price) for price in _prices(subject))
    attempt = _attempt(subject, math.exp(high), sizes)
    if attempt.file_bytes > most:
        raise ValueError(
            f"{most:,} bytes cannot be reached: with all weights zero the file still takes {attempt.file_bytes:,}, "
            "for what is stored as it is; the best reachable is more than that"
        )
    fixed = attempt.file_bytes
    count = sum(line.weights for line in attempt.lines)
    best = attempt
    # a bit of each weight for a factor of four, from a start at so many bits
    bits = min(8.0, 8 * (most - fixed) / count)
    mean = sum(line.weights * math.log(subject.units[line.tensor]) for line in attempt.lines) / count
    at = float(np.clip(mean - math.log(4) * bits, low, high))
    tried: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        attempt = _attempt(subject, math.exp(at), sizes)
        if best.file_bytes <= attempt.file_bytes <= most:
            best = attempt
        if _LEAST_FILLED * most <= attempt.file_bytes <= most:
            break
        if attempt.file_bytes > most:
            low = max(low, at)
        elif at <= low + 1e-9:
            break
        else:
            high = min(high, at)
        tried.append((at, math.log(max(1, attempt.file_bytes - fixed))))
        at = _next(tried, math.log(max(1.0, 0.993 * most - fixed)), low, high, -0.2)
    return best


def _reach_change(subject: _Subject, most: float, sizes: _Sizes) -> _Attempt:
    """The smallest file of those that change the outputs by at most so much."""
    low, high = (math.log(price) for price in _prices(subject))
    best: _Attempt | None = None
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
