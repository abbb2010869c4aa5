"""The effect of a compression: a network's outputs compared with those of its own weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from deepcompression.calibration.network import Network, Outputs, change, change_of_each
from deepcompression.file.effect import OutputsChange, WeightChange
from deepcompression.tensors.change import change_between
from deepcompression.tensors.dtypes import Array
from deepcompression.tensors.tensor import Tensor


class Comparison:
    """The outputs of a network with its own weights, to compare those of other weights with.

    held_back  whether calibration does not see the network's inputs
    """

    def __init__(self, network: Network, held_back: bool) -> None:
        self.network, self.held_back = network, held_back

    @cached_property
    def exact(self) -> Outputs:
        return self.network.outputs({})

    def change(self, replaced: Mapping[str, Tensor]) -> OutputsChange:
        """The change of the outputs if these tensors replace their own: one run of the inputs."""
        found = self.network.outputs({name: tensor.numpy() for name, tensor in replaced.items()})
        by_output = change_of_each(found, self.exact)
        return OutputsChange(change(found, self.exact), self.network.count, self.held_back, by_output)

    def unmeasured(self) -> OutputsChange:
        """What `change` will give, with zeros for the changes."""
        return OutputsChange(0.0, self.network.count, self.held_back, dict.fromkeys(self.exact, 0.0))


def weight_change(name: str, before: Array, after: Array, part: float | None) -> WeightChange:
    """The change of a weight; `part` of the squared change of the outputs comes from it."""
    survivors = np.count_nonzero(before)
    kept = np.count_nonzero(after) / survivors if survivors else 1.0
    return WeightChange(name, change_between(before, after), kept, part)
