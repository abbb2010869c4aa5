"""torch's operators that move no element: other shapes, parts of values, and parts of tuples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.torch_node import Node, each_axis


def _same(node: Node) -> None:
    node.value = node.x(node[0])


def _shaped(shape_of: Callable[[Node, tuple[int, ...]], Sequence[int]]) -> Callable[[Node], None]:
    def add(node: Node) -> None:
        node.to.view(node.x(node[0]), node.output, shape_of(node, node.shape))

    return add


def _flattened(node: Node, shape: tuple[int, ...]) -> list[int]:
    first, last = node.get("start_dim", 0) % len(shape), node.get("end_dim", -1) % len(shape)
    return [*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]]


def _squeezed(node: Node, shape: tuple[int, ...]) -> list[int]:
    given = node.get("dim")
    axes = range(len(shape)) if given is None else [axis % len(shape) for axis in each_axis(given, 1)]
    return [size for at, size in enumerate(shape) if size != 1 or at not in axes]


def _unsqueezed(node: Node, shape: tuple[int, ...]) -> list[int]:
    at = node.get("dim") % (len(shape) + 1)
    return [*shape[:at], 1, *shape[at:]]


def _transpose(node: Node) -> None:
    order = list(range(len(node.shape)))
    first, second = node.get("dim0", 0), node.get("dim1", 1)
    order[first], order[second] = order[second], order[first]
    node.to.transpose(node.x(node[0]), node.output, order)


def _select(node: Node) -> None:
    axis = node.get("dim") % len(node.shape)
    at = node.get("index") % node.shape[axis]
    node.to.part(node.x(node[0]), node.output, axis, at, at + 1, keep=False)


def _slice(node: Node) -> None:
    axis = node.get("dim", 0) % len(node.shape)
    slices = [slice(None)] * len(node.shape)
    slices[axis] = slice(node.get("start"), node.get("end"), node.get("step", 1))
    node.to.parts(node.x(node[0]), node.output, slices)


def _split(node: Node) -> None:
    axis = node.get("dim", 0) % len(node.shape)
    size, given = node.shape[axis], node[1]
    # chunk: the number of parts; split: the size of each, or all sizes
    step = -(-size // node.get("chunks")) if node.get("chunks") else given
    sizes = list(step) if isinstance(step, list | tuple) else [min(step, size - at) for at in range(0, size, step)]
    starts = np.cumsum([0, *sizes]).tolist()
    node.value = tuple(f"{node.output}.{number}" for number in range(len(sizes)))
    for name, start, stop in zip(node.value, starts, starts[1:], strict=False):
        node.to.part(node.x(node[0]), name, axis, start, stop)


def _item(node: Node) -> None:
    found = node.parts(node[0])[node[1]]
    if found is None:
        raise MissingError(f"it takes output {node[1]}, which no board gives")
    node.value = found


# operator -> what adds it
SHAPES: dict[str, Callable[[Node], None]] = {
    **dict.fromkeys(("dropout", "dropout_", "feature_dropout", "alpha_dropout", "contiguous", "clone"), _same),
    **dict.fromkeys(("detach", "alias", "lift_fresh_copy"), _same),
    "flatten": _shaped(_flattened),
    **dict.fromkeys(("reshape", "view"), _shaped(lambda node, shape: node[1])),
    "unflatten": _shaped(
        lambda node, shape: [*shape[: node[1] % len(shape)], *node[2], *shape[node[1] % len(shape) + 1 :]]
    ),
    "squeeze": _shaped(_squeezed),
    "unsqueeze": _shaped(_unsqueezed),
    **dict.fromkeys(("transpose", "t"), _transpose),
    "permute": lambda node: node.to.transpose(node.x(node[0]), node.output, node[1]),
    "select": _select,
    "slice": _slice,
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _split),
    "getitem": _item,
}
