"""If nodes whose condition is the same for all calibration inputs, replaced by the branch that these take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from deepcompression.calibration.onnx_parts import fed, session_of
from deepcompression.checkpoint.onnx.graph import taken_by
from deepcompression.tensors.dtypes import Array


def inline_branches(model: Any, weights: Iterable[str], inputs: list[dict[str, Array]]) -> None:
    """Replaces If nodes of the main graph, and those in the branches that replace them, in place. Names in a branch get
    the prefix that its tensors have in a checkpoint. An If stays whose condition differs, or depends on weights.
    """
    kept = 0
    while True:
        nodes = model.graph.node
        found = [node for node in nodes if node.op_type == "If" and not _reads(nodes, node.input[0], set(weights))]
        if len(found) == kept:
            return
        kept = 0
        for node, values in zip(found, _conditions(model, found, inputs), strict=True):
            branch = "then_branch" if values[0] else "else_branch"
            if len(set(values)) > 1 or not _replace(model.graph, node, branch):
                kept += 1


def _reads(nodes: Iterable[Any], name: str, weights: set[str]) -> bool:
    """Whether a value is computed from a weight."""
    makers = {output: node for node in nodes for output in node.output}
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        if (value := waiting.pop()) not in seen:
            seen.add(value)
            waiting += taken_by(makers[value]) if value in makers else []
    return not seen.isdisjoint(weights)


def _conditions(model: Any, nodes: list[Any], inputs: list[dict[str, Array]]) -> list[list[bool]]:
    """The values of each If's condition, one for each run."""
    import onnx

    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    names = [f"condition {number}" for number in range(len(nodes))]
    for name, node in zip(names, nodes, strict=True):
        asked.graph.node.append(onnx.helper.make_node("Identity", [node.input[0]], [name]))
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = session_of(asked)
    try:
        found = [session.run(names, fed(batch)) for batch in inputs]
    except Exception as error:  # ONNX Runtime's own classes are not public
        raise ValueError(f"the calibration inputs do not fit the model: {error}") from error
    return [[bool(np.all(value)) for value in values] for values in zip(*found, strict=True)]


def _replace(graph: Any, node: Any, attribute: str) -> bool:
    """Puts the nodes of a branch in the place of its If. False, and nothing done, if names would collide."""
    import onnx

    branch = next(each.g for each in node.attribute if each.name == attribute)
    prefix = f"{node.name or node.output[0]}.{attribute}/"
    own = [name for inner in branch.node for name in inner.output if name] + [each.name for each in branch.initializer]
    new = {name: prefix + name for name in own}
    taken = {name for each in graph.node for name in each.output} | {each.name for each in graph.initializer}
    if branch.sparse_initializer or not taken.isdisjoint(new.values()):
        return False
    made = []
    for inner in branch.node:
        made.append(onnx.NodeProto())
        made[-1].CopyFrom(inner)
        _rename(made[-1], new)
        made[-1].name = f"{prefix}{inner.name}" if inner.name else ""
    for each, output in zip(branch.output, node.output, strict=False):
        if output:
            made.append(onnx.helper.make_node("Identity", [new.get(each.name, each.name)], [output]))
    for tensor in branch.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = new[tensor.name]
    every = list(graph.node)
    at = every.index(node)
    del graph.node[:]
    graph.node.extend([*every[:at], *made, *every[at + 1 :]])
    return True


def _rename(node: Any, new: Mapping[str, str]) -> None:
    """Renames what a node takes and makes, also in graphs inside it."""
    for names in (node.input, node.output):
        names[:] = [new.get(name, name) for name in names]
    for option in node.attribute:
        for graph in (*([option.g] if option.HasField("g") else []), *option.graphs):
            for inner in graph.node:
                _rename(inner, new)
            for output in graph.output:
                output.name = new.get(output.name, output.name)
