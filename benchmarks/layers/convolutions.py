"""Times the convolutions of AlexNet and VGG-16 from compressed weights beside the same ones dense in float32.

Batch 1, hot caches, one thread by default; synthetic weights at the paper's densities, 256 centroids. They take turns
in one process, and every result is compared with float64.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import threadpoolctl
import torch
from onnx import helper
from torch import nn

import deepcompression as dc
from benchmarks import tensors, timing
from benchmarks.environment import demand, main
from benchmarks.layers import onnx_peers
from benchmarks.layers.ours import error
from benchmarks.networks import convolutions
from deepcompression.tensors.tensor import CompressedTensor

OURS = "ours float32"
DEMANDED, BOUND, DENSE_BOUND = 1.2, 1e-6, 1e-5
# Weights are held compressed if those of all layers take at most this part of the dense ones.
HELD = 1 / 3

Found = dict[str, Any]


def peers(module: nn.Conv2d, weight: torch.Tensor, x: torch.Tensor, threads: int) -> dict[str, Callable[[], Any]]:
    """The peers that compute it dense in float32, without a bias."""
    stride, padding, groups = list(module.stride), list(module.padding), module.groups
    pads = [int(each) for each in padding]
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, pads, stride, [1, 1], groups, list(x.shape))
    pointwise = torch.ops.mkldnn._convolution_pointwise.default
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=pads * 2, strides=stride, group=groups)
    session = onnx_peers.session([node], {"w": weight.numpy()}, None, threads, [None] * 4)
    plain = torch.nn.functional.conv2d(x, weight, None, stride, padding, 1, groups)
    binding, out = session.io_binding(), onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(plain.numpy()))
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x.numpy()))
    binding.bind_ortvalue_output("y", out)

    last = {"memory_format": torch.channels_last}
    x_last, weight_last = x.contiguous(**last), weight.contiguous(**last)

    def bound() -> Any:
        session.run_with_iobinding(binding)
        return out

    return {
        "torch fp32": lambda: torch.nn.functional.conv2d(x, weight, None, stride, padding, 1, groups),
        "torch fp32, channels last": lambda: torch.nn.functional.conv2d(
            x_last, weight_last, None, stride, padding, 1, groups
        ),
        "torch fp32, oneDNN packed": lambda: pointwise(x, packed, None, pads, stride, [1, 1], groups, "none", [], ""),
        "ONNX Runtime fp32": bound,
    }


def ours(module: nn.Conv2d, tensor: CompressedTensor, x: torch.Tensor) -> tuple[Callable[[], Any], int]:
    """The compressed module's call, and the bytes of its weights."""
    plain = nn.Conv2d(
        *(module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding),
        groups=module.groups,
        bias=False,
        device="meta",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.dcz"
        dc.save_tensors(path, {"weight": tensor})
        small = dc.run(plain, path, batch=1)
    held = sum(each.nbytes for each in (*small.parameters(), *small.buffers()))
    return lambda: small(x), held


def measure(network: str, name: str, threads: int, seconds: float) -> Found:
    """Milliseconds and errors by task, bytes of weights dense and compressed."""
    module, shape = convolutions(network)[name]
    size, density = tensors.TABLES[network][name]
    tensor = tensors.convolution(size, density)
    weight = torch.from_numpy(tensor.numpy())
    x = torch.from_numpy(np.random.default_rng(7).standard_normal(shape, np.float32))
    calls = peers(module, weight, x, threads)
    found: Found = {"density": density, "dense bytes": weight.nbytes, "missing": {}}
    try:
        calls[OURS], found["bytes"] = ours(module, tensor, x)
        calls[OURS]()
    except Exception as problem:
        calls.pop(OURS, None)
        found["missing"][OURS] = f"{type(problem).__name__}: {problem}"[:200]
    exact = torch.nn.functional.conv2d(
        x.double(), weight.double(), None, module.stride, module.padding, 1, module.groups
    ).numpy()
    found["errors"] = {who: error(call(), exact) for who, call in calls.items()}
    tasks = {who: timing.Call(call, timing.flush_of(1)) for who, call in calls.items()}
    medians, found["rounds"] = timing.interleave(tasks, seconds, pause=timing.PAUSE_SECONDS if threads > 1 else 0)
    found["ms"] = {who: float(f"{1e3 * median:.4g}") for who, median in medians.items()}
    print(f"{network} {name}: {found['ms']} {found['missing'] or ''}", flush=True)
    return found


def demands(found: dict[str, Found]) -> list[Found]:
    rows = []
    if all(OURS in each["ms"] for each in found.values()):
        times = {
            name: each["ms"][OURS] / min(ms for who, ms in each["ms"].items() if who != OURS)
            for name, each in found.items()
        }
        mean, slowest = statistics.geometric_mean(times.values()), max(times, key=lambda name: times[name])
        part = sum(each["bytes"] for each in found.values()) / sum(each["dense bytes"] for each in found.values())
        text = f"{mean:.2f}; slowest {times[slowest]:.2f} ({slowest})"
        rows = [
            demand(f"at most {DEMANDED} times the best dense fp32, geometric mean", text, mean <= DEMANDED),
            demand(f"weights held in at most {HELD:.0%} of the dense bytes", f"{part:.1%} of all layers", part <= HELD),
        ]
    else:
        rows = [demand(f"at most {DEMANDED} times the best dense fp32, geometric mean", "not measured", False)]
    for text, bound, mine in ((OURS, BOUND, True), ("dense fp32", DENSE_BOUND, False)):
        errors = [value for each in found.values() for who, value in each["errors"].items() if (who == OURS) == mine]
        if errors:
            worst = max(errors)
            rows.append(demand(f"{text}: max|error| / max|y| at most {bound:g}", f"{worst:.2g}", worst <= bound))
    return rows


def measure_all(arguments: argparse.Namespace) -> Found:
    timing.clean_environment()
    threadpoolctl.threadpool_limits(arguments.threads)
    torch.set_num_threads(arguments.threads)
    names = [(network, name) for network in arguments.networks for name in convolutions(network)]
    share = arguments.budget / len(names)
    with torch.inference_mode():
        found = {f"{network} {name}": measure(network, name, arguments.threads, share) for network, name in names}
    return {"layers": found, "demands": demands(found)}


OPTIONS = {
    "--networks": {"nargs": "+", "choices": tensors.TABLES, "default": tuple(tensors.TABLES)},
    "--threads": 1,
    "--budget": {"type": float, "default": 120, "help": "seconds of all turns"},
}
PACKAGES = ("torch", "onnxruntime", "onnx")

if __name__ == "__main__":
    raise SystemExit(main("convolutions", measure_all, OPTIONS, ["networks", "threads"], PACKAGES))
