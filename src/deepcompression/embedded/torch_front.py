"""A torch model -> the graph for boards, through `torch.export`; what is missing is named all at once."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import fx, nn

from deepcompression.embedded.build import Builder, Named
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.graph import Floats, Graph
from deepcompression.embedded.missing import Gaps
from deepcompression.embedded.torch_in_place import lost_changes
from deepcompression.embedded.torch_node import Node
from deepcompression.embedded.torch_operators import OPERATORS
from deepcompression.training.copy_model import copy_model
from deepcompression.training.stages import finalize


def graph_of_torch(model: nn.Module, inputs: Floats) -> Graph:
    """The graph of a model in the mode `eval`, dense, pruned or shared.

    inputs  one of them, with its batch axis of 1

    Raises ValueError for a model that `torch.export` cannot trace, for several inputs or outputs, and for operators
    that are missing.
    """
    plain = finalize(copy_model(model, {})[0]).to("cpu", torch.float32).eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # of recurrent layers, whose flat weights are no buffers
            warnings.filterwarnings("ignore", message=".*tensor attributes? .* assigned during export")
            program = torch.export.export(plain, (torch.from_numpy(inputs),), strict=False)
    # the model's own code may raise anything
    except Exception as error:
        raise ValueError(f"torch.export cannot trace the model ({type(error).__name__}: {error})") from error
    return _Front(program, tuple(inputs.shape)).graph


class _Front:
    def __init__(self, program: torch.export.ExportedProgram, shape: tuple[int, ...]) -> None:
        signature = program.graph_signature
        held: dict[str, Any] = {**program.state_dict, **program.constants}
        self.constants: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        for each in signature.input_specs:
            if each.target is not None:
                self.constants[each.arg.name] = held[each.target].detach()
                self.names[each.arg.name] = each.target
        inputs, outputs = signature.user_inputs, signature.user_outputs
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"the model takes {len(inputs)} inputs and gives {len(outputs)} outputs; expected one of each: wrap it "
                "in a module that joins or chooses them"
            )
        self.builder = Builder(str(inputs[0]), shape)
        # node -> its value, or the values of its tuple; None for a part that is missing
        self.values: dict[str, Any] = {str(inputs[0]): str(inputs[0])}
        self.unknown: set[str] = set()
        self.gaps = Gaps()
        for node, reason in lost_changes(program.graph.nodes, self.constants):
            self.gaps.add(_kind(node), _name(node), reason)
            self.unknown.add(node.name)
        needed = {str(outputs[0])}
        for node in reversed(program.graph.nodes):
            if node.op == "call_function" and node.name in needed:
                needed.update(each.name for each in node.all_input_nodes)
        for node in program.graph.nodes:
            if node.op == "call_function" and node.name in needed:
                self._take(node)
        self.gaps.check(OPERATORS)
        output = self.values.get(str(outputs[0]))
        if not isinstance(output, str) or output == self.builder.input:
            raise ValueError(f"the output {outputs[0]} does not depend on a layer: there is nothing to run")
        self.graph = self.builder.graph(output)

    def _take(self, node: fx.Node) -> None:
        taken = [each.name for each in node.all_input_nodes]
        if all(name in self.constants for name in taken):
            self._fold(node, taken)
            return
        name, kind = _name(node), _kind(node)
        make = OPERATORS.get(kind)
        if make is None:
            self.gaps.add(kind, name)
        elif self.unknown.isdisjoint(taken):
            self.builder.name = name
            try:
                made = Node(self.builder, node, self.values, self._constant)
                make(made)
                self.values[node.name] = made.value
                return
            except MissingError as error:
                self.gaps.add(kind, name, str(error))
        self.unknown.add(node.name)

    def _fold(self, node: fx.Node, taken: list[str]) -> None:
        """Computes a node that takes constants alone."""
        assert callable(node.target)
        with torch.no_grad():
            args, options = fx.map_arg((node.args, node.kwargs), lambda each: self.constants[each.name])
            self.constants[node.name] = node.target(*args, **options)
        self.names[node.name] = next((self.names[name] for name in taken), node.name)

    def _constant(self, node: fx.Node) -> Named | None:
        found = self.constants.get(node.name)
        if not isinstance(found, torch.Tensor):
            return None
        return Named(self.names[node.name], found.to(torch.float32).numpy())


def _kind(node: fx.Node) -> str:
    """The operator's name without that of its overload: aten.add, getitem."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target.overloadpacket).removeprefix("aten.")
    return str(getattr(node.target, "__name__", node.target))


def _name(node: fx.Node) -> str:
    """The path of the module that a node comes from, or the node's own name."""
    path = [str(each[0]) for each in node.meta.get("nn_module_stack", {}).values() if each[0]]
    return path[-1] if path else node.name
