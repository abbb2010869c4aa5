"""The tensors of a model or checkpoint by their plain names: ties found, parametrizations looked through.

It reads modules only by the attributes that torch.nn.Module documents, and needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from deepcompression.recipe.no_weights import (
    elementwise_among,
    elementwise_in_onnx,
    normalises,
    packed_among,
    packed_in_model,
)
from deepcompression.tensors.dtypes import WEIGHT_DTYPES
from deepcompression.tensors.entry import TensorEntry
from deepcompression.tensors.names import plain_name
from deepcompression.tensors.tensor import Tensor

if TYPE_CHECKING:
    from torch.nn import Module

Described = Tensor | TensorEntry


@dataclass(frozen=True)
class Target:
    """One tensor and all its places.

    names        its plain names, `module.tensor`; several for a tied weight
    shape        of the dense tensor
    floating     whether its dtype is one of `WEIGHT_DTYPES`: it can be pruned and shared
    trained      whether it is a parameter (a buffer is not), or None if unknown
    places       (module, tensor name), each once: a module with two names is one place; empty in a checkpoint
    part_of      the weight that a parametrization of others computes from this tensor; else empty
    exact        whether it consists of packed codes or belongs to them
    elementwise  whether it scales or shifts others, element by element
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    floating: bool
    trained: bool | None = None
    places: tuple[tuple[Module, str], ...] = ()
    part_of: str = ""
    exact: bool = False
    elementwise: bool = False

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def count(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def kept(self) -> str:
        """Why no rule may change it; else empty."""
        if self.exact:
            return "packed codes, or what belongs to them"
        if not self.floating:
            return f"none of {', '.join(WEIGHT_DTYPES)}"
        if self.part_of:
            return f"a part of {self.part_of}, which a parametrization computes"
        return "a buffer, which is not trained" if self.trained is False else ""

    @property
    def weight(self) -> bool:
        """Whether it is a weight, which rules may select without its name: see "Weights" in docs/design.md."""
        return not self.kept and len(self.shape) >= 2 and not self.elementwise


# attribute of the class that torch makes for a parametrized module: its parameters in the order of the plain module
PARAMETER_ORDER = "_parameter_order"

_TORCH_WEIGHT_DTYPES = ("torch.float64", "torch.float32", "torch.float16", "torch.bfloat16")


def module_name(name: str) -> str:
    """`conv1.weight` -> `conv1`; empty for a tensor of the model itself."""
    return name.rpartition(".")[0]


def targets_of(model: Module | Mapping[str, Described], exact: Container[str] = ()) -> list[Target]:
    """The tensors of a model in the order of its modules, or of a mapping from names to tensors or entries, in its
    order.

    exact  names of tensors that are known to be packed; others are recognised where their data are at hand

    A model has the parameters and persistent buffers of its `state_dict`, a module's parameters first. Names are plain
    inside DistributedDataParallel and torch.compile too. A weight that a parametrization of others computes
    (weight_norm) is in its parts, by their names in the `state_dict`.
    """
    found = _of_mapping(model) if isinstance(model, Mapping) else _of_model(model)
    elementwise = elementwise_in_onnx(model) if isinstance(model, Mapping) else None
    if elementwise is None:
        elementwise = elementwise_among({name: target.shape for target in found for name in target.names})
    if isinstance(model, Mapping):
        packed = packed_among(model)
    else:
        packed = packed_in_model({name: target.places[0] for target in found for name in target.names})
    return [
        replace(
            target,
            exact=any(name in exact or name in packed for name in target.names),
            elementwise=not elementwise.isdisjoint(target.names)
            or any(normalises(module) for module, _ in target.places),
        )
        for target in found
    ]


def check_dense(model: Module | Mapping[str, Described], change: str) -> None:
    """Raises TypeError for what is neither a model nor a mapping. Raises ValueError, naming a layer, for a running
    model of `run`, which has no dense weights to change.
    """
    if isinstance(model, Mapping):
        return
    if not hasattr(model, "named_modules"):
        raise TypeError(f"a model is a torch.nn.Module; found a {type(model).__name__}")
    if packed := [cast(Any, module).layer for module in model.modules() if hasattr(type(module), "packed_shape")]:
        raise ValueError(
            f"{packed[0]} is packed by dc.run and has no dense weight: {change} the model that was passed to dc.run; "
            "torch.save keeps the running one"
        )


def _of_mapping(tensors: Mapping[str, Described]) -> list[Target]:
    tied: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        tied.setdefault(getattr(tensor, "tied_to", None) or name, []).append(name)
    return [
        Target(tuple(names), tuple(tensors[root].shape), tensors[root].dtype in WEIGHT_DTYPES)
        for root, names in tied.items()
    ]


def _of_model(model: Module) -> list[Target]:
    found: dict[int, tuple[list[str], dict[tuple[Module, str], None], bool, str]] = {}
    for name, module, part_of in _storing_modules(model):
        for local, original, trained in _own_tensors(module):
            names, places, *_ = found.get(id(original), ([], {}))
            names.append(f"{name}.{local}" if name else local)
            places[module, local] = None
            found[id(original)] = names, places, trained, part_of
    return [_target(names, list(places), trained, part_of) for names, places, trained, part_of in found.values()]


def computed_by_others(model: Module | Mapping[str, Described]) -> list[Target]:
    """The weights of a model that parametrizations of others compute, which no stage can take; `targets_of` has their
    parts.
    """
    if isinstance(model, Mapping):
        return []
    found: dict[tuple[Module, str], list[str]] = {}
    for name, module in plain_modules(model):
        for local in _parametrized_by_others(module):
            found.setdefault((module, local), []).append(f"{name}.{local}" if name else local)
    # that of a buffer is no weight
    return [
        _target(names, [(module, local)], bool(cast(Any, module).parametrizations[local]._parameters))
        for (module, local), names in found.items()
    ]


def _target(names: list[str], places: list[tuple[Module, str]], trained: bool, part_of: str = "") -> Target:
    module, local = places[0]
    # the mark of torch's uninitialized parameters
    if hasattr({**module._parameters, **module._buffers}.get(local), "materialize"):
        raise ValueError(
            f"{names[0]} has no shape yet, because its module is lazy ({type(module).__name__}): run the model on one "
            "input first"
        )
    shape, dtype = _described(module, local)
    return Target(tuple(names), tuple(shape), str(dtype) in _TORCH_WEIGHT_DTYPES, trained, tuple(places), part_of)


def _described(module: Module, local: str) -> tuple[Any, Any]:
    """Shape and dtype of a weight, without computing it from our mask or codebook."""
    named: Any = getattr(module, "parametrizations", {})
    found = [named[local]] if local in named else []
    for parts in found:
        if len(parts) == 1 and hasattr(parts[0], "weight_shape"):
            return parts[0].weight_shape, parts.original.dtype
    # in training, spectral_norm would take a step
    training = [part for parts in found for part in parts.modules() if part.training]
    try:
        for part in training:
            part.training = False
        tensor = getattr(module, local)
    finally:
        for part in training:
            part.training = True
    return tensor.shape, tensor.dtype


# class of a wrapper -> its attribute that holds the module
_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "ActivationWrapper": "_checkpoint_wrapped_module",
}


def wrappers(model: Module) -> Iterator[Module]:
    """The wrappers of DistributedDataParallel and torch.compile around a model, the outermost first."""
    while (inside := _inside(model)) is not None:
        yield model
        model = inside


def unwrapped(model: Module) -> Module:
    """The model without its `wrappers`."""
    while (inside := _inside(model)) is not None:
        model = inside
    return model


def _inside(module: Module) -> Any:
    names = (_WRAPPERS[base.__name__] for base in type(module).__mro__ if base.__name__ in _WRAPPERS)
    return next((module._modules.get(name) for name in names), None)


def plain_modules(model: Module) -> Iterator[tuple[str, Module]]:
    """Modules under each of their names, without wrappers and the insides of parametrizations."""
    for name, module in unwrapped(model).named_modules(remove_duplicate=False):
        if "parametrizations" not in name.split(".") and _inside(module) is None:
            yield plain_name(name), module


def _storing_modules(model: Module) -> Iterator[tuple[str, Module, str]]:
    """Yields (name, module, ""); and with the name of the weight the modules that are the parametrizations of others,
    which store parameters and buffers in the place of the weight.
    """
    weights: dict[str, str] = {}
    for name, module in unwrapped(model).named_modules(remove_duplicate=False):
        if _inside(module) is not None:
            continue
        path = name.split(".")
        if "parametrizations" in path:
            part_of = weights.get(".".join(path[: path.index("parametrizations") + 2]), "")
            if part_of:
                yield plain_name(name), module, part_of
            continue
        yield plain_name(name), module, ""
        for local in _parametrized_by_others(module):
            at = f"{name}." if name else ""
            weights[f"{at}parametrizations.{local}"] = plain_name(at + local)


def _parametrized_by_others(module: Module) -> list[str]:
    """The names of tensors that no mask or codebook of ours computes, but others."""
    named = getattr(module, "parametrizations", {})
    return [local for local, parts in named.items() if not any(hasattr(part, "weight_shape") for part in parts)]


def pruned_by_torch(module: Module) -> set[str]:
    """The names of tensors that torch.nn.utils.prune computes from `x_orig` and `x_mask` before each forward."""
    hooks = module._forward_pre_hooks.values()
    return {str(hook._tensor_name) for hook in hooks if hasattr(hook, "_tensor_name") and hasattr(hook, "apply_mask")}


def _own_tensors(module: Module) -> Iterator[tuple[str, Any, bool]]:
    """Yields (name, tensor, whether it is a parameter); tied tensors are the same object."""
    own: dict[str, tuple[Any, bool]] = {}
    others = _parametrized_by_others(module)
    for local, parametrization in getattr(module, "parametrizations", {}).items():
        if local not in others:
            own[local] = parametrization.original, "original" not in parametrization._buffers
    for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        own[local] = parameter, True
    masks: dict[str, Any] = {}
    for local in sorted(pruned_by_torch(module)):
        masks[f"{local}_mask"] = module._buffers[f"{local}_mask"]
        # tied only if the masks are tied too: a module with two names
        own[local] = masks[f"{local}_mask"], own.pop(f"{local}_orig")[1]
    first = [local for local in getattr(module, PARAMETER_ORDER, ()) if local in own]
    for local in {**dict.fromkeys(first), **own}:
        yield local, *own[local]
    for local, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
        if local not in module._non_persistent_buffers_set and local not in masks:
            yield local, buffer, False
