"""Where each value lies while a network runs: buffers shared by values that are never needed at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from deepcompression.embedded.graph import Add, Clip, Graph, Multiply, Operator, Pairwise, Root, Scale, Softmax, Unary

# Every buffer begins at a multiple: floats need 4, and copies of words are faster.
ALIGNMENT = 4

# operators that may write where they read
_IN_PLACE = (Unary, Clip, Scale, Add, Multiply, Softmax)


@dataclass(frozen=True)
class Arena:
    """The plan of the memory.

    offsets  of each root value in the arena, in bytes; those of the input and the output are not in it
    output   the root values that lie in the caller's output
    size     of the arena in bytes
    free     for each call the parts of the arena where no value lies while it runs: begin and end in bytes; the last
             part has no end
    """

    offsets: Mapping[str, int]
    output: frozenset[str]
    size: int
    free: tuple[tuple[tuple[int, float], ...], ...]


@dataclass
class _Buffer:
    """The values that take one place, one after the other."""

    values: list[str]
    size: int
    first: int
    last: int


def plan_arena(graph: Graph, element_bytes: int) -> Arena:
    """Places every value in the free gap that fits it best, the largest first."""
    roots, calls = graph.roots(), graph.calls
    last: dict[str, int] = {}
    for at, each in enumerate(calls):
        for name in each.inputs:
            last[roots[name].value] = at
    result = roots[graph.output]
    last[result.value] = len(calls)
    holders: dict[str, _Buffer] = {}
    for at, each in enumerate(calls):
        before = _written_over(graph, each, at, roots, last)
        if before is None or before not in holders:
            holders[each.output] = _Buffer([], graph.size(each.output) * element_bytes, at, at)
        else:
            holders[each.output] = holders[before]
        holders[each.output].values.append(each.output)
        holders[each.output].last = last.get(each.output, at)
    whole = result == Root(result.value, 0) and graph.size(graph.output) == graph.size(result.value)
    outside = holders.get(result.value) if whole else None
    buffers = [buffer for buffer in {id(each): each for each in holders.values()}.values() if buffer is not outside]
    offsets = _place(buffers)
    spans = {id(each): (offsets[each.values[0]], offsets[each.values[0]] + _aligned(each.size)) for each in buffers}
    free = tuple(
        tuple(_gaps(spans[id(each)] for each in buffers if each.first <= at <= each.last)) for at in range(len(calls))
    )
    size = max((end for _, end in spans.values()), default=0)
    return Arena(offsets, frozenset(outside.values if outside else ()), size, free)


def _written_over(
    graph: Graph, each: Operator, at: int, roots: Mapping[str, Root], last: Mapping[str, int]
) -> str | None:
    """The root value in whose place an operator may write: a whole one that nobody reads later."""
    if not isinstance(each, _IN_PLACE):
        return None
    possible = each.inputs
    if isinstance(each, Pairwise) and each.each > 1:
        # an element of the second is read again after the first has been written over
        possible = each.inputs[:1] if roots[each.inputs[0]].value != roots[each.inputs[1]].value else ()
    for name in possible:
        value, _ = roots[name]
        if value != graph.input and last[value] == at and graph.size(value) == graph.size(each.output):
            return value
    return None


def best_gap(gaps: Iterable[tuple[int, float]], size: int) -> int:
    """The begin of the smallest gap that has so many bytes."""
    return min((end - begin, begin) for begin, end in gaps if end - begin >= size)[1]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _gaps(taken: Iterable[tuple[int, int]]) -> Iterator[tuple[int, float]]:
    """Begin and end of what lies between and behind spans."""
    free = 0
    for start, end in sorted(taken):
        if start > free:
            yield free, start
        free = max(free, end)
    yield free, math.inf


def _place(buffers: list[_Buffer]) -> dict[str, int]:
    placed: list[tuple[int, int, _Buffer]] = []
    offsets: dict[str, int] = {}
    for buffer in sorted(buffers, key=lambda each: (-each.size, each.first)):
        needed = _aligned(buffer.size)
        gaps = _gaps(
            (start, end) for start, end, each in placed if each.first <= buffer.last and buffer.first <= each.last
        )
        offset = best_gap(gaps, needed)
        placed.append((offset, offset + needed, buffer))
        offsets |= dict.fromkeys(buffer.values, offset)
    return offsets
