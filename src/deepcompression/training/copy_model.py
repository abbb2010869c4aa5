"""Copies of models, with what hangs on their modules: kept activations, locks, hooks of older tools."""

from __future__ import annotations

import contextlib
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
    lead to their copies. Functions that hold the model, one of its modules or tensors, as the closure of a hook may,
    are made anew and hold the copies. Raises ValueError, naming layer and attribute, for an object that refuses to be
    copied.
    """
    shared: dict[str, str] = {}
    registered = {id(module) for module in model.modules()}
    tensors = {id(each) for module in model.modules() for each in _own(module)}
    functions = Functions(registered | tensors)
    seen: set[int] = set()
    for name, module in model.named_modules():
        for local, value in vars(module).items():
            for part in _parts(value, registered, seen, functions):
                if isinstance(part, torch.Tensor):
                    if not part.is_leaf:
                        memo.setdefault(id(part), part.detach().clone())
                elif isinstance(part, types.FunctionType):
                    memo[id(part)] = functions.renewed(part)
                elif _is_atom(part):
                    memo[id(part)] = part
                elif id(part) not in memo and _cannot_be_copied(part):
                    memo[id(part)] = part
                    shared.setdefault(f"{name}.{local}".removeprefix("."), type(part).__name__)
    try:
        made: nn.Module = copy.deepcopy(model, memo)
    except Exception as error:
        raise ValueError(f"{_culprit(model, memo)} ({type(error).__name__}: {error})") from error
    functions.fill(memo)
    referred = {id(each): memo.get(id(module)) for module in model.modules() for each in weakref.getweakrefs(module)}
    for module in made.modules():
        for local, value in list(vars(module).items()):
            if (target := referred.get(id(value))) is not None:
                vars(module)[local] = weakref.ref(target) if type(value) is weakref.ref else weakref.proxy(target)
    names = some(f"{path} ({kind})" for path, kind in shared.items())
    return made, f"these attributes cannot be copied, and both models share them: {names}" if shared else ""


class Functions:
    """The functions that hold parts of a model, and their successors, which hold the copies.

    own  the `id` of each module and tensor of the model
    """

    def __init__(self, own: set[int]) -> None:
        self._own = own
        self._holds: dict[int, bool] = {}
        self._cells: dict[int, tuple[types.CellType, types.CellType]] = {}
        self._made: list[tuple[types.FunctionType, types.FunctionType]] = []

    def held(self, function: types.FunctionType) -> list[Any]:
        """The values of a function's closure and defaults that hold parts of the model."""
        return [value for value in _values(function) if self._reaches(value)]

    def _reaches(self, value: Any) -> bool:
        """Whether a value is part of the model or refers to one."""
        if id(value) not in self._holds:
            seen: set[int] = set()
            left = [value]
            while left and id(left[-1]) not in self._own:
                part = left.pop()
                if id(part) in seen or isinstance(part, torch.Tensor) or _is_atom(part):
                    continue
                seen.add(id(part))
                if isinstance(part, types.FunctionType):
                    left += _values(part)
                elif not issubclass(type(part), _CODE):
                    left += gc.get_referents(part)
            self._holds[id(value)] = bool(left)
        return self._holds[id(value)]

    def renewed(self, function: types.FunctionType) -> types.FunctionType:
        """The successor of a function, whose closure `fill` fills."""
        cells = [self._cells.setdefault(id(cell), (cell, types.CellType()))[1] for cell in function.__closure__ or ()]
        made = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
        )
        for name in ("__kwdefaults__", "__qualname__", "__doc__", "__module__", "__annotations__"):
            setattr(made, name, getattr(function, name))
        vars(made).update(vars(function))
        self._made.append((function, made))
        return made

    def fill(self, memo: dict[int, Any]) -> None:
        """Gives the successors the copies of what holds parts of the model, and all else as it is."""

        def copied(value: Any) -> Any:
            return copy.deepcopy(value, memo) if self._reaches(value) else value

        for cell, made in self._cells.values():
            # a name may have no value yet
            with contextlib.suppress(ValueError):
                made.cell_contents = copied(cell.cell_contents)
        for function, made_function in self._made:
            if function.__defaults__:
                made_function.__defaults__ = tuple(map(copied, function.__defaults__))
            if function.__kwdefaults__:
                made_function.__kwdefaults__ = {key: copied(each) for key, each in function.__kwdefaults__.items()}


def _own(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from (each for each in (*module._parameters.values(), *module._buffers.values()) if each is not None)


def _values(function: types.FunctionType) -> list[Any]:
    """The values of a function's closure and defaults."""
    found = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        # a name may have no value yet
        with contextlib.suppress(ValueError):
            found.append(cell.cell_contents)
    return found


def _parts(value: Any, registered: set[int], seen: set[int], functions: Functions) -> Iterator[Any]:
    """A value and all that it refers to, each once, except the registered modules, and code that holds none of them."""
    left = [value]
    while left:
        part = left.pop()
        if id(part) in seen or id(part) in registered:
            continue
        if issubclass(type(part), _CODE):
            if isinstance(part, types.FunctionType) and (held := functions.held(part)):
                seen.add(id(part))
                yield part
                left += held
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
