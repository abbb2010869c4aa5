"""A model whose shared weights are computed packed, made beside the one that was given."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from deepcompression.nn.packed_weight import PackedLinear, PackedParts, PackedWeight
from deepcompression.nn.recurrent import PACKED_RECURRENT, stand_in_recurrent
from deepcompression.nn.stand_in import StandIn
from deepcompression.nn.weight_source import WeightSource, rows_apart
from deepcompression.nn.what_pays import Use, use_of, why_dense, why_large, why_small, why_unknown
from deepcompression.packed import packing
from deepcompression.recipe.targets import Target, targets_of
from deepcompression.tensors.tensor import CompressedTensor
from deepcompression.training import attach

# attribute of a module: its parameters that stay dense, each with the reason
DENSE_REASONS = "dense_reasons"


@dataclass(frozen=True)
class Options:
    """The options of `run`; patterns are globs of plain names."""

    activations: str
    batch: int
    linear: tuple[str, ...]
    dense: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """A target's future: stand-ins by use, or dense for a reason, which is None for a tensor that is no weight."""

    target: Target
    stand_ins: dict[Use, StandIn]
    reason: str | None


def assemble(model: nn.Module, source: WeightSource, options: Options) -> nn.Module:
    """Raises ValueError, naming the tensor, for what does not fit or has no memory."""
    targets = targets_of(model)
    _check_patterns(targets, options)
    _check_memory(model, targets)
    # deepcopy looks here first: weights that are replaced are never copied, those of a file need no memory before
    memo: dict[int, Any] = {}
    plans = []
    for target in targets:
        plan = _plan(target, source, options)
        plans.append(plan)
        _put_in_memo(memo, target, source, bool(plan.stand_ins))
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            memo[id(module._flat_weights)] = []
    small = copy.deepcopy(model, memo)
    for plan in plans:
        for place, module, local in _places(plan.target, memo):
            if attach.chain(Target((plan.target.name,), plan.target.shape, True, None, ((module, local),))):
                attach.strip(module, local)
            if plan.stand_ins:
                use = _use(plan.target, *place, options)
                assert use is not None
                _replace(module, local, plan.stand_ins[use])
            elif plan.reason is not None:
                module.__dict__.setdefault(DENSE_REASONS, {})[local] = plan.reason
    _mend_recurrent(small)
    return small


def _check_patterns(targets: list[Target], options: Options) -> None:
    for kind, patterns in (("linear", options.linear), ("dense", options.dense)):
        for pattern in patterns:
            found = [target for target in targets if target.trained and _matches(target, (pattern,))]
            if not found:
                raise ValueError(f"{kind}={pattern!r} matches no parameter of the model")
            for target in found:
                if kind == "linear" and len(target.shape) != 2:
                    raise ValueError(f"linear={pattern!r} matches {target.name}, whose shape is {list(target.shape)}")


def _check_memory(model: nn.Module, targets: list[Target]) -> None:
    """Buffers that no file holds must have memory in the model."""
    known = {name for target in targets for name in target.names}
    for name, buffer in model.named_buffers():
        if buffer.is_meta and name not in known:
            raise ValueError(f"{name} has no memory (it is on the device meta), and no file holds it: make it first")


def _matches(target: Target, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in target.names for pattern in patterns)


def _use(target: Target, module: nn.Module, local: str, options: Options) -> Use | None:
    return "linear" if _matches(target, options.linear) else use_of(module, local)


def _plan(target: Target, source: WeightSource, options: Options) -> _Plan:
    if not target.floating or not target.trained or len(target.shape) < 2:
        return _Plan(target, {}, None)
    if _matches(target, options.dense):
        return _Plan(target, {}, "dense= names it")
    uses: dict[Use, None] = {}
    for module, local in target.places:
        use = _use(target, module, local, options)
        if use is None:
            tied = " (and it is tied)" if len(target.places) > 1 else ""
            return _Plan(target, {}, why_unknown(module, local) + tied)
        uses[use] = None
    if reason := why_small(target.count):
        return _Plan(target, {}, reason)
    if attach.original(target).dtype == torch.float64:
        return _Plan(target, {}, "float64: packed weights are computed in float32")
    shared = source.shared(target)
    if shared is None:
        return _Plan(target, {}, "it is not shared: it has more than 256 values")
    density = len(shared.codes) / target.count
    multiplied = "linear" in uses or "projections" in uses
    if multiplied and (reason := why_dense(density, packing.instruction_set(), options.batch)):
        return _Plan(target, {}, reason)
    stand_ins = {use: _pack(target, use, shared, options) for use in uses}
    dense_bytes = target.count * attach.original(target).element_size()
    held = sum(buffer.numel() for stand_in in stand_ins.values() for buffer in stand_in.buffers())
    if reason := why_large(held, dense_bytes):
        return _Plan(target, {}, reason)
    why = f"{100 * density:.3g} % of the weights survive, in {dense_bytes / held:.1f} times fewer bytes than dense"
    for number, (use, stand_in) in enumerate(stand_ins.items()):
        tied = f"; tied, and in a form of its own for {use}" if len(stand_ins) > 1 else ""
        stand_in.why, stand_in.counts_dense = why + tied, number == 0
    return _Plan(target, stand_ins, None)


def _pack(target: Target, use: Use, shared: CompressedTensor, options: Options) -> StandIn:
    original = attach.original(target)
    device = torch.device("cpu") if original.is_meta else original.device
    # rows of a tile are decoded for float32 products, whatever is asked for
    form, activations = ("tile", "float32") if is_decoded(use, device) else (None, options.activations)

    def packed(tensor: CompressedTensor) -> PackedWeight:
        array = torch.from_numpy(packing.pack(tensor, activations, options.batch, form=form))
        return PackedWeight(target.name, array.to(device), tensor.shape, original.dtype, activations)

    if use == "projections":
        return PackedParts(target.name, [packed(part) for part in rows_apart(shared, 3)])
    return packed(shared)


def is_decoded(use: Use, device: torch.device) -> bool:
    """Whether rows are decoded (the form tile): for uses that take dense rows, and on devices without kernels."""
    return use in ("convolution", "embedding") or device.type != "cpu"


def _put_in_memo(memo: dict[int, Any], target: Target, source: WeightSource, is_packed: bool) -> None:
    original = attach.original(target)
    for part in attach.chain(target):
        memo[id(part)] = nn.Identity()
    if is_packed:
        # stands there until it is replaced
        memo[id(original)] = nn.Parameter(torch.empty(target.shape, dtype=original.dtype, device="meta"))
        return
    loaded = source.dense(target)
    if loaded is not None:
        loaded = loaded if original.is_meta else loaded.to(original.device)
        is_parameter = isinstance(original, nn.Parameter)
        memo[id(original)] = nn.Parameter(loaded, original.requires_grad) if is_parameter else loaded


def _places(target: Target, copies: Mapping[int, Any]) -> Iterator[tuple[tuple[nn.Module, str], nn.Module, str]]:
    """(module and tensor name in the model, module in the copy, tensor name), each once."""
    for module, local in target.places:
        yield (module, local), copies[id(module)], local


def _replace(module: nn.Module, local: str, stand_in: StandIn) -> None:
    del module._parameters[local]
    module.add_module(local, stand_in)
    if type(module) is nn.Linear and isinstance(stand_in, PackedWeight):
        module.__class__ = PackedLinear


def _mend_recurrent(small: nn.Module) -> None:
    """Recurrent modules keep a list of their weights, which is that of the parameters before."""
    for module in small.modules():
        if isinstance(module, nn.RNNBase):
            packed = any(isinstance(part, StandIn) for part in module.children())
            if packed and type(module) in PACKED_RECURRENT:
                stand_in_recurrent(module)
            elif not packed:
                module._init_flat_weights()
