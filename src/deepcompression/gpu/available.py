"""Whether kernels in Triton run on a device."""

from __future__ import annotations

import functools
import importlib.util
import os

import torch

# Of NVIDIA's GPUs: bfloat16 and warp-wide reductions begin there.
_CAPABILITY = (8, 0)


def available(device: torch.device) -> str | None:
    """None if the kernels of this room run on the device, else the reason in words, such as "Triton is not installed".

    Triton's interpreter, which TRITON_INTERPRET=1 turns on, runs them on the CPU.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    if device.type == "cpu":
        return None if os.environ.get("TRITON_INTERPRET") == "1" else "kernels in Triton run on GPUs"
    if device.type != "cuda":
        return f"kernels were written for NVIDIA's and AMD's GPUs; found {device.type}"
    return _of_gpu(torch.cuda.current_device() if device.index is None else device.index)


@functools.cache
def _of_gpu(index: int) -> str | None:
    """The same for one GPU of this process."""
    found = torch.cuda.get_device_capability(index)
    if torch.version.hip is not None or found >= _CAPABILITY:
        return None
    named, needed = (".".join(map(str, each)) for each in (found, _CAPABILITY))
    return f"kernels need compute capability {needed} or newer; found {named} ({torch.cuda.get_device_name(index)})"
