"""Shapes of values: windows of kernels, and values of channels beside whole ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deepcompression.embedded.graph import Pair, Picture, Shape, Window


class MissingError(Exception):
    """An operator, or a use of one, that no board can run: the reason."""


def window_of(
    shape: Shape,
    rows: int | None,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    ceil: bool,
) -> tuple[Window, Shape]:
    """How a kernel moves over a value of this shape, and the shape of what it makes; `rows` None: the same channels.

    pads  at the start of each axis, then at the end of each
    """
    count = len(kernel)
    if count > 2 or len(shape) != count + 2 or shape[0] != 1:
        raise MissingError(
            f"its input is {list(shape)}, its kernel {list(kernel)}; expected one picture of 1 or 2 axes"
        )
    if min(pads, default=0) < 0:
        raise MissingError(f"its padding {list(pads)} is negative")
    axes = []
    for at, size in enumerate(shape[2:]):
        room = size + pads[at] + pads[at + count] - dilations[at] * (kernel[at] - 1) - 1
        steps = -(-room // strides[at]) if ceil else room // strides[at]
        # no window begins behind the last element
        if ceil and steps * strides[at] >= size + pads[at]:
            steps -= 1
        if room < 0:
            raise MissingError(f"its kernel {list(kernel)} is larger than its input {list(shape)}")
        axes.append(steps + 1)

    def pair(values: Sequence[int], missing: int) -> Pair:
        return (int(values[0]), int(values[1])) if count == 2 else (missing, int(values[0]))

    # a kernel that has one place never moves, and its stride may be too long for a board
    moves = [stride if size > 1 else 1 for stride, size in zip(strides, axes, strict=True)]
    channels = shape[1] if rows is None else rows
    source: Picture = (shape[1], *pair(shape[2:], 1))
    target: Picture = (channels, *pair(axes, 1))
    window = Window(source, target, pair(kernel, 1), pair(moves, 1), pair(pads, 0), pair(dilations, 1))
    return window, (1, channels, *axes)


def check_filled(window: Window) -> None:
    """Raises MissingError if the kernel lies over padding alone at its first or its last place."""
    for at, size in enumerate(window.source[1:]):
        last = (window.target[1 + at] - 1) * window.stride[at] - window.padding[at]
        if window.kernel[at] <= window.padding[at] or last >= size:
            raise MissingError("a window of it holds padding alone")


def spread(small: Shape, large: Shape) -> tuple[Shape, int]:
    """The shape of both together; and how many neighbours of the large one meet one element of the small one."""
    axes = max(len(small), len(large))
    own, whole = ((1,) * (axes - len(each)) + each for each in (small, large))
    at = axes
    while at and own[at - 1] == 1:
        at -= 1
    if own[:at] != whole[:at]:
        raise MissingError(f"its inputs are {list(large)} and {list(small)}; expected one shape, or a number a channel")
    return whole, math.prod(whole[at:])
