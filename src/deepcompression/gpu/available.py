"""Whether Triton's kernels run on a device."""

from __future__ import annotations

import torch


def available(device: torch.device) -> str | None:
    """None if the kernels run on a device, or else the reason why they do not."""
    return f"{device.type} is no GPU of Triton" if device.type != "cuda" else "Triton is not installed"
