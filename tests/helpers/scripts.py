"""Training scripts, and tests that import trainers, run in processes of their own: watched, and killed in the middle.

The processes are forked from one in which the libraries are imported, once for all.
"""

from __future__ import annotations

import functools
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from processes import PRELOADED

SERVER = multiprocessing.get_context("forkserver")
# there is one server for all: modules that other tests preload stay
SERVER.set_forkserver_preload(
    [*PRELOADED, "accelerate", "lightning", "transformers.trainer", "transformers.models.gpt2"]
)

# warnings of the libraries about themselves, or about what the scripts do on purpose
FOREIGN = [
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"The 'train_dataloader' does not have many workers",
    r"'pin_memory' argument is set as true but no accelerator is found",
    r".*autograd.function.Function'> should not be instantiated",
    r"The \.grad attribute of a Tensor that is not a leaf Tensor is being accessed",
    r"Checkpoint directory .* exists and is not empty",
]
SECONDS = 120


class Job(NamedTuple):
    """How a process ended: its exit code, what it printed, and the optimizer's steps at each step of the pruner."""

    code: int | None
    printed: str
    pruner_steps: list[int]
    optimizer_steps: int


def run(script: Path, folder: Path, kill_at: int | None = None) -> Job:
    """Runs a script in a folder, which kills itself after so many steps of the optimizer."""
    return _together(_script(script), folder, [{"kill_at": kill_at}])[0]


def run_ranks(script: Path, folder: Path, ranks: int, port: int, kill_at: int | None = None) -> list[Job]:
    """The same in so many processes, with the environment that launchers make; the last one is killed."""
    common = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    environments = [{k: str(v) for k, v in (common | {"RANK": n, "LOCAL_RANK": n}).items()} for n in range(ranks)]
    options: list[dict[str, Any]] = [{"environment": environment} for environment in environments]
    options[-1]["kill_at"] = kill_at
    return _together(_script(script), folder, options)


def apart(test: Callable[..., None]) -> Callable[..., None]:
    """A test that runs in a process of its own, in its `tmp_path`; its other arguments must be picklable."""

    @functools.wraps(test)
    def run_apart(tmp_path: Path, **arguments: Any) -> None:
        call = functools.partial(_call, test.__module__, test.__name__, {"tmp_path": tmp_path} | arguments)
        (job,) = _together(call, tmp_path, [{}])
        assert job.code == 0, job.printed

    return run_apart


def _script(path: Path) -> Callable[[], object]:
    return functools.partial(runpy.run_path, str(path), run_name="__main__")


def _call(module: str, name: str, arguments: dict[str, Any]) -> None:
    getattr(importlib.import_module(module), name).__wrapped__(**arguments)


def _together(main: Callable[[], object], folder: Path, options: list[dict[str, Any]]) -> list[Job]:
    folder.mkdir(exist_ok=True)
    records = [folder.with_name(f"{folder.name}-{number}") for number in range(len(options))]
    processes = [
        SERVER.Process(target=_run, args=(main, folder, record), kwargs=option)
        for record, option in zip(records, options, strict=True)
    ]
    for process in processes:
        process.start()
    jobs = []
    for process, record in zip(processes, records, strict=True):
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        steps = record.with_suffix(".json")
        found = json.loads(steps.read_text()) if steps.exists() else {"pruner_steps": [], "optimizer_steps": 0}
        steps.unlink(missing_ok=True)
        jobs.append(Job(process.exitcode, record.with_suffix(".log").read_text(), **found))
    return jobs


def _run(
    main: Callable[[], object],
    folder: Path,
    record: Path,
    kill_at: int | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | (environment or {})
    os.chdir(folder)
    log = os.open(record.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    warnings.simplefilter("error")
    for message in FOREIGN:
        warnings.filterwarnings("ignore", message)
    _watch(record.with_suffix(".json"), kill_at)
    main()


def _watch(record: Path, kill_at: int | None) -> None:
    """Counts the steps of optimizers and pruners, and asserts after each that pruned weights are zero."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from deepcompression import Pruner
    from deepcompression.training.attach import chain

    torch.set_num_threads(1)
    counts: dict[str, Any] = {"pruner_steps": [], "optimizer_steps": 0}
    pruners: list[Pruner] = []
    step = Pruner.step

    def assert_zero() -> None:
        for target in (target for pruner in pruners for group in pruner.groups for target in group.targets):
            module, local = target.places[0]
            for mask in (found.mask for found in chain(target) if hasattr(found, "mask")):
                assert not getattr(module, local)[~mask].any(), f"{target.name} is not zero where it is pruned"

    def counted_step(self: Pruner) -> None:
        step(self)
        pruners[:] = [self]
        assert_zero()
        counts["pruner_steps"].append(counts["optimizer_steps"])
        record.write_text(json.dumps(counts))

    def stepped(*arguments: object) -> None:
        counts["optimizer_steps"] += 1
        assert_zero()
        record.write_text(json.dumps(counts))
        if counts["optimizer_steps"] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    Pruner.step = counted_step
    register_optimizer_step_post_hook(stepped)
