"""Torch tensors <-> `DenseTensor`, bit for bit."""

from __future__ import annotations

import numpy as np
import torch

from deepcompression.tensors.dtypes import Shape
from deepcompression.tensors.tensor import DenseTensor

_NAMES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"C128": "complex128", "C64": "complex64", "C32": "complex32", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
    # an element of torch's holds two of F4
    "F4": "float4_e2m1fn_x2",
}
# those that this version of torch has
TORCH_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, theirs) for name, theirs in _NAMES.items() if hasattr(torch, theirs)
}
DTYPE_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def dtype_of(name: str, tensor: torch.Tensor) -> str:
    """The name of a tensor's dtype. Raises ValueError if no file can hold this dtype or layout."""
    if hasattr(tensor, "__tensor_flatten__"):
        raise ValueError(
            f"{name} is a {type(tensor).__name__}, which is made of other tensors: make it dense first, or save "
            "its parts (torchao's flatten_tensor_state_dict does so for its own)"
        )
    if tensor.is_quantized:
        raise ValueError(
            f"{name} is a quantized tensor of {tensor.dtype}: save its int_repr(), scale and zero point by names of "
            "their own"
        )
    if tensor.is_nested:
        raise ValueError(f"{name} is a nested tensor, which cannot be stored: save each of its parts (unbind())")
    if tensor.layout != torch.strided:
        raise ValueError(
            f"{name} is a {tensor.layout} tensor, which cannot be stored; make it dense first (to_dense())"
        )
    dtype = DTYPE_NAMES.get(tensor.dtype)
    if dtype is None or (dtype == "F4" and not tensor.dim()):
        raise ValueError(
            f"{name} is {list(tensor.shape)} of {tensor.dtype}, which cannot be stored; view it as unsigned integers "
            f"of the same size first (torch.uint{8 * tensor.element_size()})"
        )
    return dtype


def shape_of(tensor: torch.Tensor) -> Shape:
    """The shape of a tensor as a file has it: in elements, where torch counts pairs of F4."""
    shape = tuple(tensor.shape)
    return (*shape[:-1], 2 * shape[-1]) if DTYPE_NAMES.get(tensor.dtype) == "F4" else shape


def from_torch(name: str, tensor: torch.Tensor) -> DenseTensor:
    """A tensor on any device -> a dense tensor. A contiguous tensor on the CPU shares its memory. Raises ValueError as
    `dtype_of` does.
    """
    dtype = dtype_of(name, tensor)
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy() if len(flat) else np.zeros(0, np.uint8)
    return DenseTensor.of_bytes(dtype, shape_of(tensor), data)


def to_torch(tensor: DenseTensor) -> torch.Tensor:
    """A torch tensor with memory of its own; the inverse of `from_torch`. Raises ValueError for a dtype that torch does
    not have.
    """
    if tensor.dtype == "BOOL":
        return torch.from_numpy(tensor.numpy())
    dtype, shape = TORCH_DTYPES.get(tensor.dtype), tensor.shape
    if tensor.dtype == "F4" and dtype is not None and shape and shape[-1] % 2 == 0:
        shape = (*shape[:-1], shape[-1] // 2)
    elif dtype is None or tensor.dtype == "F4":
        raise ValueError(f"torch {torch.__version__} has no dtype for {list(shape)} of {tensor.dtype}")
    values = tensor.elements.reshape(-1).view(np.uint8)
    if not len(values):
        return torch.empty(shape, dtype=dtype)
    # in memory of torch, which is aligned to cache lines: from NumPy's, vectors of a dense product lie across two
    flat = torch.empty(len(values), dtype=torch.uint8)
    flat.numpy()[:] = values
    return flat.view(dtype).reshape(shape)
