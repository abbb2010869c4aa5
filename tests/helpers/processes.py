"""Functions run on several ranks at once, each in a process of its own, with a process group of gloo."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 60

# the ranks are forked from one process that has imported all of this
_CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    *("torch._dynamo", "torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict"),
    *("pytest", "deepcompression.training.model_tensors", "deepcompression.training.saved_state"),
]
_CONTEXT.set_forkserver_preload(PRELOADED)


class Outcome(NamedTuple):
    """The end of a rank: the function's result, or the error as its type and message; both None if it died."""

    result: Any
    error: tuple[str, str] | None
    exit_code: int | None


def on_ranks(function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[Outcome]:
    """`function(rank, *arguments)` in each of the processes. Fails if they have not ended after `SECONDS`."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            _CONTEXT.Process(target=_run, args=(rank, ranks, folder, function, arguments)) for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        try:
            for process in processes:
                process.join(SECONDS)
            assert all(process.exitcode is not None for process in processes), "a rank hangs"
        finally:
            for process in processes:
                process.kill()
                process.join()
        outcomes = []
        for rank, process in enumerate(processes):
            path = Path(folder, str(rank))
            ended = pickle.loads(path.read_bytes()) if path.exists() else (None, None)
            outcomes.append(Outcome(*ended, process.exitcode))
        return outcomes


def results(function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[Any]:
    """The same where no rank may fail."""
    outcomes = on_ranks(function, *arguments, ranks=ranks)
    for rank, outcome in enumerate(outcomes):
        assert outcome.error is None, f"rank {rank}: {outcome.error[1]}"
        assert outcome.exit_code == 0, f"rank {rank} ended with {outcome.exit_code}"
    return [outcome.result for outcome in outcomes]


def errors(function: Callable[..., Any], *arguments: Any, ranks: int = 2) -> list[str]:
    """The errors, as `type: message`, where all ranks must fail."""
    outcomes = on_ranks(function, *arguments, ranks=ranks)
    assert all(outcome.error is not None for outcome in outcomes), outcomes
    return [": ".join(outcome.error) for outcome in outcomes]


def die() -> None:
    """Kills this process, as the system may kill a job."""
    os.kill(os.getpid(), signal.SIGKILL)


def _run(rank: int, ranks: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch
    import torch.distributed as dist

    warnings.simplefilter("error")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    ended: tuple[Any, Any]
    try:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
        ended = (function(rank, *arguments), None)
    except Exception as error:
        expected = isinstance(error, ValueError | RuntimeError | OSError)
        ended = (None, (type(error).__name__, str(error) if expected else traceback.format_exc()))
    Path(folder, str(rank)).write_bytes(pickle.dumps(ended))
    if ended[1] is None and dist.is_initialized():
        dist.destroy_process_group()
    # no exit handlers: they wait for ranks that may have died
    os._exit(0)
