"""Weights that torchao quantized -> the plain tensors they are made of, with torchao's names and metadata."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE = "torchao"


class Parts(NamedTuple):
    """Plain tensors by name, in the memory of the tensors they are parts of, and safetensors metadata, from which
    torchao's `unflatten_tensor_state_dict` joins them.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def parts_of(tensors: Mapping[str, Tensor]) -> Parts:
    """Splits the quantized tensors of a state_dict into their parts. Without torchao every tensor stays whole.

    Raises ValueError for a part that has the name of another tensor.
    """
    texts = {name: _described(tensor) for name, tensor in tensors.items()}
    if not any(texts.values()):
        return Parts(dict(tensors), {})
    found: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name, tensor in tensors.items():
        text = texts[name]
        # torchao knows no names without a dot; tensors that the metadata do not name stay as they are
        if "." in name:
            metadata[name] = text or json.dumps({"_type": "Tensor"})
        layer, dot, local = name.rpartition(".")
        own = {name: tensor}
        if text is not None:
            inner: list[str] = json.loads(text)["_tensor_data_names"]
            own = {f"{layer}{dot}_{local}_{part}": getattr(tensor, part) for part in inner}
        if taken := own.keys() & found.keys() | (own.keys() - {name}) & tensors.keys():
            raise ValueError(f"{name} has a part named {min(taken)}, as another tensor is: rename that one")
        found |= own
    return Parts(found, metadata | {"tensor_names": json.dumps(list(metadata))})


def _described(tensor: Any) -> str | None:
    """torchao's description of a tensor; None for a tensor that is not torchao's, or that it cannot split."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return None
    try:
        from torchao.prototype.safetensors.safetensors_utils import (
            ALLOWED_TENSORS_SUBCLASSES,
            TensorSubclassAttributeJSONEncoder,
        )
    except ImportError:
        return None
    if type(tensor).__name__ not in ALLOWED_TENSORS_SUBCLASSES:
        return None
    text = json.dumps(tensor.detach(), cls=TensorSubclassAttributeJSONEncoder)
    names = json.loads(text).get("_tensor_data_names")
    return text if sorted(names or ()) == sorted(tensor.__tensor_flatten__()[0]) else None


def allow_parts(needed: set[str]) -> bool:
    """Whether all objects that a file of torch.save needs are torchao's, and torchao is installed. Its import allows
    torch to make those of its classes that hold only data.
    """
    if not needed or not all(name.startswith(f"{PACKAGE}.") for name in needed):
        return False
    with suppress(ImportError):
        importlib.import_module(f"{PACKAGE}.quantization")
        return True
    return False
