"""A weight that is read from its file, decoded and packed when its layer is first used."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch._C import _len_torch_dispatch_stack
from torch._C._functorch import maybe_current_level
from torch.compiler import is_dynamo_compiling

from deepcompression.coding.coders import shared_form
from deepcompression.common.binary import FormatError
from deepcompression.file.reader import DczFile
from deepcompression.nn.packed_layers import packed_class
from deepcompression.nn.packed_weight import PackedWeight
from deepcompression.nn.recurrent import PACKED_RECURRENT, forget_flat_weights
from deepcompression.nn.stand_in import StandIn
from deepcompression.nn.what_pays import DENSE_REASONS, UNREAD, Verdict
from deepcompression.recipe.targets import Target
from deepcompression.tensors.from_torch import to_torch
from deepcompression.tensors.tensor import CompressedTensor, Tensor
from deepcompression.training import attach

Place = tuple[nn.Module, str]


class Plan(Protocol):
    """What becomes of a weight: a stand-in for each place, or the verdict by which it stays dense."""

    @property
    def stand_ins(self) -> Mapping[Place, StandIn]: ...

    @property
    def dense(self) -> Verdict | None: ...


Judge = Callable[[Target, "StoredTensor"], Plan]


class StoredFile:
    """A file that stays open until the last weight that waits in it is read, or gone.

    It is held open, so that a file that is deleted or replaced under its name changes nothing. A change of its bytes
    shows in the checksums of the index, which was read once.
    """

    def __init__(self, file: DczFile) -> None:
        self.file, self._stamp = file, file.stamp()
        weakref.finalize(self, file.close)

    def why_bad(self) -> str:
        if self.file.stamp() != self._stamp:
            return "the file was changed after dc.run opened it: write the old bytes back, or call dc.run again"
        return "write its right bytes into the file, or call dc.run with another copy"


class StoredTensor:
    """The source of one tensor: a `WeightSource`."""

    kept: Mapping[str, torch.Tensor] = {}

    def __init__(self, file: DczFile, name: str) -> None:
        self.targets: list[Target] = []
        self._file, self._name = file, name
        self._read: Tensor | None = None

    def shared(self, target: Target) -> CompressedTensor | None:
        self._read = self._file.read(self._name, os.cpu_count() or 1)
        return shared_form(self._read)

    def dense(self, target: Target) -> torch.Tensor:
        read = self._file.read_dense(self._name, os.cpu_count() or 1) if self._read is None else self._read.dense()
        return to_torch(read)

    def parameter(self, target: Target) -> nn.Parameter:
        return nn.Parameter(self.dense(target), attach.original(target).requires_grad)


class Unread:
    """A weight that waits for its first use.

    target  its places are sketches of the modules, which hold no other weights
    judge   what becomes of it
    """

    def __init__(self, target: Target, places: Iterable[Place], stored: StoredFile, name: str, judge: Judge) -> None:
        self.target = target
        self._modules = [weakref.ref(module) for module, _ in places]
        self._stored: StoredFile | None = stored
        self._name, self._judge = name, judge
        self.renew_lock()
        _ALL.add(self)

    def renew_lock(self) -> None:
        self._lock = threading.RLock()

    def read(self) -> None:
        """Reads the weight, unless another thread has done so. After an error it waits as before.

        Raises FormatError, naming file and tensor, for bytes that are not those of the index; RuntimeError under
        torch.compile and modes that record what is computed.
        """
        if is_dynamo_compiling() or _len_torch_dispatch_stack() or maybe_current_level() is not None:
            raise RuntimeError(
                f"{self.target.name} is not read yet, and cannot be read while torch.compile, torch.export or "
                "torch.func follow the computation: call list(model.parameters()) before, which reads all layers, or "
                "dc.run without lazy=True"
            )
        with self._lock:
            if self._stored is None:
                return
            try:
                # a parameter that is made in the mode for inference could not be used outside of it
                with torch.inference_mode(False), torch.no_grad():
                    source = StoredTensor(self._stored.file, self._name)
                    plan = self._judge(self.target, source)
                    dense = None if plan.stand_ins else source.parameter(self.target)
            except FormatError as error:
                raise FormatError(f"{error}; the layer stays unread: {self._stored.why_bad()}") from None
            # a look at the module from here on finds the weight
            self._stored = None
            with _PUTTING:
                for reference, place in zip(self._modules, self.target.places, strict=True):
                    if (module := reference()) is not None:
                        _put(module, place, plan, dense)


_ALL: weakref.WeakSet[Unread] = weakref.WeakSet()
# held for moments, by whoever has the lock of a weight
_PUTTING = threading.RLock()


def _renew_locks() -> None:
    """In a forked child no thread is left that could release a lock."""
    global _PUTTING
    _PUTTING = threading.RLock()
    for unread in _ALL:
        unread.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def let_wait(module: nn.Module, local: str, unread: Unread) -> None:
    """Lets the weight of a module wait for its first use, or for the first look at the module's tensors."""
    waiting = vars(module).setdefault(UNREAD, {})
    waiting[local] = unread
    base = type(module).__bases__[1] if isinstance(module, _Waiting) else type(module)
    module.__class__ = _waiting_class(base, tuple(waiting))


@functools.cache
def _waiting_class(base: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    """The class of a module with weights of these names that wait. It passes for the class that it replaces."""
    like = {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(base.__name__, (_Waiting, base), like | {name: _weight(name) for name in names})


def _weight(name: str) -> property:
    def get(module: Any) -> Any:
        unread = vars(module).get(UNREAD, {}).get(name)
        if unread is not None:
            unread.read()
        return nn.Module.__getattr__(module, name)

    return property(get)


def _read_all(module: nn.Module) -> None:
    """Reads the weights of one module that wait."""
    for unread in list(vars(module).get(UNREAD, {}).values()):
        unread.read()


class _Waiting:
    """What a module does first that has weights that wait. It has its own class again once they are read."""

    def forward(self: Any, *args: Any, **named: Any) -> Any:
        _read_all(self)
        return self.forward(*args, **named)

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        """For pickle and copies."""
        _read_all(self)
        return self.__reduce_ex__(protocol)

    @property
    def _parameters(self: Any) -> Any:
        _read_all(self)
        return vars(self)["_parameters"]

    @property
    def _buffers(self: Any) -> Any:
        _read_all(self)
        return vars(self)["_buffers"]


def _put(module: nn.Module, place: Place, plan: Plan, dense: nn.Parameter | None) -> None:
    """Puts a weight that was read into its module. Other threads find the old state or the new one, at any moment."""
    own, local = vars(module), place[1]
    base: type[Any] = type(place[0])
    if dense is None:
        own["_modules"][local] = plan.stand_ins[place]
        own["_parameters"].pop(local)
    else:
        own["_parameters"][local] = dense
        if plan.dense is not None:
            own.setdefault(DENSE_REASONS, {})[local] = plan.dense
    if len(own[UNREAD]) > 1:
        del own[UNREAD][local]
        return
    packed = [part for part in own["_modules"].values() if isinstance(part, StandIn)]
    if isinstance(module, nn.RNNBase):
        if packed:
            forget_flat_weights(module)
            base = PACKED_RECURRENT[base]
        else:
            module._init_flat_weights()
    elif isinstance(next(iter(packed), None), PackedWeight):
        base = packed_class(base, module)
    module.__class__ = base
    del own[UNREAD]
