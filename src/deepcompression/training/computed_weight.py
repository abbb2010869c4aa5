"""Weights that a mask or codebook computes: tensors to read, which refuse to be written into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Layers write in each forward again: with `max_norm` these shorten the rows that they look up, and recurrent layers lay
# their weights side by side on a GPU.
_LAYERS = (F.embedding, F.embedding_bag, torch._cudnn_rnn_flatten_weight)
_SET_DATA = cast(Any, Tensor).data.__set__
# Names of functions that end as if they wrote values.
_NOT_WRITING = ("requires_grad_", "detach_", "share_memory_")


class ComputedWeight(Tensor):
    """A weight as the model sees it, made anew for each use: nothing would keep what is written into it.

    Every function of torch takes it, and gives ordinary tensors. Writing into it in place raises ValueError, and so
    does writing into a tensor that shares its memory, such as its `data`. NumPy arrays of that memory are read-only.
    Copies are ordinary tensors.
    """

    what: str

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if is_recorded():
                return function(*args, **kwargs)
            own = [each for each in _tensors((*args, *kwargs.values())) if isinstance(each, cls)]
            versions = [_version(each) for each in own]
            replaced = args[:1] if function == _SET_DATA else ()
            for each in _tensors((*replaced, *_written_in_inference(function, args, kwargs))):
                if isinstance(each, cls):
                    _refuse(each)
            result = function(*args, **kwargs)
            for each, version in zip(own, versions, strict=True):
                if _version(each) != version and function not in _LAYERS:
                    _refuse(each)
            return _guarded(result, own)

    def set_(self, *_: Any, **__: Any) -> NoReturn:
        # torch does not ask `__torch_function__` about it
        _refuse(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._plain().__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._plain().__reduce_ex__(protocol)

    @property
    def _is_param(self) -> bool:
        return False

    @_is_param.setter
    def _is_param(self, value: bool) -> None:
        # nn.Parameter has made one of it, which keeps what is written
        self.__dict__.clear()
        cast(Any, self).__class__ = nn.Parameter

    def _plain(self) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)


def computed(weight: Tensor, what: str) -> Tensor:
    """The weight as a `ComputedWeight`; where torch records or transforms functions, or shards tensors, as it is.

    what  its name, and its part that computes it
    """
    if is_recorded() or type(weight) is not Tensor or _memory(weight) is None:
        return weight
    # an alias would be a view, which has another gradient once a lookup has written into it
    weight.__class__ = ComputedWeight
    made = cast(ComputedWeight, weight)
    made.what = what
    return made


def is_recorded() -> bool:
    """Whether torch.compile, torch.export or torch.jit.trace (torch.onnx.export too) takes down functions now."""
    return torch.compiler.is_compiling() or bool(cast(Any, torch.jit).is_tracing())


def _version(tensor: Tensor) -> int:
    """The number of writes into a tensor; those of inference mode do not count them."""
    return 0 if tensor.is_inference() else tensor._version


def _written_in_inference(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Sequence[Any]:
    """The arguments that a function writes into, by its name, in inference mode."""
    if not torch.is_inference_mode_enabled():
        return ()
    name = getattr(function, "__name__", "")
    in_place = name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
    first = (*args, *kwargs.values())[:1] if in_place and name not in _NOT_WRITING else ()
    return *first, kwargs.get("out")


def _refuse(weight: ComputedWeight) -> NoReturn:
    raise ValueError(
        f"{weight.what} computes this weight anew for each use, so that what is written into it in place is lost: call "
        "dc.finalize(model) first, which makes it a plain weight, or write into a clone() of it"
    )


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _memory(tensor: Tensor) -> int | None:
    """The address of a tensor's memory; None without one of its own, as within transforms and on the device meta."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    # torch raises it for tensors of torch.func, of exporters and of sparse layouts, and has no function that asks
    except NotImplementedError:
        return None


def _guarded(result: Any, own: list[ComputedWeight]) -> Any:
    """The result of a function, refusing writes where it shares memory with one of its arguments."""
    if isinstance(result, np.ndarray) and any(result.ctypes.data == each.data_ptr() for each in own):
        result.flags.writeable = False
    if type(result) is Tensor:
        memory = _memory(result)
        shared = [each for each in own if memory is not None and memory == _memory(each)]
        return computed(result, shared[0].what) if shared else result
    if type(result) in (list, tuple):
        return type(result)(_guarded(each, own) for each in result)
    return result
