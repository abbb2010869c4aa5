"""The weights that are held compressed: those whose layer is then expected to be no slower than dense."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from deepcompression import _core
from deepcompression.common.messages import counted
from deepcompression.nn.convolve import has_kernel, lanes_of
from deepcompression.nn.probe import plain_class
from deepcompression.nn.recurrent import PACKED_RECURRENT
from deepcompression.nn.uses import CONVOLUTION_MODULES, Use
from deepcompression.packed.convolution import ConvolutionSettings
from deepcompression.packed.costs import FEW, MANY, POSITIONS, STEPS, Costs, Work, costs
from deepcompression.recipe.targets import Target

# A dense product with fewer weights takes less time than the call of a packed layer.
LEAST_WEIGHTS = 4096

# `time` holds a weight compressed where its layer is not slower for it, `memory` wherever it takes fewer bytes.
PREFERENCES = ("time", "memory")

# attribute of a module: the verdicts on its parameters that stay dense, by name
DENSE_REASONS = "dense_reasons"
# and its weights that are not read yet, by name
UNREAD = "unread_weights"

# Look-ups always cost more than dense ones, and mostly little: those of all tables together may add this part to the
# time of the network's products and convolutions.
LOOK_UPS = 0.02
# The rows that one bag of an EmbeddingBag is assumed to add up.
BAG = 32

# Numbers of vectors for which a weight must pay if the caller names none.
UNNAMED = (FEW, 8, MANY)
_NO_BATCH = f"batch= was not named, so it must pay for {', '.join(map(str, UNNAMED[:-1]))} and {UNNAMED[-1]} vectors"


class Expected(NamedTuple):
    """Seconds of a call with so many vectors, dense and from the packed weight."""

    vectors: int
    dense: float
    packed: float

    def __str__(self) -> str:
        vectors = counted(self.vectors, "vector")
        return f"{1e6 * self.packed:.3g} us expected for {vectors}, dense {1e6 * self.dense:.3g} us"


class Verdict(NamedTuple):
    """Whether a weight pays in a use, and the number of vectors to pack it for. `why` ends a sentence about it."""

    pays: bool
    batch: int
    why: str = ""
    expected: tuple[Expected, ...] = ()


class Rule:
    """The rule for the weights of one network.

    batch    vectors at once; None for a number that nobody knows
    targets  all of the network
    """

    def __init__(self, prefer: str, activations: str, batch: int | None, targets: Iterable[Target]) -> None:
        self._prefer, self._activations, self._batch = prefer, activations, batch
        self._vectors = UNNAMED if batch is None else (batch,)
        self._targets = [target for target in targets if not target.kept and len(target.shape) > 1]
        # for each table of the network an equal part of the time that look-ups may add
        self._tables = max(1, sum(_is_table(target) for target in self._targets))
        self._networks: dict[int, float] = {}

    @functools.cached_property
    def _costs(self) -> Costs:
        return costs(_core.instruction_set(), torch.get_num_threads())

    def verdict(self, use: Use, place: tuple[nn.Module, str], shape: tuple[int, ...], survivors: int) -> Verdict:
        """For the weight of a module on the CPU, of so many survivors."""
        module, local = place
        if use == "embedding":
            return self._look_ups(module, shape, survivors)
        if use == "convolution":
            return self._convolution(module, shape, survivors)
        if isinstance(module, nn.RNNBase) and plain_class(module) in PACKED_RECURRENT:
            return self._step(module, local, survivors / math.prod(shape))
        rows, columns = (shape[1], shape[0]) if use == "transposed" else (shape[0], math.prod(shape[1:]))
        return self._product(Work(rows, columns, survivors), 3 if use == "projections" else 1)

    def measured(self, use: Use, batch: int, times: tuple[Expected, ...]) -> Verdict:
        """By times of this machine, for a weight that is packed for `batch` vectors."""
        return self._judged_look_ups(list(times)) if use == "embedding" else self._judged(batch, list(times), 0)

    @property
    def vectors(self) -> tuple[int, ...]:
        """The numbers of vectors for which a weight must pay."""
        return self._vectors

    def _judged(self, batch: int, expected: list[Expected], margin: float | None = None) -> Verdict:
        """The verdict by times, the slowest of which counts."""
        factor = 1 + (self._costs.margin if margin is None else margin)
        slow = [each for each in expected if each.packed * factor > each.dense]
        if not slow or self._prefer == "memory":
            return Verdict(True, batch, str(expected[0]), tuple(expected))
        worst = max(slow, key=lambda each: each.packed / each.dense)
        why = f"{worst}" if worst.packed > worst.dense else f"{worst}: too near to be sure"
        return Verdict(False, batch, why, (worst,))

    def _product(self, work: Work, parts: int = 1) -> Verdict:
        """`parts`: products that the rows are split into."""
        own = Work(work.rows // parts, work.columns, work.survivors // parts)

        def expected(kind: str) -> list[Expected]:
            return [
                Expected(
                    count,
                    self._costs.seconds("dense", _with(work, count)),
                    parts * self._costs.seconds(kind, _with(own, count)),
                )
                for count in self._vectors
            ]

        return self._first(expected)

    def _first(self, expected: Callable[[str], list[Expected]]) -> Verdict:
        """For the batch that was named; else the first verdict of those for FEW and for MANY by which the weight pays.

        expected  kind of products -> times for each number of vectors
        """
        if self._batch is not None:
            return self._judged(self._batch, expected(self._activations))
        found = [self._judged(batch, expected(f"{self._activations} for {batch}")) for batch in (FEW, MANY)]
        paying = next((each for each in found if each.pays), None)
        return paying or found[0]._replace(why=f"{found[0].why}; {_NO_BATCH}")

    def _step(self, module: nn.RNNBase, local: str, density: float) -> Verdict:
        """A time step of all layers and directions, as if all their matrices had this density. Sequences take STEPS.

        All are judged together: where one is packed, the others lose torch's own kernels for the whole module.
        """
        layer, pairs = plain_class(module).__name__, []
        for name in module._flat_weights_names:
            if name.startswith("weight_hh"):
                shapes = [getattr(module, each).shape for each in (name, name.replace("_hh_", "_ih_"))]
                pairs.append([Work(rows, columns, round(density * rows * columns)) for rows, columns in shapes])

        def seconds(way: str, count: int) -> float:
            return sum(
                self._costs.step(layer, way, _with(hidden, count), _with(inputs, count * STEPS))
                for hidden, inputs in pairs
            )

        def expected(kind: str) -> list[Expected]:
            return [Expected(count, seconds("dense", count), seconds(kind, count)) for count in self._vectors]

        found = self._first(expected)
        # one product takes the inputs of all time steps
        return found._replace(batch=found.batch * STEPS) if "_ih_" in local else found

    def _convolution(self, module: Any, shape: tuple[int, ...], survivors: int) -> Verdict:
        """For an output of POSITIONS. The module asks again, with its true inputs."""
        if self._prefer == "memory":
            return Verdict(True, FEW)
        side = math.isqrt(POSITIONS)
        if not has_kernel(shape, module.stride, module.groups, survivors / math.prod(shape), (side, side)):
            return Verdict(False, FEW, "each call would decode its rows, and then compute as dense does")
        times = [
            convolution_times(self._costs, shape, survivors, module.in_channels, (side, side), count)
            for count in self._vectors
        ]
        return self._judged(FEW, times)

    def _look_ups(self, module: nn.Module, shape: tuple[int, ...], survivors: int) -> Verdict:
        """One row for a vector, BAG rows in a bag."""
        found = []
        for count in self._vectors:
            rows = count * (BAG if isinstance(module, nn.EmbeddingBag) else 1)
            work = Work(shape[0], shape[1], round(rows * survivors / shape[0]), rows)
            dense, packed = (self._costs.seconds(kind, work) for kind in ("look-ups dense", "look-ups"))
            found.append(Expected(count, dense, packed))
        return self._judged_look_ups(found)

    def _judged_look_ups(self, times: list[Expected]) -> Verdict:
        share = LOOK_UPS / self._tables
        slow = [each for each in times if each.packed - each.dense > share * self._network(each.vectors)]
        if not slow or self._prefer == "memory":
            return Verdict(True, FEW, str(times[0]), tuple(times))
        more = f"more than {100 * LOOK_UPS:g} % of the network's products"
        return Verdict(False, FEW, f"{slow[-1]}: look-ups would add {more}", (slow[-1],))

    def _network(self, vectors: int) -> float:
        """The expected seconds of all products and convolutions, dense."""
        if vectors not in self._networks:
            self._networks[vectors] = sum(self._dense(target, vectors) for target in self._targets)
        return self._networks[vectors]

    def _dense(self, target: Target, vectors: int) -> float:
        rows, columns = target.shape[0], math.prod(target.shape[1:])
        modules: list[Any] = [module for module, _ in target.places if not _is_embedding(module)]
        if not modules:
            return 0.0
        if isinstance(modules[0], CONVOLUTION_MODULES):
            work = Work(rows, columns, 0, vectors, modules[0].in_channels)
            return self._costs.seconds("convolution dense", work)
        return self._costs.seconds("dense", Work(rows, columns, 0, vectors))


def convolution_times(
    known: Costs, shape: Sequence[int], survivors: int, channels: int, outputs: Sequence[int], images: int
) -> Expected:
    """Of a convolution that a kernel computes from its survivors."""
    work = Work(shape[0], math.prod(shape[1:]), survivors, images, channels, math.prod(outputs))
    dense = known.seconds("convolution dense", work)
    return Expected(images, dense, known.seconds("convolution", work._replace(positions=lanes_of(outputs))))


def convolution_pays(x: Tensor, shape: Sequence[int], survivors: int, settings: ConvolutionSettings) -> bool:
    """Whether a convolution of x (images, channels, height, width) is expected to be faster from its survivors."""
    outputs = settings.outputs(tuple(shape[2:]), x.shape[2:])
    density = survivors / math.prod(shape)
    if x.dim() != 4 or not has_kernel(shape, settings.stride, settings.groups, density, outputs):
        return False
    known = costs(_core.instruction_set(), torch.get_num_threads())
    times = convolution_times(known, shape, survivors, x.shape[1], outputs, len(x))
    return times.packed <= times.dense


def _with(work: Work, vectors: int) -> Work:
    return work._replace(vectors=vectors)


def _is_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding | nn.EmbeddingBag)


def _is_table(target: Target) -> bool:
    return any(_is_embedding(module) for module, _ in target.places)
