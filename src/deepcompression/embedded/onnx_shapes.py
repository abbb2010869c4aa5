"""ONNX's operators that move no element: other shapes, and parts of values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.onnx_node import Node


def _same(node: Node) -> None:
    if len([each for each in node.outputs if each]) > 1:
        raise MissingError("it gives a mask")
    node.to.view(node.x(), node.output, node.shape)


def _flatten(node: Node) -> None:
    shape, axis = node.shape, node.get("axis", 1)
    axis += len(shape) * (axis < 0)
    node.to.view(node.x(), node.output, [math.prod(shape[:axis]), math.prod(shape[axis:])])


def _reshape(node: Node) -> None:
    shape, given = node.shape, node.numbers("shape", 1)
    if given is None:
        raise MissingError("its shape is no constant")
    zero = bool(node.get("allowzero", 0))
    sizes = [shape[at] if size == 0 and not zero and at < len(shape) else size for at, size in enumerate(given)]
    node.to.view(node.x(), node.output, sizes)


def _squeeze(node: Node) -> None:
    shape, axes = node.shape, node.numbers("axes", 1)
    gone = [at for at, size in enumerate(shape) if size == 1] if axes is None else [axis % len(shape) for axis in axes]
    node.to.view(node.x(), node.output, [size for at, size in enumerate(shape) if at not in gone])


def _unsqueeze(node: Node) -> None:
    shape, axes = list(node.shape), node.numbers("axes", 1) or []
    for axis in sorted(axis % (len(shape) + len(axes)) for axis in axes):
        shape.insert(axis, 1)
    node.to.view(node.x(), node.output, shape)


def _transpose(node: Node) -> None:
    node.to.transpose(node.x(), node.output, node.get("perm", list(reversed(range(len(node.shape))))))


def _slice(node: Node) -> None:
    shape = node.shape
    starts, stops = node.numbers("starts", 1), node.numbers("ends", 2)
    axes, steps = node.numbers("axes", 3), node.numbers("steps", 4)
    if starts is None or stops is None:
        raise MissingError("its places are no constants")
    slices = [slice(None)] * len(shape)
    axes = list(range(len(starts))) if axes is None else axes
    for axis, start, stop, step in zip(axes, starts, stops, steps or [1] * len(axes), strict=True):
        # an end far below zero is before the first element
        slices[axis] = slice(start, None if step < 0 and stop < -shape[axis] else stop, step)
    node.to.parts(node.x(), node.output, slices)


def _gather(node: Node) -> None:
    axis, index = node.get("axis", 0) % len(node.shape), np.asarray(node.named(1).values)
    if index.size != 1:
        raise MissingError("it takes several places")
    at = int(index.reshape(-1)[0]) % node.shape[axis]
    node.to.part(node.x(), node.output, axis, at, at + 1, keep=index.ndim > 0)


def _split(node: Node) -> None:
    axis = node.get("axis", 0) % len(node.shape)
    size, count = node.shape[axis], len(node.outputs)
    sizes = node.numbers("split", 1) or [-(-size // count)] * (count - 1) + [size - -(-size // count) * (count - 1)]
    start = 0
    for output, length in zip(node.outputs, sizes, strict=True):
        if output:
            node.to.part(node.x(), output, axis, start, start + length)
        start += length


# operator -> what adds it
SHAPES: dict[str, Callable[[Node], None]] = {
    "Identity": _same,
    "Dropout": _same,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
}
