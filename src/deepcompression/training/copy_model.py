"""Copies of models, with what hangs on their modules: kept activations, locks, hooks of older tools."""

from __future__ import annotations

import copy
import gc
import types
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from deepcompression.common.messages import some

# shared by every copy of what refers to them
_CODE = (type, types.FunctionType, types.CodeType)

_REFERENCES = (weakref.ReferenceType, weakref.ProxyType, weakref.CallableProxyType)


def copy_model(model: nn.Module, memo: dict[int, Any]) -> tuple[nn.Module, str]:
    """A deep copy, and a note on the attributes that cannot be copied, which both models share; or no text.

    memo  copies that exist already, by the `id` of the original; receives all others

    A tensor with a history, such as an activation that a module keeps, is copied without it. Weak references to modules
    lead to their copies. Raises ValueError, naming layer and attribute, for an object that refuses to be copied.
    """
    shared: dict[str, str] = {}
    registered = {id(module) for module in model.modules()}
    seen: set[int] = set()
    for name, module in model.named_modules():
        for local, value in vars(module).items():
            for part in _parts(value, registered, seen):
                if isinstance(part, torch.Tensor):
                    if not part.is_leaf:
                        memo.setdefault(id(part), part.detach().clone())
                elif _is_atom(part):
                    memo[id(part)] = part
                elif id(part) not in memo and _cannot_be_copied(part):
                    memo[id(part)] = part
                    shared.setdefault(f"{name}.{local}".removeprefix("."), type(part).__name__)
    try:
        made: nn.Module = copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(f"{_culprit(model, memo)} ({type(error).__name__}: {error})") from error
    referred = {id(each): memo.get(id(module)) for module in model.modules() for each in weakref.getweakrefs(module)}
    for module in made.modules():
        for local, value in list(vars(module).items()):
            if (target := referred.get(id(value))) is not None:
                vars(module)[local] = weakref.ref(target) if type(value) is weakref.ref else weakref.proxy(target)
    names = some(f"{path} ({kind})" for path, kind in shared.items())
    return made, f"these attributes cannot be copied, and both models share them: {names}" if shared else ""


def _parts(value: Any, registered: set[int], seen: set[int]) -> Iterator[Any]:
    """A value and all that it refers to, each once, except code and the registered modules."""
    left = [value]
    while left:
        part = left.pop()
        if id(part) in seen or id(part) in registered or issubclass(type(part), _CODE):
            continue
        seen.add(id(part))
        yield part
        if not _is_atom(part) and not isinstance(part, torch.Tensor):
            left += gc.get_referents(part)


def _is_atom(value: Any) -> bool:
    """Whether a value is shared without a word: a module of code, or a weak reference."""
    # by its type, since a proxy passes for its object
    return issubclass(type(value), (types.ModuleType, *_REFERENCES))


def _cannot_be_copied(value: Any) -> bool:
    """Whether Python knows no way to copy a value, as for locks, files and generators."""
    if hasattr(value, "__deepcopy__"):
        return False
    try:
        copy.copy(value)
    except Exception:
        return True
    return False


def _culprit(model: nn.Module, memo: dict[int, Any]) -> str:
    """The sentence about the first attribute that refuses to be copied."""
    for name, module in reversed(list(model.named_modules())):
        for local, value in vars(module).items():
            if local in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                return (
                    f"{f'{name}.{local}'.removeprefix('.')} is a {type(value).__name__}, which refuses to be copied: "
                    "remove it before the call, or give its class a __deepcopy__ that works"
                )
    return f"the {type(model).__name__} refuses to be copied"
