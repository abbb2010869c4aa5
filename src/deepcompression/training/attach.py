"""Masks and codebooks put on a model's tensors and taken off again: parameters keep their identity, ties stay."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deepcompression.recipe.targets import PARAMETER_ORDER, Target, module_name, pruned_by_torch, wrappers
from deepcompression.training.parametrizations import Codebook, Mask, masked
from deepcompression.training.sharded import home, is_sharded, plain_class, whole

# The parts of a tensor in a state_dict, as torch names them: the trained parameter, and the parametrization's buffers.
MASK_PARTS = ("original", "0.mask", "0.step", "0.recipe")
CODEBOOK_PARTS = ("original", "0.positions", "0.codes")


def state_key(name: str, part: str) -> str:
    """The key of a part of a tensor: `fc1.parametrizations.weight.0.mask`; the tensor's own name for no part."""
    module, local = module_name(name), name.rpartition(".")[2]
    return f"{module}.parametrizations.{local}.{part}".removeprefix(".") if part else name


def _list_on(module: nn.Module, local: str) -> parametrize.ParametrizationList:
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, module.parametrizations)[local])


def chain(target: Target) -> list[nn.Module]:
    """The parametrizations that stand on a target, whosever they are."""
    module, local = target.places[0]
    return list(_list_on(module, local)) if parametrize.is_parametrized(module, local) else []


def is_pruned_by_torch(target: Target) -> bool:
    """Whether hooks of torch.nn.utils.prune make it from a weight and a mask."""
    return any(local in pruned_by_torch(module) for module, local in target.places)


def parametrization(target: Target) -> Mask | Codebook | None:
    """The mask or codebook on a target, or None. Raises ValueError for a parametrization of another
    kind.
    """
    if is_pruned_by_torch(target):
        raise ValueError(f"{target.name} is pruned by torch.nn.utils.prune: make it plain first (prune.remove)")
    found = chain(target)
    if not found:
        return None
    if len(found) == 1 and isinstance(found[0], Mask | Codebook):
        return found[0]
    raise ValueError(
        f"{target.name} is parametrized by {', '.join(type(p).__name__ for p in found)}: "
        "make it plain first (torch.nn.utils.parametrize.remove_parametrizations)"
    )


def original(target: Target) -> nn.Parameter:
    """The parameter that is trained: the weight itself, the weight under a mask, or the centroids."""
    module, local = target.places[0]
    if parametrize.is_parametrized(module, local):
        return cast(nn.Parameter, _list_on(module, local).original)
    return cast(nn.Parameter, getattr(module, local))


def check_one_tensor(target: Target) -> None:
    """Raises ValueError for a weight that is made of other tensors, as torchao quantizes them."""
    found = original(target)
    if hasattr(found, "__tensor_flatten__") and not is_sharded(found):
        raise ValueError(
            f"{target.name} is a {type(found).__name__}, which is made of other tensors: it can be neither pruned nor "
            "shared; make it dense first, or let no rule select it (a rule before the others that names it, and says "
            "nothing else, keeps it)"
        )


def check_replaceable(model: nn.Module, targets: Iterable[Target], change: str) -> None:
    """Raises ValueError where parameters cannot take another shape, because DistributedDataParallel or `fully_shard`
    holds them, for parametrizations of somebody else, and for weights that are made of other tensors.
    """
    if any(hasattr(each, "process_group") for each in wrappers(model)):
        raise ValueError(
            f"DistributedDataParallel holds the parameters that dc.{change} replaces: call dc.{change} on the model "
            "inside (model.module), then wrap that anew: model = DistributedDataParallel(model.module)"
        )
    for target in targets:
        parametrization(target)
        check_one_tensor(target)
        if is_sharded(original(target)):
            raise ValueError(
                f"{target.name} is sharded (fully_shard), and dc.{change} changes its shape: on all ranks take the "
                "state by get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)) of "
                "torch.distributed.checkpoint.state_dict, give it to dc.resume with a model built anew, call "
                f"dc.{change} on that, then fully_shard"
            )


def dense(target: Target) -> Tensor:
    """The weight as the model sees it, without gradient; a sharded one in full, for which all ranks must ask. Raises
    ValueError for a mask of torch.nn.utils.prune that is not of zeros and ones, and for a weight without memory.
    """
    module, local = target.places[0]
    with torch.no_grad():
        if is_pruned_by_torch(target):
            # the attribute is as old as the last forward
            weight, mask = (cast(Tensor, getattr(module, f"{local}_{part}")) for part in ("orig", "mask"))
            if not ((mask == 0) | (mask == 1)).all():
                raise ValueError(f"{target.name}_mask has values other than 0 and 1: apply it first (prune.remove)")
            return masked(weight.detach(), mask)
        parameter = None if _is_by_others(target) else original(target)
        if parameter is not None and parameter.is_meta:
            raise ValueError(
                f"{target.name} has no memory (it is on the device meta): call model.to_empty(device=...) and give it "
                "weights first"
            )
        if parameter is None or not is_sharded(parameter):
            return cast(Tensor, getattr(module, local)).detach()
        found = parametrization(target)
        full = whole(parameter).to(home(parameter))
        return full if found is None else cast(Tensor, found(full))


def _is_by_others(target: Target) -> bool:
    return not all(isinstance(each, Mask | Codebook) for each in chain(target))


def attach_mask(target: Target, mask: Tensor, step: int, recipe: int) -> None:
    """Puts a mask on a target in every place, or changes the one that is there; the parameter keeps its identity, and
    is zero wherever the old mask or the new one is False.

    step, recipe  the values of the mask's buffers of these names
    """
    parameter = original(target)
    present = parametrization(target)
    with torch.no_grad():
        if isinstance(present, Mask):
            parameter.copy_(present(parameter))
        else:
            present = Mask(torch.empty_like(mask, device=home(parameter)))
            for module, local in target.places:
                # registering resets autograd's state of a parameter, which DistributedDataParallel has hooks in
                module._parameters[local] = nn.Parameter(parameter.detach(), parameter.requires_grad)
                _register(module, local, present)
                _list_on(module, local).original = parameter
        present.mask.copy_(mask)
        present.step.fill_(step)
        present.recipe.fill_(recipe)
        parameter.copy_(present(parameter))


def attach_codebook(
    target: Target, positions: Tensor, codes: Tensor, centroids: Tensor, grid: str | None = None
) -> None:
    """Replaces a target, in every place, by a codebook; the parameter keeps its identity but is now the centroids."""
    detach(target)
    parameter = original(target)
    positions, codes = (part.to(parameter.device, copy=True) for part in (positions, codes))
    new = Codebook(target.shape, positions, codes, len(centroids), grid)
    for module, local in target.places[1:]:
        # registering changes the parameter, which is the same in all places: these others get it back afterwards
        setattr(module, local, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))
        _register(module, local, new)
    module, local = target.places[0]
    _register(module, local, new)
    parameter = original(target)
    with torch.no_grad():
        parameter.copy_(centroids)
    parameter.grad = None
    for module, local in target.places[1:]:
        _list_on(module, local).original = parameter


def detach(target: Target) -> None:
    """Makes a target an ordinary parameter again, with the dense weight that the model sees; ties stay tied."""
    found, parameter = parametrization(target), original(target)
    if found is None:
        return
    if isinstance(found, Mask):
        with torch.no_grad():
            parameter.copy_(found(parameter))
        for module, local in target.places:
            strip(module, local)
        parameter.grad = None
        return
    for module, local in target.places[1:]:
        # removing turns the trained parameter dense, which the other places must not see before their own turn
        _list_on(module, local).original = nn.Parameter(parameter.detach().clone())
        _remove(module, local)
        setattr(module, local, parameter)
    _remove(*target.places[0])
    parameter.grad = None


def _unshare_class(module: nn.Module) -> None:
    """torch gives a parametrized module a class of its own and changes that class; but a deep copy has the same one."""
    with plain_class(module):
        if parametrize.is_parametrized(module):
            shared = type(module)
            module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def _register(module: nn.Module, local: str, new: Mask | Codebook) -> None:
    _unshare_class(module)
    order = getattr(module, PARAMETER_ORDER, tuple(module._parameters))
    with plain_class(module):
        # unsafe spares a check of the shape that a codebook does not pass while it is registered
        parametrize.register_parametrization(module, local, new, unsafe=True)
        setattr(type(module), PARAMETER_ORDER, order)
    _reorder(cast(nn.ModuleDict, module.parametrizations)._modules, order)
    if isinstance(module, nn.RNNBase) and _forget_flat_weights not in module._forward_hooks.values():
        module.register_forward_hook(_forget_flat_weights)


def _reorder(named: dict[str, Any], order: Iterable[str]) -> None:
    """Parameters are numbered by optimizers: their order must depend on the stage alone, not on the way there."""
    for name in order:
        if name in named:
            named[name] = named.pop(name)


def strip(module: nn.Module, local: str) -> None:
    """Takes the parametrization off one place, whose parameter becomes whatever was under it: no dense weight is
    made.
    """
    _remove(module, local, dense=False)


def _remove(module: nn.Module, local: str, dense: bool = True) -> None:
    _unshare_class(module)
    order = getattr(module, PARAMETER_ORDER)
    with plain_class(module):
        parametrize.remove_parametrizations(module, local, leave_parametrized=dense)
    _reorder(module._parameters, order)
    if not parametrize.is_parametrized(module):
        for key, hook in list(module._forward_hooks.items()):
            if hook is _forget_flat_weights:
                del module._forward_hooks[key]


def _forget_flat_weights(module: nn.RNNBase, args: object, output: object) -> None:
    """A recurrent module keeps the weights of its last forward: freed from their graph, it can be copied. The next
    forward collects them again, since the module sees that they have changed.
    """
    module._flat_weights = [None if weight is None else weight.detach() for weight in module._flat_weights]
    gone = weakref.ref(nn.Parameter(torch.empty(0)))
    module._flat_weight_refs = [gone] * len(module._flat_weights)
