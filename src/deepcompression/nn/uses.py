"""The uses of weights by their modules."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from deepcompression.nn.probe import plain_class, tried_use
from deepcompression.nn.recurrent import PACKED_RECURRENT

# The use of a weight by a module: x W^T, or `transposed` x W. Attention needs its `projections` apart.
Use = Literal["linear", "transposed", "projections", "convolution", "embedding"]

CONVOLUTION_MODULES: tuple[type[Any], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WITH_FORWARD = (nn.Linear, nn.MultiheadAttention, *CONVOLUTION_MODULES, nn.Embedding, nn.EmbeddingBag)
_PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def use_of(module: nn.Module, local: str) -> Use | None:
    """The use of a parameter, or None if it is unknown. A module with a forward of its own is tried (`tried_use`)."""
    return _known_use(module, local) or tried_use(module, local)


def _known_use(module: nn.Module, local: str) -> Use | None:
    kind = plain_class(module)
    if isinstance(module, nn.Linear):
        return "linear" if local == "weight" and kind.forward is nn.Linear.forward else None
    if isinstance(module, nn.MultiheadAttention):
        if kind.forward is not nn.MultiheadAttention.forward:
            return None
        return "projections" if local == "in_proj_weight" else "linear" if local in _PROJECTIONS else None
    for known in CONVOLUTION_MODULES:
        if isinstance(module, known):
            own = (kind.forward, kind._conv_forward)
            return "convolution" if local == "weight" and own == (known.forward, known._conv_forward) else None
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        base = nn.Embedding if isinstance(module, nn.Embedding) else nn.EmbeddingBag
        # with max_norm the forward changes the weight
        known_forward = kind.forward is base.forward and module.max_norm is None
        return "embedding" if local == "weight" and known_forward else None
    if kind in PACKED_RECURRENT:
        return "linear" if local.startswith("weight_") else None
    return None


def why_unknown(module: nn.Module, local: str) -> str:
    """The reason why a parameter of unknown use stays dense."""
    remedy = "name it in linear= if it is used in x W^T alone, by F.linear or matmul"
    base: Any = next((known for known in _WITH_FORWARD if isinstance(module, known)), None)
    kind = plain_class(module)
    if getattr(module, "max_norm", None) is not None:
        return "with max_norm the layer changes its weight"
    if base is not None and kind.forward is not base.forward:
        return f"{kind.__name__} has a forward of its own: {remedy}"
    return f"its use by {kind.__name__} is unknown: {remedy}"
