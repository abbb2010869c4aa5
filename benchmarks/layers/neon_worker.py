"""Calls other libraries on 64-bit ARM, under emulation, between the marks of core/cross/count.c.

    python -m benchmarks.layers.neon_worker WEIGHT.npy NAME...

Prints a line of JSON for each peer, then the plugin prints the instructions of one call. It needs no part of the
package: the core is built for the machine that emulates.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.layers import litert_peers, onnx_peers, peers, sparse_peers
from benchmarks.layers.peers import Layer

PEERS = peers.PEERS | sparse_peers.PEERS | onnx_peers.PEERS | litert_peers.PEERS
BEGIN, END = 1000, 1001
# Its call takes the instructions that no weight causes.
SMALL = (16, 128)


def count(call: Callable[[], Any]) -> Any:
    """The result of a call, whose instructions are printed; two calls go before."""
    mark = ctypes.CDLL(None).syscall
    call()
    call()
    mark(BEGIN)
    found = call()
    mark(END)
    return found


def report(name: str, weight: np.ndarray[Any, Any]) -> None:
    """A line with the kind and the error, and the lines of calls: of this layer, half its rows, a small layer."""
    generator = np.random.default_rng(7)
    for each in (weight, weight[: len(weight) // 2].copy(), weight[: SMALL[0], : SMALL[1]].copy()):
        x = generator.standard_normal((1, each.shape[1]), np.float32)
        call, _ = PEERS[name].make(Layer(each), x, 1)
        y = np.asarray(count(call)).reshape(-1)
        right = each.astype(np.float64) @ x[0].astype(np.float64)
        error = float(np.abs(y - right).max() / np.abs(right).max())
        print(json.dumps({"peer": name, "kind": PEERS[name].kind, "error": error}), flush=True)


def main() -> None:
    torch.set_num_threads(1)
    weight = np.load(sys.argv[1])
    for name in sys.argv[2:]:
        try:
            report(name, weight)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            print(json.dumps({"peer": name, "failed": text}), flush=True)


if __name__ == "__main__":
    main()
