"""The int8 scale of every value of a graph, from calibration inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from deepcompression.embedded.graph import Concat, Copy, Floats, Graph, MaxPool, Recurrent, Softmax, View
from deepcompression.embedded.simulate_float import simulate_float
from deepcompression.tensors.grid import digits_on_grid

MOST = 127

# The ranges that are tried, relative to the largest value: a smaller one clips some values, and rounds the others
# finer.
_RATIOS = tuple(round(1 - 0.05 * step, 2) for step in range(15))

# inputs that are run at once
_BATCH = 32


def scales_of(graph: Graph, inputs: Floats) -> dict[str, float]:
    """The scale of each value, of least squared error on these inputs (count, ...). Raises ValueError, naming the
    layer, for values that are not finite.
    """
    largest: dict[str, float] = {}
    for values in _runs(graph, inputs):
        for name, each in values.items():
            if not np.isfinite(each).all():
                raise ValueError(
                    f"the calibration inputs make {name} infinite or no number: mend the weights or the inputs"
                )
            largest[name] = max(largest.get(name, 0.0), float(np.abs(each).max()))
    errors = {name: np.zeros(len(_RATIOS)) for name in largest}
    for values in _runs(graph, inputs):
        for name, each in values.items():
            errors[name] += [squared_error(each, _step(largest[name], ratio)) for ratio in _RATIOS]
    found = {name: _step(largest[name], _RATIOS[int(np.argmin(error))]) for name, error in errors.items()}
    return found | _fixed(graph, found)


def _fixed(graph: Graph, chosen: Mapping[str, float]) -> dict[str, float]:
    """The scales of values that no calibration chooses."""
    found = dict(chosen)
    for each in graph.operators:
        taken = {found[name] for name in each.inputs}
        if isinstance(each, MaxPool | Copy | View | Concat) and len(taken) == 1:
            found[each.output] = taken.pop()
        elif isinstance(each, Softmax):
            found[each.output] = 1 / MOST
        elif isinstance(each, Recurrent):
            found[each.output] = 1 / 128
    return found


def _runs(graph: Graph, inputs: Floats) -> Iterator[dict[str, Floats]]:
    for start in range(0, len(inputs), _BATCH):
        yield simulate_float(graph, inputs[start : start + _BATCH])


def _step(largest: float, ratio: float) -> float:
    """The size of a step, as float32; of 1 / 127 where all values are zero."""
    step = float(np.float32(largest * ratio / MOST))
    return step if step > 0 else 1 / MOST


def squared_error(values: Floats, step: float) -> float:
    return float(np.square(values - quantized(values, step) * np.float32(step), dtype=np.float64).sum())


def quantized(values: Floats, step: float) -> Floats:
    """The nearest integers from -127 to 127, still as floats."""
    found: Floats = np.clip(np.rint(values / np.float32(step)), -MOST, MOST)
    return found


def step_of_weights(values: Floats) -> float:
    """The scale of a layer's weights: exact where they are on an int8 grid, else of least squared error."""
    distinct = np.unique(values)
    if len(distinct) <= 2 * MOST + 1 and (grid := digits_on_grid(distinct)) is not None and grid.grid == "int8":
        return grid.scale
    largest = float(np.abs(values).max(initial=0))
    steps = [_step(largest, ratio) for ratio in _RATIOS]
    return min(steps, key=lambda step: squared_error(values, step))
