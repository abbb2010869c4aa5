"""Weights pruned and shared so that the outputs of their network change least, with some hundred unlabelled inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression.calibration.network import Layout, Network, metric_of
from deepcompression.recipe.groups import recipe_digest
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import targets_of
from deepcompression.sharing.error_cost import Floats, Metric
from deepcompression.sharing.fit import Fitted, fit_penalty, fit_share, prune_mask
from deepcompression.tensors.dtypes import Array, narrow
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor

if TYPE_CHECKING:
    from torch.nn import Module


class Calibrated(NamedTuple):
    """One weight, fitted.

    tensor  shared, or dense with zeros if it is only pruned
    bias    the name of the bias that makes up for the mean error, and what it is then; None if there is none
    cost    what its error changes the outputs by, squared, relative to them, as far as its metric knows
    """

    tensor: CompressedTensor | DenseTensor
    bias: tuple[str, DenseTensor] | None
    cost: float

    def replaced(self, name: str) -> dict[str, CompressedTensor | DenseTensor]:
        """The tensors in the place of the weight of that name, and of its bias."""
        return {name: self.tensor, **({} if self.bias is None else dict([self.bias]))}


class _Measured(NamedTuple):
    """The cost of errors of a network's weights, by name; the mean inputs of those that have a bias."""

    metrics: dict[str, Metric]
    means: dict[str, Array]


def _measured(network: Network, names: list[str]) -> _Measured:
    found = _Measured({}, {})
    layouts = {name: network.roles[name].layout for name in names}
    gains = network.gains(names)
    # by parts, so that the second moments of all layers are not held at once
    for part in _parts(layouts):
        moments = network.moments(part)
        for name in part:
            own = moments.pop(name, None)
            centered = own is not None and network.roles[name].bias is not None
            if own is not None and centered:
                found.means[name] = own.trust() * own.mean()
            found.metrics[name] = metric_of(layouts[name], own, gains[name], centered)
    return found


class Calibration:
    """A network's weights fitted by what was measured of it.

    names  the weights to be fitted
    """

    def __init__(self, network: Network, names: Iterable[str]) -> None:
        self.network = network
        names = list(names)
        self._layouts = {name: network.roles[name].layout for name in names}
        self._biases = {name: network.roles[name].bias for name in names}
        self.metrics, self._means = _measured(network, names)

    def matrices(self, name: str) -> Floats:
        """A weight as (groups, rows, columns). Raises ValueError if it is not finite."""
        weight = self.network.weight(name)
        with np.errstate(over="ignore"):
            values = weight.astype(np.float32)
        if not np.isfinite(values).all():
            bad = np.count_nonzero(~np.isfinite(values))
            raise ValueError(f"{name} has {bad} weights that are NaN, infinite or beyond float32; mend the training")
        return self._layouts[name].matrices(values)

    def unit(self, name: str) -> float:
        """The squared change of the outputs for the loss of a weight of mean square: the unit of penalties."""
        return self.metrics[name].unit(self.matrices(name))

    def apply(self, name: str, rule: Rule, dtype: str) -> Calibrated:
        """A weight pruned and shared as a rule says."""
        weight, metric, layout = self.matrices(name), self.metrics[name], self._layouts[name]
        share, prune = rule.share, rule.prune
        density = 1.0 if prune is None or prune.density is None else prune.density
        survives = None if prune is None else prune_mask(weight, metric, density)
        if share is None:
            assert survives is not None
            kept = np.where(survives, weight, np.float32(0))
            cost = metric.cost(weight - kept)
            values = np.where(layout.tensor(survives), self.network.weight(name), 0)
            tensor: CompressedTensor | DenseTensor = DenseTensor(dtype, narrow(values, dtype))
        else:
            if share.penalty is not None:
                fitted: Fitted = fit_penalty(weight, metric, share.penalty, survives)
            else:
                assert share.bits is not None
                fitted = fit_share(weight, metric, share.bits, survives)
            kept, cost = fitted.values(), fitted.cost
            tensor = fitted.compressed(layout.shape, dtype, layout.tensor(fitted.codes))
        return Calibrated(tensor, self._bias(name, layout, weight - kept), cost)

    def _bias(self, name: str, layout: Layout, error: Floats) -> tuple[str, DenseTensor] | None:
        bias, mean = self._biases[name], self._means.get(name)
        if bias is None or mean is None:
            return None
        # (groups x blocks, rows): blocks add up
        shift = np.einsum("grc,gc->gr", error.astype(np.float64), mean)
        shift = shift.reshape(layout.groups, layout.blocks, -1).sum(axis=1).reshape(-1)
        before, dtype = self.network.weight(bias), self.network.dtype(bias)
        return bias, DenseTensor(dtype, narrow(before + shift.reshape(before.shape), dtype))


# Elements: half a gigabyte.
_MOST_MOMENTS = 1 << 27


def _parts(layouts: Mapping[str, Layout]) -> Iterable[list[str]]:
    """Names, together as many as have moments of half a gigabyte."""
    part: list[str] = []
    size = 0
    for name, layout in layouts.items():
        own = layout.groups * layout.blocks * layout.columns**2
        if part and size + own > _MOST_MOMENTS:
            yield part
            part, size = [], 0
        part.append(name)
        size += own
    if part:
        yield part


def calibrate_network(network: Network, rules: Mapping[str, Rule]) -> dict[str, CompressedTensor | DenseTensor]:
    """The weights named, pruned and shared as their rules say, and the biases that make up for them, by name."""
    if not rules:
        return {}
    calibration = Calibration(network, rules)
    tensors: dict[str, CompressedTensor | DenseTensor] = {}
    for name, rule in rules.items():
        check_rule(name, rule)
        tensors |= calibration.apply(name, rule, network.dtype(name)).replaced(name)
    return tensors


def check_rule(name: str, rule: Rule) -> None:
    """Raises ValueError for what inputs cannot decide."""
    if rule.prune is not None and (rule.prune.criterion != "magnitude"):
        raise ValueError(
            f"{name}: calibrate chooses what to prune by the layer's inputs, to a density: the criterion "
            f"{rule.prune.criterion} does not go with it; leave it out"
        )
    if rule.share is not None and rule.share.codebook_grid is not None:
        raise ValueError(f"{name}: calibrate knows no codebook_grid; leave it out, or share without calibration")


def calibrate(model: Module, recipe: Recipe | str | os.PathLike[str], batches: Iterable[Any]) -> None:
    """Prunes and shares the weights of a model, in place, as its recipe says, so that its outputs change least.

    recipe   of the rules, `prune` with a density and `share` are used; which weights are pruned, and to which centroid
             the others go, is decided by second-order information of the layers' inputs, whatever `criterion` and
             `init` say
    batches  some hundred unlabelled inputs: each batch a tensor, a tuple of positional arguments or a dict of named
             ones; the model is run on them as for inference

    The model is left as `share` leaves it. Biases of layers take over the mean error of their outputs. Raises
    ValueError, before anything has changed, for a rule that matches nothing, a model that is pruned or shared already,
    weights, inputs or outputs that are not finite, and inputs that do not fit the model.
    """
    from deepcompression.calibration.torch_network import TorchNetwork
    from deepcompression.training.attach import check_replaceable

    recipe = Recipe.of(recipe)
    matches = [
        (target, rule)
        for target, rule in recipe.matches(model)
        if rule is not None and (rule.prune or rule.share) and target.count
    ]
    check_replaceable(model, [target for target, _ in matches], "calibrate")
    network = TorchNetwork(model, batches)
    rules = {}
    for target, rule in matches:
        check_rule(target.name, rule)
        if target.name not in network.roles:
            raise ValueError(f"{target.name} has fewer than two dimensions: calibrate takes weights of layers only")
        rules[target.name] = rule
    digests = {
        target.name: recipe_digest(recipe, rule.prune, [target]) for target, rule in matches if rule.prune is not None
    }
    attach_fitted(model, calibrate_network(network, rules), digests)


def attach_fitted(
    model: Module, tensors: Mapping[str, CompressedTensor | DenseTensor], digests: Mapping[str, int]
) -> None:
    """Puts fitted tensors in the place of a model's, in place: codebooks; masks, where a dense tensor has the digest of
    its recipe; else what it is.
    """
    import torch

    from deepcompression.tensors.from_torch import to_torch
    from deepcompression.training.attach import attach_codebook, attach_mask, original

    targets = {target.name: target for target in targets_of(model)}
    for name, tensor in tensors.items():
        target = targets[name]
        if isinstance(tensor, CompressedTensor):
            centroids = to_torch(DenseTensor(tensor.dtype, tensor.codebook))
            attach_codebook(target, torch.from_numpy(tensor.positions), torch.from_numpy(tensor.codes), centroids)
            continue
        dense = torch.from_numpy(np.array(tensor.numpy()))
        if name in digests:
            attach_mask(target, dense != 0, 0, digests[name])
        else:
            with torch.no_grad():
                original(target).copy_(dense)
