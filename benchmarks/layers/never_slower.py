"""Times networks as `dc.run` holds them by default against the same networks dense, in one process and by turns.

AlexNet, VGG-16 and the LeNets have the weights of `benchmarks.networks`. Others have random ones, pruned by magnitude
and shared, at the densities that are asked for. `batch` counts inputs: images, sequences or rows. What is named to
`dc.run` are the vectors that these are for most products. A copy of the dense network takes part: its ratio is 1 in
truth. A case is judged slower only where its whole interval is. A way that holds nothing compressed has the modules of
the dense network, which is checked, and it is not timed.

The whole takes about eight minutes. `--within 45` begins nothing after 45 s, and the next call goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import deepcompression as dc
from benchmarks import networks
from benchmarks.environment import demand, main
from benchmarks.layers import small_networks as nets
from benchmarks.layers.paired import Ratio, ratio, samples
from benchmarks.pieces import WITHIN, Pieces

BATCHES, DENSITIES, THREADS = (1, 8, 64), (0.1, 0.3, 1.0), (1, 2)
LEAST = 0.97
CENTROIDS = 16
DENSE, COPY, WAYS = "dense", "copy of dense", ("default", "no batch named")
# max|error| / max|y|
MOST_ERROR = 1e-4


@dataclass(frozen=True)
class Case:
    """A network, an input for a batch, how many vectors one of the batch is, and the largest batch: calls of large
    networks take many seconds. `own`: it comes with its weights.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    vectors: int = 1
    largest: int = max(BATCHES)
    own: bool = False


def _random(*shape: int) -> Callable[[int], Tensor]:
    return lambda batch: torch.randn(batch, *shape)


def _tokens(words: int, length: int) -> Callable[[int], Tensor]:
    return lambda batch: torch.randint(words, (batch, length))


def _with_weights(name: str, largest: int = max(BATCHES)) -> Case:
    network = networks.NETWORKS[name]

    def build() -> nn.Module:
        with torch.device("meta"):
            model = network.build()
        state = {key: torch.tensor(each.dense().numpy()) for key, each in network.tensors().items()}
        model.load_state_dict(state, assign=True)
        return model.eval()

    return Case(build, _random(*network.shape), largest=largest, own=True)


CASES = {
    **{name: _with_weights(name) for name in ("LeNet-300-100", "LeNet-5", "VGG-16 fc6-8", "AlexNet")},
    "VGG-16": _with_weights("VGG-16", 8),
    "ResNet": Case(nets.ResNet, _random(3, 32, 32)),
    "MobileNet": Case(nets.MobileNet, _random(3, 64, 64)),
    "MiniLM": Case(nets.minilm, _tokens(nets.WORDS, 16), 16),
    "GPT-2": Case(nets.gpt2, _tokens(nets.WORDS, 8), 8),
    "LSTM": Case(nets.Speech, _random(16, 80)),
    "recommender": Case(nets.Recommender, _tokens(nets.ITEMS, nets.TABLES * nets.BAG)),
}


def compress(model: nn.Module, density: float) -> nn.Module:
    """Every weight of two or more dimensions has so many survivors, of 16 values, evenly spaced among them."""
    with torch.no_grad():
        for parameter in {id(each): each for each in model.parameters() if each.dim() > 1}.values():
            flat = parameter.abs().flatten()
            count = round((1 - density) * flat.numel())
            threshold = flat.kthvalue(count).values if count else -1.0
            step = parameter.abs().max() / (CENTROIDS // 2)
            shared = (parameter / step).trunc().clamp(1 - CENTROIDS // 2, CENTROIDS // 2 - 1)
            shared = (shared + 0.5 * parameter.sign()) * step
            parameter.copy_(torch.where(parameter.abs() > threshold, shared, torch.zeros(())))
    return model.eval()


def output(y: Any) -> Tensor:
    """The tensor among a network's results."""
    return y if isinstance(y, Tensor) else y[0]


def measure_one(case: Case, dense: nn.Module, batch: int, threads: int, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x = case.inputs(batch)
    ways = dict(zip(WAYS, (dc.run(dense, batch=batch * case.vectors), dc.run(dense)), strict=True))
    rows = {name: _rows(model) for name, model in ways.items()}
    timed = {name: model for name, model in ways.items() if any(row.packed for row in rows[name])}
    for name in ways.keys() - timed.keys():
        if [*map(type, ways[name].modules())] != [*map(type, dense.modules())]:
            raise AssertionError(f"{name} holds nothing compressed, but has modules of other classes than dense")
    with torch.inference_mode():
        expected = output(dense(x))
        error = max(float((output(each(x)) - expected).abs().max() / expected.abs().max()) for each in ways.values())
    found = samples({DENSE: dense, COPY: dense} | timed, x, seconds) if timed else []
    return {
        "ratio": {name: ratio(found, DENSE, name)._asdict() for name in (COPY, *timed) if found},
        "compressed weights": {name: [row.names[0] for row in own if row.packed] for name, own in rows.items()},
        "bytes": {name: sum(row.bytes for row in own) for name, own in rows.items()},
        "error": error,
    }


def _rows(model: nn.Module) -> tuple[Any, ...]:
    with contextlib.redirect_stdout(io.StringIO()):
        return tuple(dc.explain(model).rows)


def _tasks(arguments: argparse.Namespace) -> Iterator[tuple[str, Case, Callable[[], nn.Module], int, int]]:
    for name in arguments.networks:
        case = CASES[name]
        for density in [None] if case.own else arguments.density:

            @functools.cache
            def dense(case: Case = case, density: float | None = density) -> nn.Module:
                torch.manual_seed(0)
                return case.build() if density is None else compress(case.build(), density)

            label = name if density is None else f"{name}, density {density:g}"
            for threads in arguments.threads:
                for batch in arguments.batch:
                    if batch <= case.largest:
                        yield f"{label}, batch {batch}, threads {threads}", case, dense, batch, threads


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    pieces = Pieces("never_slower", arguments.within, arguments.seconds)
    found: dict[str, Any] = {}
    for key, case, dense, batch, threads in _tasks(arguments):

        def work(case: Case = case, dense: Any = dense, batch: int = batch, threads: int = threads) -> dict[str, Any]:
            return measure_one(case, dense(), batch, threads, arguments.seconds)

        new = pieces.lacks(key)
        found[key] = pieces.of(key, work)
        if new:
            print(f"{key}: {_text(found[key])}", flush=True)
    return {"cases": found, "demands": demands(found)}


def _text(case: dict[str, Any]) -> str:
    return ", ".join(f"{name} {Ratio(**each)}" for name, each in case["ratio"].items()) or "all weights stay dense"


def demands(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for way in (*WAYS, COPY):
        timed = {key: Ratio(**case["ratio"][way]) for key, case in found.items() if way in case["ratio"]}
        slower = [f"{key}: {each}" for key, each in timed.items() if each.high < LEAST]
        unsure = sum(each.low < LEAST <= each.high for each in timed.values())
        text = "; ".join(slower) or f"none of {len(timed)} timed of {len(found)}; {unsure} not sure"
        if timed:
            worst = min(timed, key=lambda key: timed[key].ratio)
            text += f"; the least is {timed[worst]} ({worst})"
        rows.append(demand(f"{way}: dense / it below {LEAST} for sure in no case", text, not slower))
    worst = max(found, key=lambda key: found[key]["error"])
    error = found[worst]["error"]
    rows.append(demand(f"max|error| / max|y| at most {MOST_ERROR:g}", f"{error:.2g} ({worst})", error <= MOST_ERROR))
    return rows


OPTIONS = {
    "--networks": {"nargs": "+", "choices": CASES, "default": tuple(CASES), "metavar": "NAME"},
    "--batch": {"type": int, "nargs": "+", "default": BATCHES},
    "--density": {"type": float, "nargs": "+", "default": DENSITIES},
    "--threads": {"type": int, "nargs": "+", "default": THREADS},
    "--seconds": {"type": float, "default": 1.0, "help": "of calls for each case"},
    "--within": WITHIN,
}

if __name__ == "__main__":
    parts = ["networks", "batch", "density", "threads"]
    raise SystemExit(main("never_slower", measure, OPTIONS, parts, ["torch", "transformers"]))
