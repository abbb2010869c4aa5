"""A copy of a model in which packed weights replace shared ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from deepcompression.common.messages import listed, warn
from deepcompression.nn.moving import move_as_a_whole
from deepcompression.nn.on_device import TOO_MANY, form_on, why_dense_on
from deepcompression.nn.packed_layers import packed_class
from deepcompression.nn.packed_weight import PackedParts, PackedWeight
from deepcompression.nn.probe import plain_class
from deepcompression.nn.recurrent import PACKED_RECURRENT, stand_in_recurrent
from deepcompression.nn.refuse_saving import refuse_saving
from deepcompression.nn.stand_in import StandIn
from deepcompression.nn.uses import Use, use_of, why_unknown
from deepcompression.nn.weight_source import WeightSource, rows_apart, turned
from deepcompression.nn.what_pays import DENSE_REASONS, LEAST_WEIGHTS, Rule, Verdict
from deepcompression.packed import packing
from deepcompression.recipe.hints import whole_name
from deepcompression.recipe.targets import Target
from deepcompression.tensors.from_torch import to_torch
from deepcompression.tensors.tensor import CompressedTensor
from deepcompression.training import attach
from deepcompression.training.copy_model import copy_model
from deepcompression.training.own_values import own_values

if TYPE_CHECKING:
    from deepcompression.nn.lazy import Lazy
    from deepcompression.nn.tuning import Times


class Options(NamedTuple):
    """The options of `run`; patterns are globs of plain names. The device is None for each parameter's own."""

    activations: str
    batch: int | None
    linear: tuple[str, ...]
    dense: tuple[str, ...]
    device: torch.device | None = None
    prefer: str = "time"
    tune: bool = False

    def computes_on(self, parameter: torch.Tensor) -> torch.device:
        """The device that a parameter is packed for."""
        own = torch.device("cpu") if parameter.is_meta else parameter.device
        return self.device or own


class _Plan(NamedTuple):
    """The stand-ins for a target by place, or the verdict by which it stays dense, None for what is no weight."""

    target: Target
    stand_ins: dict[tuple[nn.Module, str], StandIn]
    dense: Verdict | None


def assemble(model: nn.Module, source: WeightSource, options: Options, lazy: Lazy | None = None) -> nn.Module:
    """The copy. Raises ValueError, naming the tensor, for tensors that do not fit or have no memory.

    lazy  takes the weights that are read at their first use; None if there are none
    """
    targets = source.targets
    _check_patterns(targets, options)
    rule = Rule(options.prefer, options.activations, options.batch, targets)
    times = _times() if options.tune else None
    # deepcopy looks here first: it copies no weight that is replaced, and none that comes out of a file
    memo: dict[int, Any] = dict(own_values(model, source.kept))
    plans = []
    for target in targets:
        if lazy is not None and lazy.takes(target, _matches(target, options.linear), memo):
            continue
        plan = _plan(target, source, options, rule, times)
        plans.append(plan)
        _put_in_memo(memo, target, source, plan.stand_ins)
    if times is not None:
        times.keep()
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            memo[id(module._flat_weights)] = []
    small, note = copy_model(model, memo)
    if lazy is not None and lazy.is_held_elsewhere():
        return assemble(model, source, options, lazy)
    if note:
        warn(note)
    for plan in plans:
        for place in plan.target.places:
            module, local = memo[id(place[0])], place[1]
            if is_parametrized(module, local):
                attach.strip(module, local)
            if place in plan.stand_ins:
                _replace(module, local, plan.stand_ins[place])
            elif plan.dense is not None:
                module.__dict__.setdefault(DENSE_REASONS, {})[local] = plan.dense
    _mend_recurrent(small)
    if any(plan.stand_ins for plan in plans) or lazy is not None:
        refuse_saving(small)
        move_as_a_whole(small, may_pack=lazy is not None)
    if lazy is not None:

        def judge(own: list[Target]) -> Callable[[Target, WeightSource], _Plan]:
            later = Rule(options.prefer, options.activations, options.batch, own)
            return lambda target, stored: _plan(target, stored, options, later, None)

        lazy.wait(targets, memo, judge)
    return small.eval()


def _times() -> Times:
    from deepcompression.nn.tuning import Times

    return Times()


def _check_patterns(targets: list[Target], options: Options) -> None:
    for kind, patterns in (("linear", options.linear), ("dense", options.dense)):
        for pattern in patterns:
            found = [target for target in targets if target.trained and _matches(target, (pattern,))]
            if not found:
                names = [name for target in targets for name in target.names]
                raise ValueError(
                    f"{kind}={pattern!r} matches no parameter of the model{whole_name(pattern, names)}; there are "
                    f"{listed(names)}"
                )
            for target in found:
                if kind == "linear" and len(target.shape) != 2:
                    raise ValueError(
                        f"linear={pattern!r} matches {target.name}, whose shape is {list(target.shape)}; linear names "
                        "matrices"
                    )


def _matches(target: Target, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in target.names for pattern in patterns)


def _plan(target: Target, source: WeightSource, options: Options, rule: Rule, times: Times | None) -> _Plan:
    if target.kept or len(target.shape) < 2:
        return _Plan(target, {}, None)
    if _matches(target, options.dense):
        return _dense(target, "dense= names it")
    uses: dict[tuple[nn.Module, str], Use] = {}
    for module, local in target.places:
        use = use_of(module, local) or ("linear" if _matches(target, options.linear) else None)
        if use is None:
            tied = " (and it is tied)" if len(target.places) > 1 else ""
            return _dense(target, why_unknown(module, local) + tied)
        uses[module, local] = use
    if target.count < LEAST_WEIGHTS:
        return _dense(target, f"fewer than {LEAST_WEIGHTS:,} weights: a dense product takes less than a call")
    if attach.original(target).dtype == torch.float64:
        return _dense(target, "float64: packed weights are computed in float32")
    shared = source.shared(target)
    if shared is None:
        return _dense(target, "it is not shared: it has more than 256 values")
    # each use with its first place
    kinds: dict[Use, tuple[nn.Module, str]] = {}
    for place, use in uses.items():
        kinds.setdefault(use, place)
    shares = {"linear", "embedding"}.issubset(kinds) and not _matches(target, options.linear)
    if shares and options.prefer == "memory":
        # rows are decoded for both: a second form would only make the product faster
        uses = {place: "embedding" if use == "linear" else use for place, use in uses.items()}
        del kinds["linear"]
    verdicts = {use: _verdict(target, use, place, shared, rule, options) for use, place in kinds.items()}
    stand_ins: dict[Use, StandIn] = {}
    for use, place in kinds.items():
        measures = times is not None and plain_class(place[0]) not in PACKED_RECURRENT
        if verdicts[use].pays or measures:
            stand_ins[use] = _pack(target, use, shared, options, verdicts[use].batch)
        if times is not None and measures:
            original, packed_on = attach.original(target), stand_ins[use].device
            device = options.computes_on(original)
            dense = to_torch(shared.dense()).to(device, original.dtype)
            measured = times.of(use, place[0], stand_ins[use].to(device), dense, rule.vectors)
            stand_ins[use].to(packed_on)
            verdicts[use] = rule.measured(use, verdicts[use].batch, measured)
        if not verdicts[use].pays:
            return _Plan(target, {}, verdicts[use])
    dense_bytes = target.count * attach.original(target).element_size()
    held = sum(buffer.numel() for stand_in in stand_ins.values() for buffer in stand_in.buffers())
    if held >= dense_bytes:
        return _dense(target, f"packed it would take {held:,} bytes, dense it takes {dense_bytes:,}")
    for number, (use, stand_in) in enumerate(stand_ins.items()):
        why = [f"{dense_bytes / held:.1f} times fewer bytes than dense", verdicts[use].why]
        if len(stand_ins) > 1:
            why.append(f"tied, and in a form of its own for {use}")
        elif shares and use == "embedding":
            why.append("tied, and held once: linear= gives its products a faster form of their own")
        stand_in.why, stand_in.counts_dense = "; ".join(filter(None, why)), number == 0
        stand_in.expected = verdicts[use].expected
    return _Plan(target, {place: stand_ins[use] for place, use in uses.items()}, None)


def _dense(target: Target, why: str) -> _Plan:
    return _Plan(target, {}, Verdict(False, 1, why))


def _verdict(
    target: Target, use: Use, place: tuple[nn.Module, str], shared: CompressedTensor, rule: Rule, options: Options
) -> Verdict:
    device, survivors = options.computes_on(attach.original(target)), len(shared.codes)
    if device.type == "cpu":
        return rule.verdict(use, place, target.shape, survivors)
    if survivors >= TOO_MANY:
        return Verdict(False, 1, f"{survivors:,} weights survive: kernels on {device.type} number fewer than 2^31")
    slow = why_dense_on(device, use, survivors / target.count, options.batch)
    if slow is not None and options.prefer == "time":
        return Verdict(False, 1, slow)
    return Verdict(True, 1, f"times on {device.type} are known once they are measured")


def _pack(target: Target, use: Use, shared: CompressedTensor, options: Options, batch: int) -> StandIn:
    original = attach.original(target)
    form = form_on(options.computes_on(original), use)
    # the forms tile and word are multiplied in float32 for every kind of activations
    activations = options.activations if form is None else "float32"
    # a model that changes its device is packed on the CPU, and moves as a whole
    device = torch.device("cpu") if original.is_meta or options.device is not None else original.device

    def packed(tensor: CompressedTensor, transposed: bool = False) -> PackedWeight:
        matrix = turned(tensor) if transposed else tensor
        found = packing.pack(matrix, activations, batch, form=form, threads=torch.get_num_threads())
        array = torch.from_numpy(found)
        return PackedWeight(target.name, array.to(device), tensor.shape, original.dtype, activations, transposed)

    if use == "projections":
        return PackedParts(target.name, [packed(part) for part in rows_apart(shared, 3)])
    weight = packed(shared, use == "transposed")
    weight.keeps_dense = (
        use == "convolution" and options.prefer == "time" and options.computes_on(original).type == "cpu"
    )
    return weight


def _put_in_memo(
    memo: dict[int, Any], target: Target, source: WeightSource, stand_ins: Mapping[tuple[nn.Module, str], StandIn]
) -> None:
    original = attach.original(target)
    for part in attach.chain(target):
        memo[id(part)] = nn.Identity()
    if stand_ins:
        # wherever the model holds the weight, in a list or a closure, its copy holds the stand-in; a parametrization
        # takes only a tensor until then
        empty = nn.Parameter(torch.empty(target.shape, dtype=original.dtype, device="meta"))
        memo[id(original)] = empty if attach.chain(target) else next(iter(stand_ins.values()))
        return
    loaded = source.dense(target)
    if loaded is not None:
        loaded = loaded if original.is_meta else loaded.to(original.device)
        is_parameter = isinstance(original, nn.Parameter)
        memo[id(original)] = nn.Parameter(loaded, original.requires_grad) if is_parameter else loaded


def _replace(module: nn.Module, local: str, stand_in: StandIn) -> None:
    del module._parameters[local]
    module.add_module(local, stand_in)
    if isinstance(stand_in, PackedWeight):
        module.__class__ = packed_class(type(module), module)


def _mend_recurrent(small: nn.Module) -> None:
    """Renews the list of weights that recurrent modules keep, which still has the old parameters."""
    for module in small.modules():
        if isinstance(module, nn.RNNBase):
            packed = any(isinstance(part, StandIn) for part in module.children())
            if packed and type(module) in PACKED_RECURRENT:
                stand_in_recurrent(module)
            elif not packed:
                module._init_flat_weights()
