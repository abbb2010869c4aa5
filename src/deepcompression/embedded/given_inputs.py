"""Inputs that a caller gives: one array whose first axis counts them, checked against the graph's input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepcompression.common.messages import listed
from deepcompression.embedded.graph import Floats, Graph, Shape
from deepcompression.tensors.dtypes import Array

# what stands in for inputs that nobody gave
_STANDARD, _SEED = 4, 0


class GivenInputs(NamedTuple):
    """arrays  float32 (count, elements)
    own        whether the caller gave them
    """

    arrays: Floats
    own: bool
    notes: tuple[str, ...] = ()


def one_array(inputs: Any) -> tuple[str | None, Array]:
    """The one array in what a caller gives, and its name if it has one. Raises TypeError or ValueError for others."""
    if isinstance(inputs, Mapping) or (isinstance(inputs, Sequence) and len(inputs) == 1):
        items = list(inputs.items()) if isinstance(inputs, Mapping) else [(None, inputs[0])]
        if len(items) != 1:
            raise ValueError(
                f"a network for boards takes one input; found the arrays {listed(name for name, _ in items) or 'none'}"
            )
        name, given = items[0]
    else:
        name, given = None, inputs
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    array = np.asarray(given)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"inputs are floats; found {array.dtype}: convert them as the model's training did")
    if array.ndim < 2 or not array.size:
        raise ValueError(f"inputs are an array whose first axis counts them; found the shape {list(array.shape)}")
    # a number beyond float32 is none there
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if bad := int(np.count_nonzero(~np.isfinite(array))):
        raise ValueError(f"the inputs have {bad} values that are not finite in float32: mend them")
    return None if name is None or re.fullmatch(r"arr_[0-9]+", name) else name, array


def inputs_for(graph: Graph, inputs: Any) -> GivenInputs:
    """The inputs for a graph: those given, or random ones of a fixed seed for None.

    Raises ValueError for another name or shape than the input's.
    """
    shape = graph.shapes[graph.input]
    if inputs is None:
        random = np.random.default_rng(_SEED).standard_normal((_STANDARD, graph.size(graph.input)))
        return GivenInputs(random.astype(np.float32), False, ("no inputs were given: the test runs random ones",))
    name, array = one_array(inputs)
    if name is not None and name != graph.input:
        raise ValueError(f"the input of the network is {graph.input}; found an array named {name}")
    if not _fits(array.shape, shape):
        batch = [list(shape[1:])] if shape[:1] == (1,) else []
        one = " or ".join(f"[count, {', '.join(map(str, each))}]" for each in (*batch, shape))
        raise ValueError(f"the inputs are {list(array.shape)}; expected {one}")
    return GivenInputs(array.reshape(len(array), -1), True)


def _fits(found: Shape, shape: Shape) -> bool:
    return found[1:] == shape or (shape[:1] == (1,) and found[1:] == shape[1:])
