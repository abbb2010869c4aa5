"""The processes that train one model together: before anything is changed, all have the same change in hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from deepcompression.common.messages import listed
from deepcompression.recipe.targets import unwrapped, wrappers

if TYPE_CHECKING:
    from torch.nn import Module

T = TypeVar("T")

_ERRORS: tuple[type[Exception], ...] = (FileNotFoundError, OSError, ValueError, TypeError)

_DIGEST_BYTES = 32


class _Told(NamedTuple):
    """What a rank has come to: an error by its type and message, or digests by name."""

    error: tuple[str, str] | None
    digests: Mapping[str, bytes]


class Ranks(NamedTuple):
    """The ranks that hold one model; one alone, at no cost, where there is no process group."""

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def of(cls, model: Module) -> Ranks:
        """Those of the DistributedDataParallel around the model, of the mesh that its parameters are sharded over, or
        of the default process group.
        """
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        group: Any = next((each.process_group for each in wrappers(model) if hasattr(each, "process_group")), None)
        if group is None:
            meshes = (getattr(parameter, "device_mesh", None) for parameter in model.parameters())
            mesh = next((mesh for mesh in meshes if mesh is not None), None)
            # a mesh of more dimensions than one is usually of all ranks
            group = mesh.get_group() if mesh is not None and mesh.ndim == 1 else dist.group.WORLD
        return cls(dist.get_rank(group), dist.get_world_size(group), group)

    def agree(self, work: Callable[[], T], digests: Callable[[T], Mapping[str, bytes]]) -> T:
        """What `work` gives here, once it has given the same everywhere; `digests` tells that by the names of
        tensors. `work` must not change anything.

        Raises, the same on all ranks, what `work` raised on any of them, and ValueError where digests differ.
        """
        if self.size == 1:
            return work()
        failed: Exception | None = None
        try:
            made = work()
            told = _Told(None, digests(made))
        except Exception as error:
            failed, told = error, _Told(_described(error), {})
        if self._all_alike(told):
            return made
        everyone: list[Any] = [None] * self.size
        self._exchange(lambda dist: dist.all_gather_object(everyone, told, group=self.group))
        raise _disagreement(everyone) from failed

    def first(self, work: Callable[[], T], beside: Callable[[], object] = lambda: None) -> T:
        """What `work` gives on the first rank, which alone does it; the others wait for that and get the result.

        beside  the exchanges among ranks that `work` takes part in, for the other ranks, and for the first if it has
                left any over

        Raises, on all ranks, what `work` raised.
        """
        if self.size == 1:
            return work()
        box: list[Any] = [None, None]
        failed: Exception | None = None
        try:
            if self.rank == 0:
                box[0] = work()
        except Exception as error:
            failed, box[1] = error, _described(error)
        beside()

        def broadcast(dist: Any) -> None:
            dist.broadcast_object_list(box, src=dist.get_global_rank(self.group, 0), group=self.group)

        self._exchange(broadcast)
        made, error_told = box
        if failed is not None:
            raise failed
        if error_told is not None:
            raise _error(error_told, "rank 0: ")
        result: T = made
        return result

    def spare_sending(self, model: Module) -> None:
        """Tells a DistributedDataParallel that is put around the model later not to send masks and codes, on which the
        ranks have agreed, with every forward.
        """
        if self.size == 1:
            return
        from torch.nn.parallel import DistributedDataParallel

        ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        plain: Any = unwrapped(model)
        agreed = [module for module in plain.named_modules() if hasattr(type(module[1]), "weight_shape")]
        names = [f"{name}.{local}" for name, module in agreed for local in module._buffers]
        before = getattr(plain, "_ddp_params_and_buffers_to_ignore", ())
        ignore(plain, [*dict.fromkeys([*before, *names])])

    def _all_alike(self, told: _Told) -> bool:
        """Whether no rank has failed and all digests are the same: one small all_gather."""
        import torch

        summary = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for name, digest in told.digests.items():
            summary.update(f"{len(name.encode())} {len(digest)} {name} ".encode() + digest)
        mine = torch.tensor([told.error is not None, *summary.digest()], dtype=torch.uint8, device=self._device())
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        self._exchange(lambda dist: dist.all_gather(everyone, mine, group=self.group))
        return not any(int(each[0]) for each in everyone) and all(torch.equal(each, mine) for each in everyone)

    def _device(self) -> Any:
        """Where the group's backend takes tensors from: `cpu:gloo`, `cuda:nccl`, or both."""
        import torch.distributed as dist

        kinds = [part.partition(":")[0] for part in dist.get_backend_config(self.group).split(",")]
        return "cpu" if "cpu" in kinds else kinds[0]

    def _exchange(self, exchange: Callable[[Any], object]) -> None:
        import torch.distributed as dist

        try:
            exchange(dist)
        except RuntimeError as error:
            raise RuntimeError(
                "another rank has ended or cannot be reached: nothing was changed here; start all ranks again from "
                f"their last checkpoint ({error})"
            ) from error


def _described(error: Exception) -> tuple[str, str]:
    kind = next((kind for kind in _ERRORS if isinstance(error, kind)), RuntimeError)
    return kind.__name__, str(error) if kind is not RuntimeError else f"{type(error).__name__}: {error}"


def _error(described: tuple[str, str], where: str) -> Exception:
    kinds: dict[str, type[Exception]] = {kind.__name__: kind for kind in (*_ERRORS, RuntimeError)}
    return kinds[described[0]](where + described[1])


def _disagreement(everyone: list[_Told]) -> Exception:
    """The error that all ranks raise."""
    failed = {rank: told.error for rank, told in enumerate(everyone) if told.error is not None}
    if failed:
        ranks, error = list(failed), next(iter(failed.values()))
        if len(failed) == len(everyone) and len(set(failed.values())) == 1:
            return _error(error, "")
        same = [rank for rank in ranks if failed[rank] == error]
        others = "; nothing was changed on any rank"
        return _error((error[0], error[1] + others), f"{_ranks(same)}: ")
    first, *rest = (told.digests for told in everyone)
    other = {rank: found for rank, found in enumerate(rest, 1) if found != first}
    names = dict.fromkeys(name for found in [first, *other.values()] for name in found)
    differing = [name for name in names if any(found.get(name) != first.get(name) for found in other.values())]
    return ValueError(
        f"{listed(differing)}: {_ranks(list(other))} would change otherwise than rank 0; nothing was changed on any "
        "rank. All must have the same weights, masks and recipe: start them from the same checkpoint"
    )


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {listed(ranks)}"
