"""Weights pruned and shared with some hundred unlabelled inputs, so that the outputs of their network change least."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deepcompression.calibration.comparison import Comparison, weight_change
from deepcompression.calibration.network import Layout, Network, metric_of
from deepcompression.common.extras import named_extra
from deepcompression.file.effect import Effect, WeightChange
from deepcompression.recipe.groups import recipe_digest
from deepcompression.recipe.recipe import Recipe
from deepcompression.recipe.rule import Rule
from deepcompression.recipe.targets import targets_of
from deepcompression.recipe.values import flaw_of
from deepcompression.sharing.error_cost import Metric
from deepcompression.sharing.fit import fit_penalty, fit_share, prune_mask
from deepcompression.tensors.dtypes import Array, Floats, narrow
from deepcompression.tensors.slices import Weights
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

if TYPE_CHECKING:
    from torch.nn import Module

# The second moments that are in memory at once, in elements: half a gigabyte.
_MOST_MOMENTS = 1 << 27


class Calibrated(NamedTuple):
    """A fitted weight.

    tensor  shared, or dense with zeros if it is only pruned
    biases  the bias that makes up for the mean error, by its name, with its new values; empty without one
    cost    the squared relative change of the outputs, as its metric estimates it
    """

    tensor: Tensor
    biases: dict[str, DenseTensor]
    cost: float

    def replaced(self, name: str) -> dict[str, Tensor]:
        """The tensors that replace the weight of that name and its bias."""
        return {name: self.tensor, **self.biases}


class Calibration:
    """Fits weights of a network by measurements of it.

    metrics  the cost of errors, by the names of weights
    """

    def __init__(self, network: Network, names: Iterable[str]) -> None:
        self.network = network
        self.metrics: dict[str, Metric] = {}
        self._means: dict[str, Array] = {}
        layouts = {name: network.roles[name].layout for name in names}
        gains = network.gains(layouts)
        for part in _parts(layouts):
            moments = network.moments(part)
            for name in part:
                own = moments.pop(name, None)
                if own is not None and network.roles[name].bias is not None:
                    self._means[name] = own.trust() * own.mean()
                self.metrics[name] = metric_of(layouts[name], own, gains[name], name in self._means)

    def matrices(self, name: str) -> Floats:
        """A weight as (groups, rows, columns). Raises ValueError if it is not finite."""
        return self.network.roles[name].layout.matrices(finite(name, self.network.weight(name)))

    def unit(self, name: str) -> float:
        """The squared change of the outputs for losing a weight of mean square: the unit of penalties."""
        return self.metrics[name].unit(self.matrices(name))

    def apply(self, name: str, rule: Rule) -> Calibrated:
        """Prunes and shares a weight by a rule."""
        weight, metric, layout = self.matrices(name), self.metrics[name], self.network.roles[name].layout
        dtype = self.network.dtype(name)
        share, prune = rule.share, rule.prune
        survives = None
        if prune is not None:
            survives = prune_mask(weight, metric, 1.0 if prune.density is None else prune.density)
        if share is None:
            assert survives is not None
            kept = np.where(survives, weight, np.float32(0))
            cost = metric.cost(weight - kept)
            values = np.where(layout.tensor(survives), self.network.weight(name), 0)
            tensor: Tensor = DenseTensor(dtype, narrow(values, dtype))
        else:
            if share.penalty is not None:
                fitted = fit_penalty(weight, metric, share.penalty, survives)
            else:
                assert share.bits is not None
                fitted = fit_share(weight, metric, share.bits, survives)
            kept, cost = fitted.values(), fitted.cost
            tensor = fitted.compressed(layout.shape, dtype, layout.tensor(fitted.codes))
        return Calibrated(tensor, self._biases(name, layout, weight - kept), cost)

    def _biases(self, name: str, layout: Layout, error: Floats) -> dict[str, DenseTensor]:
        bias, mean = self.network.roles[name].bias, self._means.get(name)
        if bias is None or mean is None:
            return {}
        # (groups x blocks, rows): blocks add up
        shift = np.einsum("grc,gc->gr", error.astype(np.float64), mean)
        shift = shift.reshape(layout.groups, layout.blocks, -1).sum(axis=1).reshape(-1)
        before, dtype = self.network.weight(bias), self.network.dtype(bias)
        return {bias: DenseTensor(dtype, narrow(before + shift.reshape(before.shape), dtype))}


def finite(name: str, weight: Array) -> Floats:
    """A weight in float32. Raises ValueError if it is not finite there, or its squares are not."""
    if flaw := flaw_of(Weights.of(weight), shared=True, squares=True):
        raise ValueError(f"{name} has {flaw}; mend the training")
    return weight.astype(np.float32)


def _parts(layouts: Mapping[str, Layout]) -> Iterable[list[str]]:
    """Names in parts, so that the second moments of a part fit in memory."""
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


class Fitted(NamedTuple):
    """Weights that were pruned and shared, and the biases that make up for their errors, by name; and the effect."""

    tensors: dict[str, Tensor]
    effect: Effect


def calibrate_network(
    network: Network, rules: Mapping[str, Rule], others: Mapping[str, Tensor] = {}, changes: Sequence[WeightChange] = ()
) -> Fitted:
    """Prunes and shares weights by their rules, with a part of the inputs; the rest measures the change of the outputs.

    others   tensors that replace more weights of the network, by name: they take part in the change of the outputs
    changes  their changes; a run with each one alone gives its part in that of the outputs

    Raises ValueError for a rule that inputs cannot decide, and for weights that are not finite.
    """
    for name, rule in rules.items():
        if rule.prune is not None and rule.prune.criterion != "magnitude":
            raise ValueError(
                f"{name}: calibrate prunes to a density, by the inputs of the layer: the criterion "
                f"{rule.prune.criterion} does not go with it; leave it out"
            )
        if rule.share is not None and rule.share.codebook_grid is not None:
            raise ValueError(f"{name}: calibrate knows no codebook_grid; leave it out, or share without calibration")
    seen, held = network.split()
    calibration = Calibration(seen, rules)
    found = {name: calibration.apply(name, rule) for name, rule in rules.items()}
    tensors = {name: tensor for own, each in found.items() for name, tensor in each.replaced(own).items()}
    comparison = Comparison(held or seen, held is not None)
    costs = {name: comparison.change({name: tensor}).change ** 2 for name, tensor in others.items()}
    total = sum(each.cost for each in found.values()) + sum(costs.values()) or 1.0
    weights = [
        weight_change(name, network.weight(name), each.tensor.numpy(), each.cost / total)
        for name, each in found.items()
    ]
    weights += [each._replace(part=costs[each.name] / total) for each in changes]
    return Fitted(tensors, Effect(tuple(weights), comparison.change({**tensors, **others})))


@named_extra()
def calibrate(model: Module, recipe: Recipe | str | os.PathLike[str], batches: Iterable[Any]) -> Effect:
    """Prunes and shares the weights of a model, in place, by its recipe, so that its outputs change least. Returns the
    effect: the change of the outputs, and warnings.

    recipe   its `prune` with a density and its `share` are used. Second-order information of the layers' inputs
             chooses the weights to prune and the centroids of the others; `criterion` and `init` do not count
    batches  some hundred unlabelled inputs: each batch a tensor, a tuple of positional arguments or a dict of named
             ones; the model runs on them in evaluation mode. A fifth, but at most 32 inputs, are held back and measure
             the change of the outputs

    `save` writes the change of the outputs into the metadata of the file, as long as the model stays as it is. The
    model is left as `share` leaves it. Biases of layers make up for the mean error of their outputs. Raises
    ValueError, before anything has changed, for a rule that matches nothing and for a model that is already pruned or
    shared. It also raises it for weights, inputs or outputs that are not finite, and inputs that do not fit the model.
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
    rules = {target.name: rule for target, rule in matches}
    if vectors := [name for name in rules if name not in network.roles]:
        raise ValueError(f"{vectors[0]} has fewer than two dimensions: calibrate takes weights of layers only")
    digests = {
        target.name: recipe_digest(recipe, rule.prune, [target]) for target, rule in matches if rule.prune is not None
    }
    fitted = calibrate_network(network, rules)
    attach_fitted(model, fitted, digests)
    return fitted.effect


def attach_fitted(model: Module, fitted: Fitted, digests: Mapping[str, int]) -> None:
    """Puts fitted tensors on a model, in place: shared tensors as codebooks, dense ones with a digest as masks, and
    the others as new values. Notes the change of the outputs for the metadata of a file.

    digests  of the recipes of masks, by name
    """
    import torch

    from deepcompression.tensors.from_torch import to_torch
    from deepcompression.training.attach import attach_codebook, attach_mask, original
    from deepcompression.training.model_tensors import note_metadata

    targets = {target.name: target for target in targets_of(model)}
    for name, tensor in fitted.tensors.items():
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
    note_metadata(model, fitted.effect.metadata())
