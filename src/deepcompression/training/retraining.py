"""The paper's further steps in retraining a pruned model: scaled dropout, frozen parts, dead neurons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.common.extras import named_extra
from deepcompression.common.messages import listed
from deepcompression.recipe.hints import whole_name
from deepcompression.recipe.targets import plain_modules, targets_of

if TYPE_CHECKING:
    from torch.nn import Module


def scaled_dropout(rate: float, density: float) -> float:
    """The dropout rate for a pruned layer: rate x sqrt(survivors / weights) (companion paper, section 3.2)."""
    if not (0 <= rate <= 1 and 0 <= density <= 1):
        raise ValueError(f"rate and density are from 0 to 1; found {rate} and {density}")
    return rate * math.sqrt(density)


@contextmanager
def freeze(model: Module, *modules: str) -> Iterator[None]:
    """Trains no parameter of the modules named (globs) within the block: one part is frozen while another retrains.

    Raises ValueError for a pattern that matches no module.
    """
    frozen = []
    for pattern in modules:
        found = [module for name, module in plain_modules(model) if fnmatchcase(name, pattern)]
        if not found:
            names = [name for name, _ in plain_modules(model) if name]
            raise ValueError(f"{pattern!r} matches no module{whole_name(pattern, names)}; there are {listed(names)}")
        frozen += [parameter for module in found for parameter in module.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


class DeadNeurons(NamedTuple):
    """Indices of outputs (rows; in transposed convolutions columns) and of inputs that have only zeros."""

    outputs: NDArray[np.int64]
    inputs: NDArray[np.int64]


@named_extra()
def dead_neurons(model: Module) -> Mapping[str, DeadNeurons]:
    """Rows and columns without a survivor, by tensor, for the weights of at least two dimensions that have any.

    A neuron whose inputs are all pruned is a constant; one whose outputs are all pruned has no effect. Both could be
    removed (companion paper, section 3.5); this changes nothing. It gathers sharded weights: call it on all ranks.
    """
    from deepcompression.training.attach import dense
    from deepcompression.training.sharded import settle

    settle(model)
    dead = {}
    for target in targets_of(model):
        if not target.weight:
            continue
        survives = (dense(target) != 0).cpu().numpy()
        others = tuple(range(2, survives.ndim))
        outputs = np.flatnonzero(~survives.any(axis=(1, *others)))
        inputs = np.flatnonzero(~survives.any(axis=(0, *others)))
        if getattr(target.places[0][0], "transposed", False):
            outputs, inputs = inputs, outputs
        if len(outputs) or len(inputs):
            dead[target.name] = DeadNeurons(outputs, inputs)
    return dead
