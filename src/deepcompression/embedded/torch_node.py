"""A node of a program of `torch.export`, as the functions of its operator read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from deepcompression.embedded.build import Builder, Named
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.graph import Floats
from deepcompression.tensors.dtypes import Array


class Node:
    """A node of the program, whose operator is to be added to `to`.

    value  what the node gives: the name of a value, or of each of a tuple
    """

    def __init__(
        self,
        builder: Builder,
        node: fx.Node,
        values: dict[str, Any],
        constant: Callable[[fx.Node], Named | None],
    ) -> None:
        self.to = builder
        self.output = node.name
        self.value: Any = node.name
        self._values = values
        self._constant = constant
        self._all = node.args
        self._options: dict[str, Any] = {}
        if isinstance(node.target, torch._ops.OpOverload):
            for at, each in enumerate(node.target._schema.arguments):
                given = node.args[at] if at < len(node.args) else node.kwargs.get(each.name, each.default_value)
                self._options[each.name] = given

    def get(self, name: str, missing: Any = None) -> Any:
        found = self._options.get(name)
        return missing if found is None else found

    def __getitem__(self, at: int) -> Any:
        """An argument by its place."""
        return self._all[at]

    def x(self, given: Any) -> str:
        """An argument that is a computed value."""
        found = self._values.get(given.name) if isinstance(given, fx.Node) else None
        if not isinstance(found, str):
            raise MissingError(f"its input {given} is no computed value")
        return found

    def parts(self, given: fx.Node) -> Sequence[str | None]:
        return [self._values[given.name]] if isinstance(self._values[given.name], str) else self._values[given.name]

    def named(self, given: Any) -> Named:
        found = self._constant(given) if isinstance(given, fx.Node) else None
        if found is None:
            raise MissingError(f"its input {given} is no constant")
        return found

    def number_or_constant(self, given: Any) -> Array | None:
        """A constant, or None for a computed value."""
        if not isinstance(given, fx.Node):
            return np.array(given, np.float32)
        found = self._constant(given)
        return None if found is None else found.values

    def floats(self, name: str) -> Floats | None:
        return None if self.get(name) is None else self.named(self.get(name)).floats

    @property
    def shape(self) -> tuple[int, ...]:
        return self.to.shapes[self.x(self[0])]


def each_axis(values: Any, count: int) -> list[int]:
    """A number for each axis, where one may stand for all."""
    found = [int(each) for each in (values if isinstance(values, list | tuple) else [values])]
    return found * count if len(found) == 1 else found
