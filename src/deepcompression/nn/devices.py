"""Devices other than the CPU: what computes there, whether one can be had, and the way of a model there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn

from deepcompression.common.messages import counted
from deepcompression.gpu.available import available

# The forms that every device computes from, by plain torch operations where it has no kernels.
_EVERYWHERE = ("tile",)


def checked_device(device: str | torch.device) -> torch.device:
    """The device with its number. Raises ValueError for one that this machine or this build of torch lacks."""
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is no device of torch: {str(error).splitlines()[0]}") from None
    if wanted.type == "meta":
        raise ValueError("device='meta' has no memory, and computes nothing: name the device that shall compute")
    if wanted.type == "cuda":
        built = torch.backends.cuda.is_built()
        reason = why_no_gpu(wanted.index, built, torch.cuda.device_count() if built else 0)
        if reason is not None:
            raise ValueError(f"device={device!r}: {reason}")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, NotImplementedError, AssertionError) as error:
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


def why_refused(form: str, device: torch.device) -> str | None:
    """The reason why a device cannot compute from a form; None if it can."""
    if form in _EVERYWHERE or device.type in ("cpu", "meta"):
        return None
    if form != "word":
        return f"packed in the form {form}, which only the CPU computes from; found the device {device}"
    reason = available(device)
    return None if reason is None else f"packed in the form word for GPUs with kernels; {device} has none: {reason}"


def kernel(form: str, device: torch.device, instruction_set: str) -> str:
    """What computes from a form on a device: an instruction set of the CPU, or Triton or torch elsewhere."""
    if device.type == "cpu":
        return instruction_set
    return f"{'torch' if why_torch(device) else 'Triton'} on {device.type}"


def why_torch(device: torch.device) -> str | None:
    """The reason why torch's operations compute on a device; None for the CPU, and for devices with kernels."""
    return None if device.type in ("cpu", "meta") else available(device)


def guard(x: Tensor) -> AbstractContextManager[object]:
    """Within it, kernels start on the device of x: a GPU need not be the current one."""
    return nullcontext() if x.is_cpu else torch.get_device_module(x.device).device(x.device)


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
