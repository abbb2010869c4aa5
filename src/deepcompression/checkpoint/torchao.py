"""Tensors made of other tensors, as torchao quantizes weights -> those others, by torchao's names and metadata."""

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
    """Plain tensors by name, in the memory of those they are parts of, and what torchao's `unflatten_tensor_state_dict`
    needs to put them together: the metadata of a safetensors file.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def parts_of(tensors: Mapping[str, Tensor]) -> Parts:
    """A state_dict with what torchao can take apart taken apart; without such tensors, or without torchao, as it is.

    Raises ValueError for a part that has the name of another tensor.
    """
    texts = {name: _told(tensor) for name, tensor in tensors.items()}
    if not any(texts.values()):
        return Parts(dict(tensors), {})
    found: dict[str, Tensor] = {}
    told: dict[str, str] = {}
    for name, tensor in tensors.items():
        text = texts[name]
        # torchao has no names without a dot, and leaves tensors that the metadata do not name as they are
        if "." in name:
            told[name] = text or json.dumps({"_type": "Tensor"})
        layer, dot, local = name.rpartition(".")
        own = {name: tensor}
        if text is not None:
            inner: list[str] = json.loads(text)["_tensor_data_names"]
            own = {f"{layer}{dot}_{local}_{part}": getattr(tensor, part) for part in inner}
        if taken := own.keys() & found.keys() | (own.keys() - {name}) & tensors.keys():
            raise ValueError(f"{name} has a part named {min(taken)}, as another tensor is: rename that one")
        found |= own
    return Parts(found, told | {"tensor_names": json.dumps(list(told))})


def _told(tensor: Any) -> str | None:
    """torchao's own text on a tensor; None if it is none of torchao's, or none that it can take apart."""
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
    """Whether a file of torch.save needs torchao's own objects alone beyond tensors, and torchao is there. Its import
    registers those of its classes that hold nothing but data; torch makes no others.
    """
    if not needed or not all(name.startswith(f"{PACKAGE}.") for name in needed):
        return False
    with suppress(ImportError):
        importlib.import_module(f"{PACKAGE}.quantization")
        return True
    return False
