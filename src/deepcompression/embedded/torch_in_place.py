"""Operations of a torch program that change a value in place: those whose change the graph for boards would lose."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import fx

# in the mode `eval` they give their input itself
_NOTHING = ("dropout", "feature_dropout", "alpha_dropout")


class Lost(NamedTuple):
    """An operation, and why its change would be lost."""

    node: fx.Node
    reason: str


def lost_changes(nodes: Iterable[fx.Node], state: Collection[str]) -> Iterator[Lost]:
    """Operations in place whose change is read through another value of the same memory, or that change the state.

    state  names of the nodes that are the model's parameters and buffers

    Where a later operation takes the changed value itself, the program names the result of the change instead. A view
    that was made before would be read as it was.
    """
    order = list(nodes)
    places = {node: place for place, node in enumerate(order)}
    memory: dict[fx.Node, fx.Node] = {}
    for node in order:
        taken = _shared(node)
        memory[node] = node if taken is None else memory[taken]
    for place, node in enumerate(order):
        if not _changes(node):
            continue
        own = memory[node]
        if own.name in state:
            yield Lost(node, "it changes the model's state, which a board does not keep")
        for other in order[:place]:
            if memory[other] is own and any(places[user] > place for user in other.users):
                yield Lost(node, f"it changes its input in place, which is read again as {other}: compute a new value")
                break


def _shared(node: fx.Node) -> fx.Node | None:
    """The input whose memory a node gives."""
    first = node.args[0] if node.op == "call_function" and node.args else None
    if not isinstance(first, fx.Node):
        return None
    if not isinstance(node.target, torch._ops.OpOverload):
        return first
    aliased = node.target._schema.arguments[0].alias_info is not None
    return first if aliased or str(node.target.overloadpacket).removeprefix("aten.") in _NOTHING else None


def _changes(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
