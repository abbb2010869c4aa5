"""Masks and codebooks attached to a model's tensors and detached again: parameters keep their identity, ties stay."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deepcompression.recipe.targets import PARAMETER_ORDER, Target, pruned_by_torch, wrappers
from deepcompression.tensors.names import state_key
from deepcompression.training.parametrizations import Codebook, Mask, masked
from deepcompression.training.sharded import home, is_sharded, plain_class, whole


def _list_on(module: nn.Module, local: str) -> parametrize.ParametrizationList:
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, module.parametrizations)[local])


def chain(target: Target) -> list[nn.Module]:
    """All parametrizations on a target, ours and others'."""
    module, local = target.places[0]
    return list(_list_on(module, local)) if parametrize.is_parametrized(module, local) else []


def is_pruned_by_torch(target: Target) -> bool:
    """Whether hooks of torch.nn.utils.prune make it from a weight and a mask."""
    return any(local in pruned_by_torch(module) for module, local in target.places)


def parametrization(target: Target) -> Mask | Codebook | None:
    """The mask or codebook on a target, or None. Raises ValueError for any other parametrization."""
    if is_pruned_by_torch(target):
        raise ValueError(f"{target.name} is pruned by torch.nn.utils.prune: make it plain first (prune.remove)")
    found = chain(target)
    if not found:
        return None
    if len(found) == 1 and isinstance(found[0], Mask | Codebook):
        return found[0]
    raise ValueError(
        f"{target.name} is parametrized by {', '.join(type(p).__name__ for p in found)}: make it plain first "
        "(torch.nn.utils.parametrize.remove_parametrizations), or let no rule select it (an earlier rule that names "
        "it, and says nothing else, keeps it)"
    )


def original(target: Target) -> nn.Parameter:
    """The trained parameter: the weight itself, the weight under a mask, or the centroids."""
    module, local = target.places[0]
    if parametrize.is_parametrized(module, local):
        return cast(nn.Parameter, _list_on(module, local).original)
    return cast(nn.Parameter, getattr(module, local))


def check_one_tensor(target: Target) -> None:
    """Raises ValueError for a weight that consists of other tensors, as torchao's quantized weights do."""
    found = original(target)
    if hasattr(found, "__tensor_flatten__") and not is_sharded(found):
        raise ValueError(
            f"{target.name} is a {type(found).__name__}, which is made of other tensors: it can be neither pruned nor "
            "shared; make it dense first, or let no rule select it (an earlier rule that names it, and says nothing "
            "else, keeps it)"
        )


def check_memory(target: Target) -> None:
    """Raises ValueError for a tensor on the device meta, with the remedy."""
    if original(target).is_meta:
        offloaded = any(hasattr(module, "_hf_hook") for module, _ in target.places)
        remedy = "call model.to_empty(device=...) and load weights first"
        if offloaded:
            remedy = 'accelerate has offloaded it: load the whole model into memory (device_map="cpu")'
        raise ValueError(f"{target.name} has no memory (it is on the device meta): {remedy}")


def check_replaceable(model: nn.Module, targets: list[Target], change: str) -> None:
    """Raises ValueError where parameters cannot take another shape: DistributedDataParallel or `fully_shard` holds
    them, others have parametrized them, or they consist of other tensors. Without targets, nothing is wrong.
    """
    if targets and any(hasattr(each, "process_group") for each in wrappers(model)):
        raise ValueError(
            f"DistributedDataParallel holds the parameters that dc.{change} replaces: call dc.{change} on the model "
            "inside (model.module), then wrap it again: model = DistributedDataParallel(model.module)"
        )
    for target in targets:
        parametrization(target)
        check_one_tensor(target)
        if is_sharded(original(target)):
            raise ValueError(
                f"{target.name} is sharded (fully_shard), and dc.{change} changes its shape: on all ranks take the "
                "state by get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)) of "
                "torch.distributed.checkpoint.state_dict, pass it to dc.resume with a newly built model, call "
                f"dc.{change} on that, then fully_shard"
            )


def dense(target: Target) -> Tensor:
    """The weight as the model sees it, without gradient. A sharded one is gathered, so all ranks must call this.

    Raises ValueError for a mask of torch.nn.utils.prune with values other than 0 and 1, and for a weight without
    memory.
    """
    module, local = target.places[0]
    with torch.no_grad():
        if is_pruned_by_torch(target):
            # the attribute itself may be older than these: hooks set it in each forward
            weight, mask = (cast(Tensor, getattr(module, f"{local}_{part}")) for part in ("orig", "mask"))
            if not ((mask == 0) | (mask == 1)).all():
                raise ValueError(f"{target.name}_mask has values other than 0 and 1: apply it first (prune.remove)")
            return masked(weight.detach(), mask)
        ours = all(isinstance(each, Mask | Codebook) for each in chain(target))
        if not ours:
            return cast(Tensor, getattr(module, local)).detach()
        check_memory(target)
        parameter = original(target)
        found = parametrization(target)
        full = whole(parameter).to(home(parameter))
        return full if found is None else found.weight(full)


def attach_mask(target: Target, mask: Tensor, step: int, recipe: int) -> None:
    """Attaches a mask to a target in every place, or changes the mask that it has. The parameter keeps its identity,
    and is zero wherever the old mask or the new one is False.

    step, recipe  the values of the mask's buffers of these names
    """
    parameter = original(target)
    present = parametrization(target)
    with torch.no_grad():
        if isinstance(present, Mask):
            parameter.copy_(present.weight(parameter))
        else:
            present = Mask(torch.empty_like(mask, device=home(parameter)))
            present.name = target.name
            for module, local in target.places:
                # registering resets a parameter's autograd state, which holds hooks of DistributedDataParallel
                module._parameters[local] = nn.Parameter(parameter.detach(), parameter.requires_grad)
                _register(module, local, present)
                _list_on(module, local).original = parameter
        present.mask.copy_(mask)
        present.step.fill_(step)
        present.recipe.fill_(recipe)
        parameter.copy_(present.weight(parameter))


def attach_codebook(
    target: Target, positions: Tensor, codes: Tensor, centroids: Tensor, grid: str | None = None
) -> None:
    """Replaces a target, in every place, by a codebook; the parameter keeps its identity but is now the centroids."""
    detach(target)
    parameter = original(target)
    positions, codes = (part.to(parameter.device, copy=True) for part in (positions, codes))
    new = Codebook(target.shape, positions, codes, len(centroids), grid)
    new.name = target.name
    for module, local in target.places[1:]:
        # registering changes the parameter of all places: the others have a copy until the first is done
        setattr(module, local, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))
        _register(module, local, new)
    _register(*target.places[0], new)
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
            parameter.copy_(found.weight(parameter))
        for module, local in target.places:
            strip(module, local)
    else:
        for module, local in target.places[1:]:
            # removing makes the trained parameter dense: the other places have a copy until the first is done
            _list_on(module, local).original = nn.Parameter(parameter.detach().clone())
            strip(module, local, dense=True)
            setattr(module, local, parameter)
        strip(*target.places[0], dense=True)
    parameter.grad = None


def _unshare_class(module: nn.Module) -> None:
    """Gives a parametrized module a class of its own again: torch changes that class, and a deep copy shares it."""
    with plain_class(module):
        if parametrize.is_parametrized(module):
            shared = type(module)
            module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def _register(module: nn.Module, local: str, new: Mask | Codebook) -> None:
    _unshare_class(module)
    order = getattr(module, PARAMETER_ORDER, tuple(module._parameters))
    with plain_class(module):
        # unsafe skips a check of the shape, which a codebook does not pass during registration
        parametrize.register_parametrization(module, local, new, unsafe=True)
        setattr(type(module), PARAMETER_ORDER, order)
    _reorder(cast(nn.ModuleDict, module.parametrizations)._modules, order)
    if not _guards_of(module):
        cast(Any, module).register_load_state_dict_pre_hook(_refuse_plain)
    if isinstance(module, nn.RNNBase) and _forget_flat_weights not in module._forward_hooks.values():
        module.register_forward_hook(_forget_flat_weights)


def _reorder(named: dict[str, Any], order: Iterable[str]) -> None:
    """Sorts parameters by a given order: optimizers number them, so their order must depend on the stage alone."""
    for name in order:
        if name in named:
            named[name] = named.pop(name)


def strip(module: nn.Module, local: str, dense: bool = False) -> None:
    """Removes the parametrization from one place; its parameter becomes the original one, or a dense weight."""
    _unshare_class(module)
    order = getattr(module, PARAMETER_ORDER)
    with plain_class(module):
        parametrize.remove_parametrizations(module, local, leave_parametrized=dense)
    _reorder(module._parameters, order)
    if not parametrize.is_parametrized(module):
        for key, hook in list(module._forward_hooks.items()):
            if hook is _forget_flat_weights:
                del module._forward_hooks[key]
        for key in _guards_of(module):
            del module._load_state_dict_pre_hooks[key]


def _guards_of(module: nn.Module) -> list[int]:
    """The keys of `_refuse_plain` among the hooks of a module."""
    hooks: Mapping[int, Any] = module._load_state_dict_pre_hooks
    return [key for key, wrapped in hooks.items() if wrapped.hook is _refuse_plain]


def _refuse_plain(
    module: nn.Module, state: Mapping[str, Any], prefix: str, metadata: Any, strict: bool, *lists: list[str]
) -> None:
    """Lets `load_state_dict` fail for the plain weight of a pruned or shared tensor: without `strict`, torch would
    leave it out without a word.
    """
    # torch passes True for `strict`, whatever its caller has said
    *_, errors = lists
    for local, found in cast(nn.ModuleDict, module.parametrizations).items():
        ours = any(isinstance(each, Mask | Codebook) for each in cast(parametrize.ParametrizationList, found))
        key = f"{prefix}{local}"
        if ours and key in state and state_key(key, "original") not in state:
            errors.append(
                f"{key} is a plain weight in the state, but pruned or shared in the model: load it before dc.prune, or "
                "after dc.finalize(model)"
            )


def _forget_flat_weights(module: nn.RNNBase, args: object, output: object) -> None:
    """Detaches the weights that a recurrent module keeps from its last forward: now it can be copied. The module sees
    that they have changed, and the next forward collects them again.
    """
    module._flat_weights = [None if weight is None else weight.detach() for weight in module._flat_weights]
    gone: Any = weakref.ref(torch.empty(0))
    module._flat_weight_refs = [gone] * len(module._flat_weights)
