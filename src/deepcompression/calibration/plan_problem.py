"""The problem that a plan solves: the weights of a network with inputs, or weights alone, and how to fit them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression.calibration.calibrate import Calibrated, Calibration
from deepcompression.calibration.comparison import Comparison
from deepcompression.calibration.network import Network
from deepcompression.common.messages import some
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import Target, targets_of
from deepcompression.recipe.values import note_on_kind, why_kept
from deepcompression.sharing.error_cost import Metric
from deepcompression.sharing.fit import exponent_of, fit_penalty, times_power
from deepcompression.sharing.share_weights import Share
from deepcompression.tensors.dtypes import Floats
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import Tensor

if TYPE_CHECKING:
    from torch.nn import Module


# Plans take the weights that a preset would take.
_SHARED = Rule(module="*", share=Share(bits=8))


class Problem(NamedTuple):
    """The weights of a file, and the cost of sharing them.

    tensors  all of the file, by name, as they are now
    units    the units of penalties, by the names of the weights to share
    fit      shares a weight at a penalty
    measure  the change that a target bounds, if these tensors replace their own: the larger one of the outputs on the
             inputs that are held back, and on the others; without inputs the change of the weights
    outputs  measures the change of the outputs on the inputs that are held back; None without inputs
    notes    why tensors stay as they are that seem to be weights, for people
    """

    tensors: Mapping[str, Tensor | Tie]
    units: dict[str, float]
    fit: Callable[[str, float], Calibrated]
    measure: Callable[[Mapping[str, Tensor]], float]
    outputs: Comparison | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_network(
        cls, network: Network, tensors: Mapping[str, Tensor | Tie], exact: Container[str] = (), *, trained: bool = False
    ) -> Problem:
        """A network with its inputs, and all tensors of its file; those named in `exact` stay as they are.

        trained  whether its weights are known to be trained

        Raises the errors of `calibrate`, and ValueError if no weight is left.
        """
        targets = {target.name: target for target in _targets(tensors, exact)}
        used = [targets[name] for name in network.roles if name in targets and targets[name].weight]
        names, notes = _weights(used, tensors, trained, squares=True)
        unknown = [name for name, each in targets.items() if each.weight and each.count and name not in network.roles]
        notes = (*notes, *_notes_on_kinds(targets.values(), tensors))
        _check_some(names, targets.values(), notes, unknown)
        if unknown:
            notes = (*notes, f"no layer is known to multiply by {some(unknown)}: stored as it is")
        seen, held = network.split()
        calibration = Calibration(seen, names)
        outputs = Comparison(held or seen, held is not None)
        every = [outputs] if held is None else [outputs, Comparison(seen, held_back=False)]

        def fit(name: str, penalty: float) -> Calibrated:
            return calibration.apply(name, Rule(tensor=name, share=Share(penalty=penalty)))

        def measure(replaced: Mapping[str, Tensor]) -> float:
            return max(each.change(replaced).change for each in every)

        # errors of a weight that no output depends on cost nothing at any penalty
        units = {name: max(calibration.unit(name), 1e-30) for name in names}
        return cls(tensors, units, fit, measure, outputs, notes)

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor | Tie], exact: Container[str] = (), *, trained: bool = False
    ) -> Problem:
        """Tensors alone; those named in `exact` stay as they are.

        trained  whether the others are known to be trained

        The change of the weights counts in the place of that of the outputs, each tensor's relative to itself. Raises
        ValueError if no weight is left, and for weights that were trained but are not finite.
        """
        targets = _targets(tensors, exact)
        names, notes = _weights([target for target in targets if target.weight and target.count], tensors, trained)
        own = {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie)}
        notes = (*notes, *_notes_on_kinds(targets, tensors))
        _check_some(names, targets, notes)
        exponents = {name: exponent_of(float(np.abs(own[name].numpy()).max())) for name in names}

        def scaled(name: str, tensor: Tensor) -> Floats:
            values: Floats = times_power(tensor.numpy(), -exponents[name]).astype(np.float32)
            return values.reshape(1, 1, -1)

        weights = {name: scaled(name, own[name]) for name in names}
        energies = {
            name: max(float(np.square(weight, dtype=np.float64).sum()), 1e-30) for name, weight in weights.items()
        }

        def metric(name: str) -> Metric:
            return Metric.diagonal(np.full((1, 1), 1 / energies[name], np.float32), weights[name].shape[2])

        def fit(name: str, penalty: float) -> Calibrated:
            fitted = fit_penalty(weights[name], metric(name), penalty)
            tensor = fitted.compressed(own[name].shape, own[name].dtype, exponent=exponents[name])
            return Calibrated(tensor, {}, fitted.cost)

        def measure(replaced: Mapping[str, Tensor]) -> float:
            errors = 0.0
            for name, tensor in replaced.items():
                error = scaled(name, tensor) - weights[name]
                errors += float(np.square(error).sum(dtype=float)) / energies[name]
            return math.sqrt(errors / max(1, len(weights)))

        units = {name: max(metric(name).unit(weights[name]), 1e-30) for name in weights}
        return cls(tensors, units, fit, measure, notes=notes)

    @classmethod
    def of_model(cls, model: Module, batches: Iterable[Any] | None, exact: Container[str] = ()) -> Problem:
        """A torch model, with calibration inputs or alone. Raises the errors of the other two."""
        from deepcompression.calibration.torch_network import TorchNetwork
        from deepcompression.training.model_tensors import read_model

        tensors = read_model(model)
        # buffers, elementwise tensors and the parts of weights that others quantize or parametrize stay as they are
        targets = targets_of(model)
        weights = {name for target in targets if target.weight for name in target.names}
        exact = {name for name in tensors if name not in weights or name in exact}
        if batches is None:
            found = cls.of_tensors(tensors, exact, trained=True)
        else:
            found = cls.of_network(TorchNetwork(model, batches), tensors, exact, trained=True)
        elementwise = [each for each in targets if each.elementwise and each.floating and len(each.shape) >= 2]
        return found._replace(notes=(*found.notes, *filter(None, (note_on_kind(each, "") for each in elementwise))))

    def weights(self) -> dict[str, Tensor]:
        """The weights to share, as they are now."""
        return {name: tensor for name in self.units if not isinstance(tensor := self.tensors[name], Tie)}


def _targets(tensors: Mapping[str, Tensor | Tie], exact: Container[str]) -> list[Target]:
    """The targets among the tensors of a file, without ties."""
    return targets_of({name: tensor for name, tensor in tensors.items() if not isinstance(tensor, Tie)}, exact)


def _notes_on_kinds(targets: Iterable[Target], tensors: Mapping[str, Tensor | Tie]) -> list[str]:
    """A note on each target whose kind alone keeps it from being a weight."""
    own = {name: tensor.dtype for name, tensor in tensors.items() if not isinstance(tensor, Tie)}
    return [note for each in targets if len(each.shape) >= 2 and (note := note_on_kind(each, own[each.name]))]


def _weights(
    targets: Iterable[Target], tensors: Mapping[str, Tensor | Tie], trained: bool, squares: bool = False
) -> tuple[list[str], tuple[str, ...]]:
    """The names of the targets whose values are weights, and a note on each of the others."""
    names, notes = [], []
    for target in targets:
        tensor = tensors[target.name]
        assert not isinstance(tensor, Tie)
        if note := why_kept(
            replace(target, trained=trained or None), _SHARED, tensor.dense(), squares=squares, refuse=trained
        ):
            notes.append(note)
        else:
            names.append(target.name)
    return names, tuple(notes)


def _check_some(
    names: Collection[str], targets: Iterable[Target], notes: Iterable[str], unknown: Collection[str] = ()
) -> None:
    """Raises ValueError, with the reason, if there are no names of weights to share."""
    if names:
        return
    why = ["there is no weight of two or more dimensions to be shared"]
    if unknown:
        why.append(
            f"no layer is known to multiply by {some(unknown)} (without calibration inputs they are shared, too)"
        )
    if kept := [target.name for target in targets if target.exact]:
        why.append(f"packed and exact tensors are kept bit for bit ({some(kept)})")
    raise ValueError("; ".join([*why, *notes]))
