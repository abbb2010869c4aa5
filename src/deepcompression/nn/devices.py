"""Whether a device can be had, and the way of a model there."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from deepcompression.common.messages import counted


def checked_device(device: str | torch.device) -> torch.device:
    """The device with its number. Raises ValueError for one that this machine or this build of torch lacks."""
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is no device of torch: {str(error).splitlines()[0]}") from None
    if wanted.type == "meta":
        raise ValueError("device='meta' has no memory, and computes nothing: name the device that shall compute")
    if wanted.type == "cuda":
        built = torch.version.cuda is not None or torch.version.hip is not None
        reason = why_no_gpu(wanted.index, built, torch.cuda.device_count() if built else 0)
        if reason is not None:
            raise ValueError(f"device={device!r}: {reason}")
    try:
        return torch.empty(0, device=wanted).device
    # torch asserts that it was built for the device, and other backends raise RuntimeError
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used: {str(error).splitlines()[0]}") from None


def why_no_gpu(number: int | None, built: bool, count: int) -> str | None:
    """The reason why a GPU cannot be had, with the remedy; None if it can.

    number  of the GPU that is wanted; None for the current one
    built   whether torch was built for GPUs
    count   of GPUs that torch finds
    """
    if not built:
        return "torch was built without CUDA: install a build for GPUs (pytorch.org/get-started), or leave device= out"
    if not count:
        return "torch finds no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or leave device= out"
    if number is not None and number >= count:
        return f"torch finds {counted(count, 'GPU')}, with the numbers from 0 to {count - 1}; found {number}"
    return None


def moved(small: nn.Module, device: torch.device) -> nn.Module:
    """A model on a device, all of it. Raises torch.OutOfMemoryError if the device has too little memory for it."""
    tensors = {id(tensor): tensor for tensor in chain(small.parameters(), small.buffers())}.values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.device != device)
    try:
        return small.to(device)
    except torch.OutOfMemoryError:
        free = f", {torch.cuda.mem_get_info(device)[0]:,} are free" if device.type == "cuda" else ""
        raise torch.OutOfMemoryError(
            f"the running model takes {size:,} bytes on {device}{free}: free some, or prune more; the model that was "
            "passed stays as it was"
        ) from None
