"""Ratios of the layers' times: how many times as fast as others, and whether the demands are met."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.environment import demand
from benchmarks.layers import ours as layer_ours
from benchmarks.layers import peers as layer_peers
from benchmarks.layers.ours import LAYERS

Found = dict[str, Any]
Times = dict[str, float]
# Name of a peer -> its kind.
Kinds = Mapping[str, str]

# The rivals of a ratio: the quickest of these kinds on each layer, or one peer.
AGAINST: dict[str, tuple[str, ...]] = {
    "torch fp32": ("torch fp32",),
    "best dense fp32": (layer_peers.FP32,),
    "best dense bf16": (layer_peers.BF16,),
    "best int8": (layer_peers.INT8,),
    "best int4": (layer_peers.INT4,),
    "int4, block 32": ("ONNX Runtime int4, block 32, accuracy 4", "torch int4 weights, block 32"),
    "best int8 / int4": (layer_peers.INT8, layer_peers.INT4),
    "best sparse": (layer_peers.SPARSE,),
    "MKL sparse": ("oneMKL", "oneMKL, row major", "sparse-dot-mkl"),
    "DeepSparse fp32": ("DeepSparse fp32",),
    "DeepSparse int8": ("DeepSparse int8",),
}
# The demands on one thread: batch, ours, rivals -> times at least; hot caches.
DEMANDED: dict[tuple[int, str, str], dict[str, float]] = {
    (1, layer_ours.FLOAT32, "avx512"): {
        "torch fp32": 15,
        "best dense fp32": 12,
        "best int8 / int4": 2.2,
        "best sparse": 5,
    },
    (1, layer_ours.INT8, "avx512"): {
        "torch fp32": 33,
        "best dense fp32": 25,
        "best int8 / int4": 5,
        "best sparse": 11,
    },
    (8, layer_ours.INT8, "avx512"): {"best dense fp32": 15, "best int8 / int4": 2.5, "best sparse": 6},
    (64, layer_ours.FLOAT32, "avx512"): {
        "torch fp32": 12,
        "best dense fp32": 5.5,
        "best int8 / int4": 1.3,
        "best sparse": 3.5,
    },
    (64, layer_ours.INT8, "avx512"): {"best dense fp32": 12, "best int8 / int4": 3, "best sparse": 7},
    (1, layer_ours.FLOAT32, "avx2"): {"best dense fp32": 2},
    (1, layer_ours.INT8, "avx2"): {"best int8": 1.5},
    (1, layer_ours.FLOAT32, "portable"): {"MKL sparse": 1},
}
# The demands on two threads: batch, ours -> times the best int8 / int4 at least; hot caches, modules and all.
DEMANDED_OF_TWO = {
    (1, layer_ours.FLOAT32): 1.3,
    (1, layer_ours.INT8): 2.5,
    (8, layer_ours.FLOAT32): 0.8,
    (8, layer_ours.INT8): 1.5,
}
# The one demand on some layers only.
SPARSEST = ("avx2", "best int8", [name for name, (_, _, density) in LAYERS.items() if 0.04 <= density <= 0.11])
# What a second thread gains on a layer at least: on any, and where the packed weights have more bytes than these.
SECOND_THREAD = {0: 1.0, 500_000: 1.5}
# A module's call takes at most so many microseconds more than the bare kernel, in the middle of the layers.
MOST_OVERHEAD_US = 2.0


def case(batch: int, threads: int, cache: str) -> str:
    return f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}, {cache} caches"


def best(times: Mapping[str, float], against: str, kinds: Kinds) -> tuple[str, float] | None:
    """The quickest task of those that a key of `AGAINST` means, with its time."""
    members = AGAINST[against]
    chosen = {name: time for name, time in times.items() if name in members or kinds.get(name) in members}
    return min(chosen.items(), key=lambda item: item[1]) if chosen else None


def mean(
    layers: Mapping[str, Found], key: str, ours: str, against: str, kinds: Kinds, names: Iterable[str]
) -> float | None:
    """How many times as fast as others ours is: the geometric mean over layers; None unless all have both."""
    ratios = []
    for name in names:
        times = layers.get(name, {}).get("ms", {}).get(key, {})
        other = best(times, against, kinds)
        if ours not in times or other is None:
            return None
        ratios.append(other[1] / times[ours])
    return statistics.geometric_mean(ratios) if ratios else None


def means(layers: Mapping[str, Found], kinds: Kinds) -> dict[str, dict[str, Times]]:
    """Case -> ours -> against -> geometric mean over the layers that were measured."""
    found: dict[str, dict[str, Times]] = {}
    for key in next(iter(layers.values()))["ms"]:
        ours = [name for name in next(iter(layers.values()))["ms"][key] if name.startswith("ours")]
        for name, against in itertools.product(ours, AGAINST):
            ratio = mean(layers, key, name, against, kinds, layers)
            if ratio is not None:
                found.setdefault(key, {}).setdefault(name, {})[against] = round(ratio, 3)
    return found


def overhead(times: Mapping[str, float], kind: str) -> float | None:
    """Microseconds of a module's call over the bare kernel that it uses, from a layer's milliseconds; None unless it
    has both.
    """
    module = f"{kind}, {layer_ours.MODULE}"
    bare = [name for name in times if name.startswith(f"{kind}, ") and name != module]
    # the last instruction set is the widest, which modules use
    return 1e3 * (times[module] - times[bare[-1]]) if bare and module in times else None


def least_gain(layers: Mapping[str, Found], batch: int, name: str, more_than: int) -> tuple[float, str] | None:
    """How many times as fast two threads are as one, at least, and on which layer; of those with more packed bytes than
    `more_than`. None unless all of them were measured.
    """
    one, two = case(batch, 1, "hot"), case(batch, 2, "hot")
    gains = []
    for layer in LAYERS:
        found = layers.get(layer, {"ms": {}})
        if not all(name in found["ms"].get(key, {}) for key in (one, two)):
            return None
        if found["bytes"][name] > more_than:
            gains.append((round(found["ms"][one][name] / found["ms"][two][name], 2), layer))
    return min(gains, default=None)


def demands(layers: Mapping[str, Found], kinds: Kinds) -> list[dict[str, Any]]:
    """The demands on speed, and on everyone's errors."""
    rows = []
    sets = {name.rpartition(", ")[2] for found in layers.values() for name in found["errors"]}
    for (batch, kind, way), limits in DEMANDED.items():
        if way not in sets:
            continue
        key = case(batch, 1, "hot")
        for against, least in limits.items():
            part = (way, against) == SPARSEST[:2]
            ratio = mean(layers, key, f"{kind}, {way}", against, kinds, SPARSEST[2] if part else LAYERS)
            where = ", layers at 4-11 %" if part else ""
            text = f"batch {batch}, {kind}, {way}: at least {least} times {against}{where}"
            found = "not measured" if ratio is None else round(ratio, 2)
            rows.append(demand(text, found, ratio is not None and ratio >= least))
    for (batch, kind), least in DEMANDED_OF_TWO.items():
        against = "best int8 / int4"
        ratio = mean(layers, case(batch, 2, "hot"), f"{kind}, {layer_ours.MODULE}", against, kinds, LAYERS)
        text = f"batch {batch}, {kind}, {layer_ours.MODULE}, 2 threads: at least {least} times {against}"
        found = "not measured" if ratio is None else round(ratio, 2)
        rows.append(demand(text, found, ratio is not None and ratio >= least))
    for (batch, kind), (more_than, least) in itertools.product(DEMANDED_OF_TWO, SECOND_THREAD.items()):
        gain = least_gain(layers, batch, f"{kind}, {layer_ours.MODULE}", more_than)
        of = f"layer of more than {more_than / 1e6:g} MB" if more_than else "layer"
        text = f"batch {batch}, {kind}, {layer_ours.MODULE}: 2 threads at least {least:g} times one, every {of}"
        found = "not measured" if gain is None else f"{gain[0]} ({gain[1]})"
        rows.append(demand(text, found, gain is not None and gain[0] >= least))
    for kind in layer_ours.BOUNDS:
        text = f"batch 1, {kind}: a module's call at most {MOST_OVERHEAD_US:g} microseconds over the bare kernel"
        overs = [overhead(layer["ms"].get(case(1, 1, "hot"), {}), kind) for layer in layers.values()]
        over = statistics.median(known) if (known := [each for each in overs if each is not None]) else None
        rows.append(
            demand(
                text, "not measured" if over is None else round(over, 2), over is not None and over <= MOST_OVERHEAD_US
            )
        )
    bounds = {name: layer_peers.BOUNDS[kind] for name, kind in kinds.items()}
    worst: dict[tuple[str, float], tuple[float, str]] = {}
    for layer, name in ((layer, name) for layer, found in layers.items() for name in found["errors"]):
        kind = kinds.get(name, name.rpartition(", ")[0])
        bound = bounds.get(name, layer_ours.BOUNDS.get(kind, 0.0))
        found_error = layers[layer]["errors"][name]
        worst[kind, bound] = max(worst.get((kind, bound), (0.0, "")), (found_error, f"{name}, {layer}"))
    for (kind, bound), (value, who) in worst.items():
        rows.append(demand(f"{kind}: max|error| / max|y| at most {bound:g}", f"{value:.2g} ({who})", value <= bound))
    return rows
