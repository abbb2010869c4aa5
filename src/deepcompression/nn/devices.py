"""Whether a device can be had, and the reason why not."""

from __future__ import annotations

import torch

from deepcompression.common.messages import counted


def checked_device(device: str | torch.device) -> torch.device:
    """The device with its number. Raises ValueError for one that this machine or this build of torch lacks."""
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device={device!r} is no device of torch: name one such as 'cpu' or 'cuda:1'") from None
    if wanted.type == "meta":
        raise ValueError("device='meta' has no memory, and computes nothing: name the device that shall compute")
    if wanted.type == "cuda":
        built = torch.version.cuda is not None or torch.version.hip is not None
        reason = why_no_gpu(wanted.index, built, torch.cuda.device_count() if built else 0)
        if reason is not None:
            raise ValueError(f"device={device!r}: {reason}")
    try:
        return torch.empty(0, device=wanted).device
    # torch asserts that it was built for some devices, imports what others need, and raises RuntimeError elsewhere
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        remedy = "see that this machine and this build of torch have it, or compute on the CPU"
        raise ValueError(f"device={device!r} cannot be used: {reason}: {remedy}") from None


def why_no_gpu(number: int | None, built: bool, count: int) -> str | None:
    """The reason why a GPU cannot be had, with the remedy; None if it can.

    number  of the GPU that is wanted; None for the current one
    built   whether torch was built for GPUs
    count   of GPUs that torch finds
    """
    if not built:
        return "torch was built without CUDA: install a build for GPUs (pytorch.org/get-started), or compute on the CPU"
    if not count:
        return "torch finds no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or compute on the CPU"
    if number is not None and number >= count:
        return f"torch finds {counted(count, 'GPU')}, with the numbers from 0 to {count - 1}; found {number}"
    return None
