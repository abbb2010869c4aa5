"""The problem that a plan solves: the weights of a network with inputs, or weights alone; how they are fitted."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression.calibration.calibrate import Calibrated, Calibration
from deepcompression.calibration.network import Network, change
from deepcompression.common.messages import some
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.error_cost import Floats, Metric
from deepcompression.sharing.fit import fit_penalty
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor

if TYPE_CHECKING:
    from torch.nn import Module


class Problem(NamedTuple):
    """The weights of a file, and what it costs to share them.

    tensors  all of the file, by name, as they are now
    units    of the weights that are shared: what penalties are multiples of
    fit      shares a weight at a penalty
    measure  the change of the outputs with those tensors replaced
    """

    tensors: Mapping[str, Tensor | Tie]
    units: dict[str, float]
    fit: Callable[[str, float], Calibrated]
    measure: Callable[[Mapping[str, Tensor]], float]

    @classmethod
    def of_network(cls, network: Network, tensors: Mapping[str, Tensor | Tie], exact: Container[str] = ()) -> Problem:
        """A network with its inputs, and all tensors of its file. Those named in `exact` are not to be shared.

        Raises what `calibrate` does, and ValueError if no weight is left.
        """
        names = [name for name in network.roles if name not in exact]
        _check_some(names, tensors, exact)
        calibration = Calibration(network, names)
        outputs = network.outputs({})
        dtypes = {name: network.dtype(name) for name in names}

        def fit(name: str, penalty: float) -> Calibrated:
            return calibration.apply(name, Rule(tensor=name, share=Share(penalty=penalty)), dtypes[name])

        def measure(replaced: Mapping[str, Tensor]) -> float:
            return change(network.outputs({name: tensor.numpy() for name, tensor in replaced.items()}), outputs)

        units = {name: calibration.unit(name) for name in names}
        # what the outputs do not depend on costs nothing at any penalty
        return cls(tensors, {name: max(unit, 1e-30) for name, unit in units.items()}, fit, measure)

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor | Tie], exact: Container[str] = ()) -> Problem:
        """Tensors alone: the change of the outputs is taken to be that of the weights, each tensor's relative to
        itself. Those named in `exact` are not to be shared. Raises ValueError if no weight is left.
        """
        own = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie) and name not in exact}
        names = _matrices(own)
        _check_some(names, tensors, exact)
        weights: dict[str, Floats] = {}
        energies: dict[str, float] = {}
        for name in names:
            weights[name] = own[name].numpy().astype(np.float32).reshape(1, 1, -1)
            if not np.isfinite(weights[name]).all():
                raise ValueError(f"{name} has weights that are NaN, infinite or beyond float32; mend the training")
            energies[name] = max(float(np.square(weights[name], dtype=np.float64).sum()), 1e-30)

        def metric(name: str) -> Metric:
            return Metric.diagonal(np.full((1, 1), 1 / energies[name], np.float32), weights[name].shape[2])

        def fit(name: str, penalty: float) -> Calibrated:
            fitted = fit_penalty(weights[name], metric(name), penalty)
            return Calibrated(fitted.compressed(own[name].shape, own[name].dtype), None, fitted.cost)

        def measure(replaced: Mapping[str, Tensor]) -> float:
            errors = 0.0
            for name, tensor in replaced.items():
                error = tensor.numpy().astype(np.float32).reshape(-1) - weights[name].reshape(-1)
                errors += float(np.square(error).sum(dtype=float)) / energies[name]
            return math.sqrt(errors / max(1, len(weights)))

        return cls(tensors, {name: max(metric(name).unit(weights[name]), 1e-30) for name in names}, fit, measure)

    @classmethod
    def of_model(cls, model: Module, batches: Iterable[Any] | None, exact: Container[str] = ()) -> Problem:
        """A torch model, with calibration inputs or alone, as the other two."""
        from deepcompression.calibration.torch_network import TorchNetwork
        from deepcompression.training.model_tensors import read_model

        tensors = read_model(model)
        # what quantized weights are made of
        parts = tensors.keys() - {name for target in targets_of(model) for name in target.names}
        exact = parts | {name for name in tensors if name in exact}
        if batches is None:
            return cls.of_tensors(tensors, exact)
        return cls.of_network(TorchNetwork(model, batches), tensors, exact)

    def weights(self) -> dict[str, Tensor]:
        """Those that are shared, as they are now."""
        found = {name: self.tensors[name] for name in self.units}
        return {name: tensor for name, tensor in found.items() if not isinstance(tensor, Tie)}


def _check_some(names: list[str], tensors: Mapping[str, Tensor | Tie], exact: Container[str]) -> None:
    """Raises ValueError, with the reason, if there are no names of weights to be shared."""
    if names:
        return
    found = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie)}
    unknown = [name for name in _matrices(found) if name not in exact]
    kept = [name for name in found if name in exact]
    why = []
    if unknown:
        why.append(
            f"no layer is known to multiply by {some(unknown)} (without calibration inputs such are shared, too)"
        )
    if kept:
        why.append(f"what is packed or exact is kept bit for bit ({some(kept)})")
    raise ValueError("; ".join(["there is no weight of two or more dimensions to be shared", *why]))


def _matrices(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of weights of two or more dimensions."""
    return [
        target.name for target in targets_of(tensors) if target.floating and len(target.shape) >= 2 and target.count
    ]
