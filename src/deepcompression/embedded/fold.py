"""A graph made smaller: dead operators dropped, BatchNorm and limits folded into the layer before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deepcompression.common.messages import counted
from deepcompression.embedded.graph import (
    Affine,
    Clip,
    Clipped,
    Graph,
    Linear,
    Operator,
    Recurrent,
    Scale,
    View,
)

# what an operator and the only one that takes its output become together, or None
Fold = Callable[[Graph, Operator, Operator], Operator | None]


def fold(graph: Graph) -> Graph:
    """The same function with fewer operators. Notes say what was folded and dropped."""
    graph = _without_dead(graph)
    for word, folded in _FOLDS.items():
        names: list[str] = []
        while (found := _fold_one(graph, folded)) is not None:
            graph, name = found
            names.append(name)
        if names:
            graph = graph.with_operators(
                graph.operators, [f"{counted(len(names), word)} folded into the layer before: {', '.join(names)}"]
            )
    return graph


def _without_dead(graph: Graph) -> Graph:
    """Without operators whose values nobody takes."""
    needed, kept, dropped = {graph.output}, [], []
    for each in reversed(graph.operators):
        if each.output in needed:
            needed.update(each.inputs)
            kept.append(each)
        elif not isinstance(each, View):
            dropped.append(each.name)
    # a node may have given several operators
    names = [name for name in reversed(dropped) if name not in {each.name for each in kept}]
    notes = [f"dropped, since nothing takes their values: {', '.join(names)}"] if names else []
    return graph.with_operators(reversed(kept), notes)


def _fold_one(graph: Graph, folded: Fold) -> tuple[Graph, str] | None:
    users = graph.users()
    makers = {each.output: at for at, each in enumerate(graph.operators)}
    for at, second in enumerate(graph.operators):
        before = makers.get(second.inputs[0])
        if before is None or users[second.inputs[0]] != 1:
            continue
        both = folded(graph, graph.operators[before], second)
        if both is not None:
            made = list(graph.operators)
            made[before] = replace(both, output=second.output)
            del made[at]
            return graph.with_operators(made), second.name
    return None


def _scale(graph: Graph, first: Operator, second: Operator) -> Operator | None:
    """(scale * (w · x) + bias) * s + o, of a layer that is not limited."""
    if not isinstance(first, Affine) or not isinstance(second, Scale) or _limited(first):
        return None
    rows, vectors = first.weight.rows, first.vectors if isinstance(first, Linear) else 1
    each = 1 if isinstance(first, Linear) else graph.size(first.output) // rows
    if len(second.scale) == 1:
        factor, offset = (np.broadcast_to(one, (rows,)) for one in (second.scale, second.offset))
    elif second.each == each and len(second.scale) == rows * vectors and _repeats(second, rows):
        factor, offset = second.scale[:rows], second.offset[:rows]
    else:
        return None
    bias = (first.bias.astype(np.float64) * factor + offset).astype(np.float32)
    return _limited_as(replace(first, scale=first.scale * factor, bias=bias), second)


def _repeats(scale: Scale, rows: int) -> bool:
    """Whether all vectors are scaled alike."""
    return all(np.array_equal(np.tile(one[:rows], len(one) // rows), one) for one in (scale.scale, scale.offset))


def _limited(operator: Clipped) -> bool:
    return operator.low > -np.inf or operator.high < np.inf


def _limited_as(operator: Clipped, limits: Clipped) -> Clipped:
    return replace(operator, low=limits.low, high=limits.high)


def _clip(graph: Graph, first: Operator, second: Operator) -> Operator | None:
    if not isinstance(first, Clipped) or not isinstance(second, Clip):
        return None
    low, high = (float(np.clip(limit, second.low, second.high)) for limit in (first.low, first.high))
    return replace(first, low=low, high=high)


def _through_view(graph: Graph, first: Operator, second: Operator) -> Operator | None:
    """A view of the last state alone: only that is written."""
    if not isinstance(first, Recurrent) or not isinstance(second, View) or first.steps == 1 or first.last:
        return None
    at = 0 if first.backward else (first.steps - 1) * first.hidden
    return replace(first, last=True) if (second.offset, second.size) == (at, first.hidden) else None


_FOLDS: dict[str, Fold] = {
    "BatchNorm or scale": _scale,
    "limit": _clip,
    "last state": _through_view,
}
