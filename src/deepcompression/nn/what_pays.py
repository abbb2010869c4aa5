"""The known uses of weights by modules, and the weights that it pays to compute packed."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from deepcompression.nn.recurrent import PACKED_RECURRENT

# How a module uses a weight: in F.linear; as the projections of attention, which are needed apart; by decoding it, as
# convolutions and embeddings do.
Use = Literal["linear", "projections", "convolution", "embedding"]

# Fewer weights than these are multiplied by sooner than a packed layer is called.
LEAST_WEIGHTS = 4096

# The density up to which kernels of an instruction set are faster than a dense product of one vector. With many vectors
# dense products reach their full speed.
MOST_DENSITY = {"portable": 0.25, "avx2": 0.3, "neon": 0.3, "avx512": 1.0}
MOST_DENSITY_OF_MANY = {"portable": 0.2, "avx2": 0.2, "neon": 0.2, "avx512": 0.5}
MANY = 12

_CONVOLUTION_MODULES: tuple[type[Any], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WITH_FORWARD = (nn.Linear, nn.MultiheadAttention, *_CONVOLUTION_MODULES, nn.Embedding, nn.EmbeddingBag)
_PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def plain_class(module: nn.Module) -> type[Any]:
    """The class that a module had before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def use_of(module: nn.Module, local: str) -> Use | None:
    """The use of a parameter; None where it is not known."""
    kind = plain_class(module)
    if isinstance(module, nn.Linear):
        return "linear" if local == "weight" and kind.forward is nn.Linear.forward else None
    if isinstance(module, nn.MultiheadAttention):
        if kind.forward is not nn.MultiheadAttention.forward:
            return None
        return "projections" if local == "in_proj_weight" else "linear" if local in _PROJECTIONS else None
    for known in _CONVOLUTION_MODULES:
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
    """The reason why a parameter stays dense whose use is not known."""
    base: Any = next((known for known in _WITH_FORWARD if isinstance(module, known)), None)
    kind = plain_class(module)
    if getattr(module, "max_norm", None) is not None:
        return "with max_norm the layer changes its weight"
    if base is not None and kind.forward is not base.forward:
        return f"{kind.__name__} has a forward of its own: name it in linear= if that is F.linear's"
    return f"what {kind.__name__} does with it is not known: name it in linear= if that is F.linear"


def why_small(weights: int) -> str | None:
    if weights < LEAST_WEIGHTS:
        return f"fewer than {LEAST_WEIGHTS:,} weights: a dense product takes less than a call"
    return None


def why_dense(density: float, instruction_set: str, batch: int) -> str | None:
    most = (MOST_DENSITY if batch < MANY else MOST_DENSITY_OF_MANY)[instruction_set]
    if density > most:
        return (
            f"{100 * density:.3g} % of the weights survive: above {100 * most:.3g} %, dense products are faster with "
            f"{instruction_set} and a batch of {batch}"
        )
    return None


def why_large(packed_bytes: int, dense_bytes: int) -> str | None:
    if packed_bytes >= dense_bytes:
        return f"packed it would take {packed_bytes:,} bytes, dense it takes {dense_bytes:,}"
    return None
