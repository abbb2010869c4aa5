"""The graph of a network as boards run it: one operator after the other, on flat values, for one input at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = tuple[int, ...]
# channels, height, width; one of fewer axes has height 1
Picture = tuple[int, int, int]
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Weight:
    """The weights of a layer under their name in the model: float32 (rows, ...), one row for each output."""

    name: str
    values: Floats

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def columns(self) -> int:
        return math.prod(self.values.shape[1:])

    @property
    def matrix(self) -> Floats:
        return self.values.reshape(self.rows, self.columns)


class Window(NamedTuple):
    """How a kernel moves over a picture: `padding` is above and to the left, and follows from `target` elsewhere."""

    source: Picture
    target: Picture
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair


@dataclass(frozen=True, eq=False)
class Operator:
    """One call of the device's library.

    name    of the node that it comes from
    inputs  names of the values that it takes
    output  the value that it gives
    """

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, eq=False)
class Clipped(Operator):
    """An operator that can limit its own output, as ReLU and ReLU6 do."""

    low: float = field(default=-math.inf, kw_only=True)
    high: float = field(default=math.inf, kw_only=True)


@dataclass(frozen=True, eq=False)
class Affine(Clipped):
    """scale * (weight · inputs) + bias, both for each row: a folded BatchNorm leaves the codebook as it is."""

    weight: Weight
    bias: Floats
    scale: Floats

    @property
    def scaled(self) -> bool:
        return bool((self.scale != 1).any())


@dataclass(frozen=True, eq=False)
class Linear(Affine):
    """Each of `vectors` vectors times the matrix."""

    vectors: int


@dataclass(frozen=True, eq=False)
class Conv(Affine):
    window: Window
    groups: int


@dataclass(frozen=True, eq=False)
class MaxPool(Operator):
    window: Window


@dataclass(frozen=True, eq=False)
class AveragePool(Operator):
    """The mean of each window; `whole` counts elements of the padding."""

    window: Window
    whole: bool


@dataclass(frozen=True, eq=False)
class Unary(Operator):
    """A function of each element: a name of `functions.FUNCTIONS`, and its parameters."""

    function: str
    parameters: tuple[float, ...]
    size: int


@dataclass(frozen=True, eq=False)
class Clip(Clipped):
    """The limits alone."""

    size: int


@dataclass(frozen=True, eq=False)
class Scale(Clipped):
    """scale * x + offset, both for each channel: `each` elements, one behind the other."""

    scale: Floats
    offset: Floats
    each: int


@dataclass(frozen=True, eq=False)
class Pairwise(Clipped):
    """Of two values: element i of the first, of `size` elements, meets element i // `each` of the second."""

    size: int
    each: int


class Add(Pairwise):
    pass


class Multiply(Pairwise):
    pass


@dataclass(frozen=True, eq=False)
class Concat(Operator):
    """`rows` times: so many elements of each input, one behind the other."""

    rows: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Softmax(Operator):
    """Over each of `rows` rows of `size` elements."""

    rows: int
    size: int


@dataclass(frozen=True, eq=False)
class Recurrent(Operator):
    """A GRU or LSTM over `steps` vectors, from a state of zeros; its output has one state a step, or the last alone.

    by_input   (gates * hidden, inputs); by_hidden (gates * hidden, hidden)
    bias       those of both products
    Gates are in torch's order: GRU reset, update, new; LSTM input, forget, cell, output. The GRU's new gate takes the
    reset of the product with its bias ("linear before reset").
    """

    kind: str
    by_input: Weight
    by_hidden: Weight
    bias: tuple[Floats, Floats]
    steps: int
    backward: bool
    last: bool = False

    @property
    def hidden(self) -> int:
        return self.by_hidden.columns


@dataclass(frozen=True, eq=False)
class View(Operator):
    """`size` elements of the input from `offset` on, where they are: no work."""

    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class Copy(Operator):
    """Element i, j, ... of these sizes is the input's at offset + i * strides[0] + j * strides[1] + ..."""

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def places(self) -> NDArray[np.int64]:
        """The place of each element in the input."""
        axes = np.meshgrid(*map(np.arange, self.sizes), indexing="ij")
        moved = sum(axis * stride for axis, stride in zip(axes, self.strides, strict=True))
        return np.asarray(self.offset + moved).reshape(-1)


class Root(NamedTuple):
    """Where a value lies: within the value of an operator that writes."""

    value: str
    offset: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A network with one input and one output; operators come behind those whose values they take.

    shapes  of the values, with an axis of length 1 for the batch where the model has one
    notes   what was folded, dropped or inferred on the way
    """

    input: str
    output: str
    operators: tuple[Operator, ...]
    shapes: Mapping[str, Shape]
    notes: tuple[str, ...] = ()

    def size(self, value: str) -> int:
        return math.prod(self.shapes[value])

    def with_operators(self, operators: Iterable[Operator], notes: Iterable[str] = ()) -> Graph:
        return replace(self, operators=tuple(operators), notes=(*self.notes, *notes))

    @property
    def calls(self) -> list[Operator]:
        """The operators that do something."""
        return [each for each in self.operators if not isinstance(each, View)]

    def users(self) -> dict[str, int]:
        """How often each value is taken; the output once more."""
        count = dict.fromkeys([self.input, *(each.output for each in self.operators)], 0)
        for name in [self.output, *(name for each in self.operators for name in each.inputs)]:
            count[name] += 1
        return count

    def roots(self) -> dict[str, Root]:
        """The place of each value."""
        found = {self.input: Root(self.input, 0)}
        for each in self.operators:
            found[each.output] = Root(each.output, 0)
            if isinstance(each, View):
                value, offset = found[each.inputs[0]]
                found[each.output] = Root(value, offset + each.offset)
        return found


def weights_of(operator: Operator) -> tuple[Weight, ...]:
    """The weights that an operator multiplies by."""
    if isinstance(operator, Affine):
        return (operator.weight,)
    return (operator.by_input, operator.by_hidden) if isinstance(operator, Recurrent) else ()


def as_floats(array: Any) -> Floats:
    return np.ascontiguousarray(array, np.float32)
