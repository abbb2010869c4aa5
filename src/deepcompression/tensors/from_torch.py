"""Torch tensors <-> `DenseTensor`, bit for bit."""

from __future__ import annotations

import numpy as np
import torch

from deepcompression.tensors.dtypes import STORAGE
from deepcompression.tensors.tensor import DenseTensor

# those of NumPy, then those that NumPy does not have
_TORCH_DTYPES = {name: torch.from_numpy(np.empty(0, storage)).dtype for name, storage in STORAGE.items()} | {
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in _TORCH_DTYPES.items()}


def dtype_of(name: str, tensor: torch.Tensor) -> str:
    """The name of a tensor's dtype. Raises ValueError if no file can hold this dtype or layout."""
    if hasattr(tensor, "__tensor_flatten__"):
        raise ValueError(
            f"{name} is a {type(tensor).__name__}, which is made of other tensors: make it dense first, or save "
            "its parts (torchao's flatten_tensor_state_dict does so for its own)"
        )
    dtype = DTYPE_NAMES.get(tensor.dtype)
    if dtype is None or tensor.layout != torch.strided or tensor.is_quantized:
        raise ValueError(
            f"{name} is a {tensor.layout} tensor of {tensor.dtype}, which cannot be stored; make it dense first"
        )
    return dtype


def from_torch(name: str, tensor: torch.Tensor) -> DenseTensor:
    """A tensor on any device -> a dense tensor. A contiguous tensor on the CPU shares its memory. Raises ValueError as
    `dtype_of` does.
    """
    dtype = dtype_of(name, tensor)
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    elements = flat.view(torch.uint8).numpy() if len(flat) else np.zeros(0, np.uint8)
    return DenseTensor(dtype, elements.view(STORAGE[dtype]).reshape(tensor.shape))


def to_torch(tensor: DenseTensor) -> torch.Tensor:
    """A torch tensor with memory of its own; the inverse of `from_torch`."""
    if tensor.dtype == "BOOL":
        return torch.from_numpy(tensor.numpy())
    flat = np.array(tensor.elements).reshape(-1).view(np.uint8)
    dtype = _TORCH_DTYPES[tensor.dtype]
    if not len(flat):
        return torch.empty(tensor.shape, dtype=dtype)
    return torch.from_numpy(flat).view(dtype).reshape(tensor.shape)
