"""A network of any framework, as calibration sees it; the matrices that weights of its layers form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from deepcompression.sharing.error_cost import Metric
from deepcompression.tensors.dtypes import Array, Floats
from deepcompression.tensors.slices import spans

# Moments of more columns are taken in blocks, which count as independent.
MOST_COLUMNS = 4096

# Moments of a layer take this many samples for each of its columns, and at least LEAST_SAMPLES.
SAMPLES_PER_COLUMN = 4
LEAST_SAMPLES = 8192

# The part of the inputs that is held back from calibration, and the most of them: they measure the change of the
# outputs to some percent, and cost two runs. Changes of single inputs differ by a third or so.
HELD_BACK, MOST_HELD_BACK = 1 / 5, 32

# Masks fill outputs with values of this many times the others' size: -1e9, the least value of the dtype, -inf.
MASKED = 1e3

# The largest share of a row's weight that is its own; the rest is the mean of all rows, since few draws measure it.
# Inputs use rows of an embedding by chance: others will use the rest.
_OWN_ROW = 0.9
_OWN_EMBEDDED_ROW = 0.5


class Layout(NamedTuple):
    """A weight as matrices (groups, rows, columns): rows are outputs, columns inputs.

    shape       of the weight
    transposed  the weight is (inputs, outputs)
    groups      parts of the outputs, each with inputs of its own
    blocks      parts of a group's inputs; each is then a group of its own
    leading     the number of the shape's first axes that form one side of the matrix; the others form the other
    """

    shape: tuple[int, ...]
    transposed: bool = False
    groups: int = 1
    blocks: int = 1
    leading: int = 1

    @classmethod
    def of(cls, shape: tuple[int, ...], transposed: bool = False, groups: int = 1, leading: int = 1) -> Layout:
        columns = cls(shape, transposed, leading=leading).columns
        blocks = 1
        while columns % blocks or columns // blocks > MOST_COLUMNS:
            blocks += 1
        return cls(shape, transposed, groups, blocks, leading)

    @property
    def columns(self) -> int:
        """The columns of each block."""
        return math.prod(self.shape[: self.leading] if self.transposed else self.shape[self.leading :]) // self.blocks

    def matrices(self, weight: Array) -> Array:
        """A weight -> (groups x blocks, rows, columns)."""
        flat = weight.reshape(math.prod(self.shape[: self.leading]), math.prod(self.shape[self.leading :]))
        flat = flat.T if self.transposed else flat
        parts = flat.reshape(self.groups, len(flat) // self.groups, self.blocks, self.columns).swapaxes(1, 2)
        return np.ascontiguousarray(parts).reshape(self.groups * self.blocks, *parts.shape[2:])

    def tensor(self, matrices: Array) -> Array:
        """The inverse of `matrices`."""
        rows = matrices.shape[1]
        parts = matrices.reshape(self.groups, self.blocks, rows, self.columns).swapaxes(1, 2)
        flat = parts.reshape(self.groups * rows, self.blocks * self.columns)
        return np.ascontiguousarray(flat.T if self.transposed else flat).reshape(self.shape)


class Moments:
    """Sums over the inputs of a layer; divided by `count`, they are its moments.

    second  float32 (groups, columns, columns): products of inputs
    first   float64 (groups, columns): inputs
    """

    def __init__(self, layout: Layout) -> None:
        groups, columns = layout.groups * layout.blocks, layout.columns
        self.layout, self.count = layout, 0
        self.second = np.zeros((groups, columns, columns), np.float32)
        self.first = np.zeros((groups, columns), np.float64)

    def draw(self, axes: tuple[int, ...], batches: int) -> tuple[NDArray[np.int64], ...]:
        """The indices of samples to take from a batch, the same each time.

        axes     the shape of the batch's first axes, which count samples
        batches  the number of all batches
        """
        samples = math.prod(axes)
        whole = self.layout.columns * self.layout.blocks
        most = max(LEAST_SAMPLES, SAMPLES_PER_COLUMN * whole) // batches + 1
        drawn = np.arange(samples)
        if samples > most:
            drawn = np.sort(np.random.default_rng(samples).choice(samples, most, replace=False))
        return np.unravel_index(drawn, axes)

    def add(self, inputs: Floats) -> None:
        """Adds inputs: float32 (samples, *axes), whose other axes hold groups x blocks x columns."""
        parts = inputs.reshape(len(inputs), len(self.second), self.layout.columns).transpose(1, 0, 2)
        self.second += parts.transpose(0, 2, 1) @ parts
        self.first += parts.sum(axis=1, dtype=np.float64)
        self.count += len(inputs)

    def mean(self) -> NDArray[np.float64]:
        """The mean inputs (groups, columns)."""
        return self.first / max(self.count, 1)

    def trust(self) -> NDArray[np.float64]:
        """The part of the mean (groups, 1) that is no noise of few samples (James and Stein 1961).

        A bias that made up for all of the mean would do harm: the mean of three samples is mostly noise.
        """
        size = np.square(self.mean()).sum(axis=1)
        spread = np.trace(self.second, axis1=1, axis2=2, dtype=np.float64) / max(self.count, 1) - size
        noise = spread / (self.count - 1) if self.count > 1 else size
        trust: NDArray[np.float64] = np.clip(1 - noise / np.maximum(size, 1e-300), 0, 1)[:, None]
        return trust


class Role(NamedTuple):
    """The layout of a weight that can be fitted, and the name of the bias that its layer adds, if any."""

    layout: Layout
    bias: str | None = None


# The outputs of a network by their names, each flat for all inputs: floats, integers or bools.
Outputs = dict[str, Array]


class Network(Protocol):
    """A network with its calibration inputs.

    roles  of the weights that can be fitted, in the order of execution; those of unknown use last
    """

    roles: Mapping[str, Role]

    @property
    def count(self) -> int:
        """The number of inputs."""

    def split(self) -> tuple[Network, Network | None]:
        """The same network with the inputs for calibration, and with those that are held back to measure its change.

        None if there are too few inputs to hold any back.
        """

    def weight(self, name: str) -> Array:
        """A weight or bias as an ordinary array of its floating dtype."""

    def dtype(self, name: str) -> str:
        """The dtype of a weight or bias: one of `WEIGHT_DTYPES`."""

    def moments(self, names: Iterable[str]) -> dict[str, Moments]:
        """The moments of the inputs of layers, where their inputs are known."""

    def outputs(self, replaced: Mapping[str, Array]) -> Outputs:
        """All outputs for the calibration inputs, with some weights replaced."""

    def gains(self, names: Iterable[str]) -> dict[str, Floats]:
        """The mean squared relative change of the outputs per squared error of a weight.

        Each is float32 in the weight's shape, or () where it is only known for the whole weight.
        """


def held_back(count: int) -> NDArray[np.int64]:
    """The numbers of the inputs that are held back of `count`: a fifth, at least one, at most 32; none of one input."""
    size = 0 if count < 2 else min(max(1, round(count * HELD_BACK)), MOST_HELD_BACK)
    return np.sort(np.random.default_rng(count).choice(count, size, replace=False))


def change(outputs: Outputs, exact: Outputs) -> float:
    """||outputs - exact|| / ||exact|| of all floating-point outputs.

    Infinite if they are no longer finite, or have another shape. Elements of masks do not count: those that stay the
    same, bit for bit, and exceed `MASKED` times the root mean square of those that change.
    """
    names = [name for name, each in exact.items() if np.issubdtype(each.dtype, np.floating)]
    pairs = [(outputs[name], exact[name]) for name in names if name in outputs]
    if len(pairs) < len(names) or any(found.shape != was.shape for found, was in pairs):
        return math.inf
    error, energy, changed = 0.0, 0.0, 0
    for now, was in _slices(pairs):
        differs = now != was
        error += float(np.square(now[differs] - was[differs]).sum())
        energy += float(np.square(was[differs]).sum())
        changed += int(np.count_nonzero(differs))
    if not changed:
        return 0.0
    if not (math.isfinite(error) and math.isfinite(energy)):
        return math.inf
    most = MASKED * math.sqrt(max(energy, error) / changed)
    for now, was in _slices(pairs):
        energy += float(np.square(was[(now == was) & (np.abs(was) <= most)]).sum())
    return math.sqrt(error / energy) if energy else math.inf


def change_of_each(outputs: Outputs, exact: Outputs) -> dict[str, float]:
    """The change of each output by its name; of an output of integers or bools the part of its elements that differ."""
    found = {}
    for name, was in exact.items():
        now = outputs.get(name)
        if now is None or now.shape != was.shape:
            found[name] = math.inf
        elif np.issubdtype(was.dtype, np.floating):
            found[name] = change({name: now}, {name: was})
        else:
            found[name] = float(np.count_nonzero(now != was)) / max(1, was.size)
    return found


def _slices(pairs: Iterable[tuple[Array, Array]]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    for now, was in pairs:
        for span in spans(was.size):
            yield now[span].astype(np.float64), was[span].astype(np.float64)


def metric_of(layout: Layout, moments: Moments | None, gain: Array, centered: bool = False) -> Metric:
    """The cost of errors of a weight, in units of the squared relative change of the network's outputs.

    moments   are used up: the metric takes their memory
    gain      from `Network.gains`
    centered  whether the bias makes up for the mean of an error
    """
    # inputs that are always zero show nothing
    if moments is None or not moments.second.any():
        return Metric.diagonal(_row_weights(layout, gain, None, _OWN_EMBEDDED_ROW), layout.columns)
    trust, mean = moments.trust(), moments.mean()
    second = moments.second
    second /= np.float32(moments.count)
    # the square of one draw has a variance of twice its own square: two draws tell rows apart that differ as much
    own = _OWN_ROW * moments.count / (moments.count + 2)
    rows = _row_weights(layout, gain, np.trace(second, axis1=1, axis2=2, dtype=np.float64), own)
    if centered:
        # around the part of the mean that the bias makes up for
        part = (mean * np.sqrt(trust * (2 - trust))).astype(np.float32)
        for each, own in zip(second, part, strict=True):
            each -= np.outer(own, own)
    _shrink(second, moments.count)
    return Metric.of(second, rows)


def _shrink(second: Floats, count: int) -> None:
    """Shrinks second moments of `count` samples towards a multiple of the identity, in place, by their noise.

    This is oracle approximating shrinkage (Chen, Wiesel, Eldar, Hero 2010). With fewer samples than columns, errors
    would otherwise go where no sample happened to lie.
    """
    columns = second.shape[1]
    for part in second:
        trace = float(np.trace(part, dtype=np.float64))
        squares = float(np.square(part, dtype=np.float64).sum())
        spread = (count + 1 - 2 / columns) * (squares - trace**2 / columns)
        wanted = (1 - 2 / columns) * squares + trace**2
        share = 1.0 if wanted >= spread else wanted / spread
        part *= np.float32(1 - share)
        part[np.diag_indices(columns)] += np.float32(share * trace / columns)


def _row_weights(layout: Layout, gain: Array, traces: NDArray[np.float64] | None, share: float) -> Floats:
    """The weights of rows' errors (groups, rows), by which independent errors of a row cost the outputs' change.

    share  the part of a row's weight that is its own; the rest is the mean of all rows
    """
    parts = layout.matrices(np.broadcast_to(np.asarray(gain, np.float64), layout.shape))
    count = parts.shape[2]
    sums = parts.sum(axis=2)
    traces = np.full(len(parts), float(count)) if traces is None else traces
    mean = sums.sum() / max(float(traces.sum()) * parts.shape[1], 1e-300)
    own = np.where(traces[:, None] > 0, sums / np.maximum(traces, 1e-300)[:, None], mean)
    floor = 1e-30 if mean == 0 else 0.0
    weights: Floats = (share * own + (1 - share) * mean + floor).astype(np.float32)
    return weights
