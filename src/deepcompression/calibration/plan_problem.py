"""The problem that a plan solves: the weights of a network with inputs, or weights alone, and how to fit them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression.calibration.calibrate import Calibrated, Calibration, finite
from deepcompression.calibration.network import Network, change
from deepcompression.common.messages import some
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.error_cost import Metric
from deepcompression.sharing.fit import fit_penalty
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor

if TYPE_CHECKING:
    from torch.nn import Module


class Problem(NamedTuple):
    """The weights of a file, and the cost of sharing them.

    tensors  all of the file, by name, as they are now
    units    the units of penalties, by the names of the weights to share
    fit      shares a weight at a penalty
    measure  the change of the outputs if these tensors replace their own
    """

    tensors: Mapping[str, Tensor | Tie]
    units: dict[str, float]
    fit: Callable[[str, float], Calibrated]
    measure: Callable[[Mapping[str, Tensor]], float]

    @classmethod
    def of_network(cls, network: Network, tensors: Mapping[str, Tensor | Tie], exact: Container[str] = ()) -> Problem:
        """A network with its inputs, and all tensors of its file; those named in `exact` stay as they are.

        Raises the errors of `calibrate`, and ValueError if no weight is left.
        """
        names = [name for name in network.roles if name not in exact]
        _check_some(names, tensors, exact)
        calibration = Calibration(network, names)
        outputs = network.outputs({})

        def fit(name: str, penalty: float) -> Calibrated:
            return calibration.apply(name, Rule(tensor=name, share=Share(penalty=penalty)))

        def measure(replaced: Mapping[str, Tensor]) -> float:
            return change(network.outputs({name: tensor.numpy() for name, tensor in replaced.items()}), outputs)

        # errors of a weight that no output depends on cost nothing at any penalty
        return cls(tensors, {name: max(calibration.unit(name), 1e-30) for name in names}, fit, measure)

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor | Tie], exact: Container[str] = ()) -> Problem:
        """Tensors alone; those named in `exact` stay as they are. Raises ValueError if no weight is left.

        The change of the weights counts as that of the outputs, each tensor's relative to itself.
        """
        own = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie) and name not in exact}
        weights = {name: finite(name, own[name].numpy()).reshape(1, 1, -1) for name in _matrices(own)}
        _check_some(weights, tensors, exact)
        energies = {
            name: max(float(np.square(weight, dtype=np.float64).sum()), 1e-30) for name, weight in weights.items()
        }

        def metric(name: str) -> Metric:
            return Metric.diagonal(np.full((1, 1), 1 / energies[name], np.float32), weights[name].shape[2])

        def fit(name: str, penalty: float) -> Calibrated:
            fitted = fit_penalty(weights[name], metric(name), penalty)
            return Calibrated(fitted.compressed(own[name].shape, own[name].dtype), {}, fitted.cost)

        def measure(replaced: Mapping[str, Tensor]) -> float:
            errors = 0.0
            for name, tensor in replaced.items():
                error = tensor.numpy().astype(np.float32).reshape(-1) - weights[name].reshape(-1)
                errors += float(np.square(error).sum(dtype=float)) / energies[name]
            return math.sqrt(errors / max(1, len(weights)))

        return cls(tensors, {name: max(metric(name).unit(weights[name]), 1e-30) for name in weights}, fit, measure)

    @classmethod
    def of_model(cls, model: Module, batches: Iterable[Any] | None, exact: Container[str] = ()) -> Problem:
        """A torch model, with calibration inputs or alone. Raises the errors of the other two."""
        from deepcompression.calibration.torch_network import TorchNetwork
        from deepcompression.training.model_tensors import read_model

        tensors = read_model(model)
        # the parts of quantized weights, and of those that others parametrize, stay as they are
        parts = tensors.keys() - {name for target in targets_of(model) if not target.part_of for name in target.names}
        exact = parts | {name for name in tensors if name in exact}
        if batches is None:
            return cls.of_tensors(tensors, exact)
        return cls.of_network(TorchNetwork(model, batches), tensors, exact)

    def weights(self) -> dict[str, Tensor]:
        """The weights to share, as they are now."""
        return {name: tensor for name in self.units if not isinstance(tensor := self.tensors[name], Tie)}


def _check_some(names: Collection[str], tensors: Mapping[str, Tensor | Tie], exact: Container[str]) -> None:
    """Raises ValueError, with the reason, if there are no names of weights to share."""
    if names:
        return
    found = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie)}
    why = ["there is no weight of two or more dimensions to be shared"]
    if unknown := [name for name in _matrices(found) if name not in exact]:
        why.append(
            f"no layer is known to multiply by {some(unknown)} (without calibration inputs they are shared, too)"
        )
    if kept := [name for name in found if name in exact]:
        why.append(f"packed and exact tensors are kept bit for bit ({some(kept)})")
    raise ValueError("; ".join(why))


def _matrices(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of weights of two or more dimensions."""
    return [
        target.name for target in targets_of(tensors) if target.floating and len(target.shape) >= 2 and target.count
    ]
