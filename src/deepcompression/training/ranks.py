"""The processes that train one model together: nothing changes before all have computed the same change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from deepcompression.common.messages import listed
from deepcompression.recipe.targets import unwrapped, wrappers

if TYPE_CHECKING:
    from torch.nn import Module

T = TypeVar("T")

# errors that other ranks raise by the same type; the most derived first
_ERRORS: tuple[type[Exception], ...] = (FileNotFoundError, OSError, ValueError, TypeError)


class _Outcome(NamedTuple):
    """The outcome of one rank's work: an error by its type and message, or digests by name."""

    error: tuple[str, str] | None
    digests: Mapping[str, bytes]


class Ranks(NamedTuple):
    """The ranks that hold one model; without a process group a single one, at no cost."""

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def of(cls, model: Module) -> Ranks:
        """The ranks of the model's DistributedDataParallel or sharding mesh, or of the default process group."""
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        group: Any = next((each.process_group for each in wrappers(model) if hasattr(each, "process_group")), None)
        if group is None:
            meshes = (getattr(parameter, "device_mesh", None) for parameter in model.parameters())
            mesh = next((mesh for mesh in meshes if mesh is not None), None)
            # a mesh of several dimensions usually has all ranks
            group = mesh.get_group() if mesh is not None and mesh.ndim == 1 else dist.group.WORLD
        return cls(dist.get_rank(group), dist.get_world_size(group), group)

    def agree(self, work: Callable[[], T], digests: Callable[[T], Mapping[str, bytes]]) -> T:
        """The result of `work`, which must not change anything, if it has the same `digests`, by the names of tensors,
        on all ranks.

        Raises the same error on all ranks: the error that `work` raised on any of them, or ValueError where digests
        differ.
        """
        if self.size == 1:
            return work()
        failed: Exception | None = None
        try:
            made = work()
            outcome = _Outcome(None, digests(made))
        except Exception as error:
            failed, outcome = error, _Outcome(_described(error), {})
        if self._all_alike(outcome):
            return made
        everyone: list[Any] = [None] * self.size
        self._exchange(lambda dist: dist.all_gather_object(everyone, outcome, group=self.group))
        raise _disagreement(everyone) from failed

    def first(self, work: Callable[[], T], beside: Callable[[], object] = lambda: None) -> T:
        """The result of `work`, which only the first rank does; the others wait for it.

        beside  the exchanges among ranks that `work` takes part in: the other ranks do them, and the first does those
                that `work` has left out

        Raises, on all ranks, the error that `work` raised.
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

        self._exchange(
            lambda dist: dist.broadcast_object_list(box, src=dist.get_global_rank(self.group, 0), group=self.group)
        )
        made, described = box
        if failed is not None:
            raise failed
        if described is not None:
            raise _error(described, "rank 0: ")
        return cast(T, made)

    def spare_sending(self, model: Module) -> None:
        """Keeps a later DistributedDataParallel from sending masks and codes, which are the same everywhere."""
        if self.size == 1:
            return
        from torch.nn.parallel import DistributedDataParallel

        ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        plain: Any = unwrapped(model)
        agreed = [module for module in plain.named_modules() if hasattr(type(module[1]), "weight_shape")]
        names = [f"{name}.{local}" for name, module in agreed for local in module._buffers]
        before = getattr(plain, "_ddp_params_and_buffers_to_ignore", ())
        ignore(plain, [*dict.fromkeys([*before, *names])])

    def _all_alike(self, outcome: _Outcome) -> bool:
        """Whether no rank has failed and all digests are the same: one small all_gather."""
        import torch

        summary = hashlib.blake2b(digest_size=32)
        for name, digest in outcome.digests.items():
            summary.update(f"{len(name.encode())} {len(digest)} {name} ".encode() + digest)
        mine = torch.tensor([outcome.error is not None, *summary.digest()], dtype=torch.uint8, device=self._device())
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        self._exchange(lambda dist: dist.all_gather(everyone, mine, group=self.group))
        return not any(int(each[0]) for each in everyone) and all(torch.equal(each, mine) for each in everyone)

    def _device(self) -> Any:
        """The device of the tensors that the group's backend exchanges: `cpu:gloo`, `cuda:nccl`, or both."""
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


def _disagreement(everyone: list[_Outcome]) -> Exception:
    """The error that all ranks raise."""
    failed = {rank: outcome.error for rank, outcome in enumerate(everyone) if outcome.error is not None}
    if failed:
        kind, message = error = next(iter(failed.values()))
        same = [rank for rank in failed if failed[rank] == error]
        if len(same) == len(everyone):
            return _error(error, "")
        return _error((kind, f"{message}; nothing was changed on any rank"), f"{_ranks(same)}: ")
    first, *rest = (outcome.digests for outcome in everyone)
    other = {rank: found for rank, found in enumerate(rest, 1) if found != first}
    names = dict.fromkeys(name for found in [first, *other.values()] for name in found)
    differing = [name for name in names if any(found.get(name) != first.get(name) for found in other.values())]
    return ValueError(
        f"{listed(differing)}: {_ranks(list(other))} would change otherwise than rank 0; nothing was changed on any "
        "rank. All must have the same weights, masks and recipe: start them from the same checkpoint"
    )


def _ranks(ranks: list[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {listed(ranks)}"
