"""Tensors of a state_dict that no file holds as they are, made plain: distributed, quantized, of torch's own dtypes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from deepcompression.common.messages import some
from deepcompression.tensors.from_torch import DTYPE_NAMES

# the integers of quantized tensors; of other quantized dtypes an element is less than a byte
_INTEGERS = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}

# integers with the bits of another dtype, by its bytes
_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}


def plain(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Plain tensors in the same memory, and notes on those that were not plain. Others stay as they are.

    A quantized tensor becomes its integers, and its scale and zero point by names that begin with its own. Raises
    ValueError for one that has the name of another tensor, and for a DTensor that is but a part of its weight.
    """
    found: dict[str, Tensor] = {}
    whole, quantized, bits = [], [], []
    for name, tensor in tensors.items():
        each = tensor
        if type(each).__name__ == "DTensor":
            each = _whole(name, each)
            whole.append(name)
        own = {name: each}
        if each.is_quantized:
            own = dict(_quantized(name, each))
            quantized.append(name)
        elif each.layout == torch.strided and each.dtype not in DTYPE_NAMES and each.element_size() in _UNSIGNED:
            own = {name: each.view(_UNSIGNED[each.element_size()])}
            bits.append(name)
        if taken := own.keys() & found.keys() | (own.keys() - {name}) & tensors.keys():
            raise ValueError(f"{name} has a part named {min(taken)}, as another tensor is: rename that one")
        found |= own
    notes = []
    if whole:
        notes.append(f"{len(whole)} tensors are whole DTensors ({some(whole)}): their values are read.")
    if quantized:
        notes.append(
            f"{len(quantized)} tensors are quantized by torch ({some(quantized)}): their integers, scales and zero "
            "points are read, each by a name of its own."
        )
    if bits:
        dtypes = some({str(tensors[name].dtype) for name in bits})
        notes.append(f"{some(bits)} are of {dtypes}: read as unsigned integers with the same bits.")
    return found, notes


def _whole(name: str, tensor: Any) -> Tensor:
    """The values of a DTensor that is whole on each rank. Raises ValueError for another one."""
    ranks = [
        tensor.device_mesh.size(at) for at, placement in enumerate(tensor.placements) if not placement.is_replicate()
    ]
    if any(count > 1 for count in ranks):
        raise ValueError(
            f"{name} is a DTensor, one rank's part of a {list(tensor.shape)} tensor that is spread over "
            f"{max(ranks)} ranks: save the whole one, each by full_tensor(), or all by get_model_state_dict with "
            "full_state_dict=True (torch.distributed.checkpoint.state_dict)"
        )
    local: Tensor = tensor.to_local()
    return local


def _quantized(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The plain parts of a quantized tensor."""
    storage = tensor.untyped_storage()
    integers = _INTEGERS.get(tensor.dtype)
    if integers is None:
        # packed elements, as one row of bytes
        yield name, torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,))
    else:
        held = torch.empty(0, dtype=integers)
        yield name, held.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        yield f"{name}.scale", torch.tensor(tensor.q_scale(), dtype=torch.float64)
        yield f"{name}.zero_point", torch.tensor(tensor.q_zero_point())
    else:
        yield f"{name}.scale", tensor.q_per_channel_scales()
        yield f"{name}.zero_point", tensor.q_per_channel_zero_points()
        yield f"{name}.axis", torch.tensor(tensor.q_per_channel_axis())


def allow_dtensors(error: str) -> bool:
    """Whether a file of torch.save needs DTensors, by the error of loading it, and this torch has them. Their import
    allows torch to make them.
    """
    if "torch.distributed.tensor" not in error or not torch.distributed.is_available():
        return False
    importlib.import_module("torch.distributed.tensor")
    return True
