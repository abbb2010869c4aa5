"""A node of an ONNX model, as the functions of its operator read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompression.embedded.build import Builder, Named
from deepcompression.embedded.geometry import MissingError
from deepcompression.embedded.graph import Floats, as_floats
from deepcompression.tensors.dtypes import Array

if TYPE_CHECKING:
    from onnx import NodeProto


class Node:
    """A node of the model, whose operator is to be added to `builder`."""

    def __init__(self, builder: Builder, node: NodeProto, constants: Mapping[str, Named], opset: int) -> None:
        from onnx.helper import get_attribute_value

        self.to = builder
        self.opset = opset
        self.inputs: list[str] = list(node.input)
        self.outputs: list[str] = list(node.output)
        self._constants = constants
        self._attributes = {each.name: get_attribute_value(each) for each in node.attribute}

    def get(self, name: str, missing: Any = None) -> Any:
        """An attribute."""
        found = self._attributes.get(name, missing)
        return found.decode() if isinstance(found, bytes) else found

    def x(self, at: int = 0) -> str:
        """An input that is a computed value."""
        if not self.given(at) or self.inputs[at] in self._constants:
            raise MissingError(f"its input {at} is a constant")
        return self.inputs[at]

    def given(self, at: int) -> bool:
        return at < len(self.inputs) and bool(self.inputs[at])

    def named(self, at: int) -> Named:
        """An input that is a constant."""
        found = self._constants.get(self.inputs[at]) if self.given(at) else None
        if found is None:
            raise MissingError(f"its input {at} is no constant")
        return found

    def constant(self, at: int) -> Array | None:
        """An input that is a constant, or left out."""
        return self.named(at).values if self.given(at) else None

    def floats(self, at: int) -> Floats | None:
        found = self.constant(at)
        return None if found is None else as_floats(found)

    def numbers(self, attribute: str, at: int) -> list[int] | None:
        """Numbers that older models have in an attribute, newer ones in an input."""
        found = self.get(attribute) if attribute in self._attributes else self.constant(at)
        return None if found is None else [int(each) for each in np.reshape(found, -1)]

    def is_constant(self, at: int) -> bool:
        return self.inputs[at] in self._constants

    @property
    def shape(self) -> tuple[int, ...]:
        return self.to.shapes[self.x()]

    @property
    def output(self) -> str:
        return self.outputs[0]
