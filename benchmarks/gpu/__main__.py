"""Times y = x W^T from compressed weights on one GPU, beside cuBLAS, torch's sparse products and torchao.

The paper's nine layers and larger weights at several densities, batch 1, 8 and 64. Every task is compared with float64
before it is timed. The run ends within `--seconds`: what the time did not reach is named. `--dry-run` checks the tasks
of a tiny weight on the CPU, by Triton's interpreter if TRITON_INTERPRET=1 is set, and times nothing.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import torch

from benchmarks.environment import demand, main
from benchmarks.gpu.plan import BATCHES, TINY, Budget, Case, planned
from benchmarks.gpu.ratios import Found, demands
from benchmarks.gpu.tasks import DENSE16, DENSE32, OURS16, OURS32, TASKS, Weight, error
from benchmarks.gpu.timing import TOGETHER, GpuTimer
from deepcompression.bench.energy import Meter, UnmeasurableError
from deepcompression.bench.nvml import gpu_meter
from deepcompression.gpu.available import available
from deepcompression.nn.on_device import FEW, MOST_DENSITY

SECONDS = 460
# of a task's two times, and of its energy
_LEAST_SECONDS, _MOST_SECONDS, _ENERGY_SECONDS = 0.02, 0.3, 0.4
ENERGY_OF = (OURS32, OURS16, DENSE32, DENSE16)


def case_of(
    case: Case, batches: tuple[int, ...], device: torch.device, timer: GpuTimer | None, seconds: float
) -> Found:
    """One weight: errors, then microseconds by batch and task, bytes, and the reasons for missing tasks."""
    weight = Weight(case, device)
    found: Found = {
        "rows": case.rows,
        "columns": case.columns,
        "density": case.density,
        "survivors": weight.header.survivors,
        "bits_of_a_weight": weight.bits_of_a_weight,
        **{key: {} for key in ("errors", "bytes", "missing", "microseconds", "uncaptured", "eager_microseconds")},
    }
    share = min(_MOST_SECONDS, max(_LEAST_SECONDS, seconds / (len(TASKS) * len(batches))))
    for batch in batches:
        generator = torch.Generator().manual_seed(batch)
        x = torch.randn(batch, case.columns, generator=generator).to(device)
        exact = x.double() @ weight.dense.double().T
        times: Found = {}
        for name, task in TASKS.items():
            given = x.to(task.dtype)
            # the error of rounding x is no error of the product
            wanted = exact if task.dtype == torch.float32 else given.double() @ weight.dense.double().T
            try:
                call, found["bytes"][name] = task.make(weight, given)
                value = error(call(), wanted)
            except Exception as reason:
                found["missing"][name] = f"{type(reason).__name__}: {reason}".splitlines()[0][:200]
                continue
            found["errors"][name] = max(value, found["errors"].get(name, 0.0))
            if timer is None or not value <= task.bound:
                continue
            warm, cold, captured = timer.warm_and_cold(call, share)
            times[name] = {"warm": 1e6 * warm, "cold": 1e6 * cold}
            if not captured:
                found["uncaptured"][name] = "its time has that of Python in it"
            if task.ours and batch == 1:
                found["eager_microseconds"][name] = 1e6 * timer.eager(call, _LEAST_SECONDS)
        if times:
            found["microseconds"][str(batch)] = times
    return found


def joules(case: Case, device: torch.device, timer: GpuTimer, meter: Meter) -> dict[str, float]:
    """Of a call with one vector."""
    weight, found = Weight(case, device), {}
    for name in ENERGY_OF:
        x = torch.randn(1, case.columns, device=device, dtype=TASKS[name].dtype)
        replay = timer.graph(TASKS[name].make(weight, x)[0], TOGETHER)

        def replayed(replay: Any = replay) -> None:
            replay()
            torch.cuda.synchronize(device)

        found[name] = meter.measure(replayed, _ENERGY_SECONDS).joules_per_call / TOGETHER
    return found


def measure(arguments: argparse.Namespace) -> Found:
    if arguments.dry_run:
        return dry_run()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU: this measures one; --dry-run checks the tasks without it")
    device = torch.device("cuda", torch.cuda.current_device())
    if reason := available(device):
        raise SystemExit(f"the kernels do not run here: {reason}")
    start, timer = time.perf_counter(), GpuTimer(device)
    plan = list(planned(tuple(arguments.only), tuple(arguments.batch)))
    budget, cases, skipped = Budget(arguments.seconds, len(plan)), {}, {}
    energy, meter = "no card was asked", None
    try:
        meter = gpu_meter("cuda")
        energy = meter.source
    except UnmeasurableError as error:
        energy = str(error)
    for case, batches in plan:
        seconds = budget.take(time.perf_counter() - start)
        if seconds is None:
            skipped[case.name] = f"{arguments.seconds} seconds were over"
            continue
        cases[case.name] = case_of(case, batches, device, timer, seconds)
        if meter is not None and case.density in (0.1, 0.25):
            cases[case.name]["joules"] = joules(case, device, timer, meter)
        torch.cuda.empty_cache()
        print(f"{case.name}: {time.perf_counter() - start:.0f} s", flush=True)
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": {
            "name": properties.name,
            "memory": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        },
        "energy": energy,
        "cases": cases,
        "skipped": skipped,
        "demands": demands(cases, FEW, MOST_DENSITY),
    }


def dry_run() -> Found:
    """The tasks of a tiny weight, on the CPU: each is right, or has a reason why it does not run here."""
    device = torch.device("cpu")
    found = case_of(TINY, (1, 3), device, None, 0.0)
    if reason := available(device):
        found["missing"] |= {name: reason for name, task in TASKS.items() if task.ours}
    else:
        assert not [name for name in found["missing"] if TASKS[name].ours], found["missing"]
    right = {name: value <= TASKS[name].bound for name, value in found["errors"].items()}
    rows = [demand(f"{name} is right", f"{found['errors'][name]:.1e}", met) for name, met in right.items()]
    for name, why in found["missing"].items():
        print(f"not run: {name}: {why}")
    return {"cases": {TINY.name: found}, "skipped": found["missing"], "demands": rows}


OPTIONS: dict[str, Any] = {
    "--seconds": SECONDS,
    "--batch": {"type": int, "nargs": "+", "default": list(BATCHES)},
    "--only": {"nargs": "+", "default": [], "help": "parts of the names of cases"},
    "--dry-run": {"action": "store_true"},
}


if __name__ == "__main__":
    run = partial(main, "gpu", measure, OPTIONS, ("seconds", "batch", "only", "dry_run"))
    raise SystemExit(run(packages=("torch", "triton", "torchao")))
