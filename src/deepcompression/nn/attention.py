"""Attention with packed projections: torch.nn.functional.multi_head_attention_forward with all its options."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The result of torch's function, with dense or packed weights; `in_proj_weight` is packed in three parts.

    query  (targets, batch, embed_dim), or without batch; key and value (sources, batch, ...) likewise
    masks  bool (True: not attended to) or floats that are added to the scores

    Returns the output in the shape of the query, and the weights (batch, targets, sources), or (batch, heads, targets,
    sources) if they are not averaged. Raises ValueError for shapes that do not fit and for projected keys or values.
    """
    if static_k is not None or static_v is not None:
        raise ValueError(
            "packed attention takes keys and values before their projection: static_k and static_v are None"
        )
    if is_causal and attn_mask is None:
        raise ValueError("is_causal is a hint about attn_mask: pass attn_mask too")
    batched = query.dim() == 3
    if not batched:
        query, key, value = (part.unsqueeze(1) for part in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    targets, batch, embed_dim = query.shape
    if embed_dim != embed_dim_to_check or key.shape[:2] != value.shape[:2] or key.shape[1] != batch:
        raise ValueError(
            f"attention over {embed_dim_to_check} features takes (length, batch, features); found queries "
            f"{list(query.shape)}, keys {list(key.shape)}, values {list(value.shape)}"
        )
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
    mask = _mask(attn_mask, key_padding_mask, batch, num_heads, q.dtype)
    if bias_k is not None and bias_v is not None:
        k, v = (torch.cat([x, bias.to(x.dtype).repeat(1, batch, 1)]) for x, bias in ((k, bias_k), (v, bias_v)))
    q, k, v = (x.view(len(x), batch, num_heads, embed_dim // num_heads).permute(1, 2, 0, 3) for x in (q, k, v))
    if add_zero_attn:
        k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
    if mask is not None:
        # all targets attend to the added keys
        mask = F.pad(mask, (0, k.shape[2] - mask.shape[3]))
    dropout = dropout_p if training else 0.0
    scores = None
    if need_weights:
        products = (q * (q.shape[-1] ** -0.5)) @ k.transpose(-2, -1)
        scores = F.dropout(torch.softmax(products if mask is None else products + mask, -1), dropout)
        heads = scores @ v
    else:
        heads = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    output = F.linear(heads.permute(2, 0, 1, 3).reshape(targets, batch, embed_dim), out_proj_weight, out_proj_bias)
    if scores is not None and average_attn_weights:
        scores = scores.mean(1)
    if batched:
        return output, scores
    return output.squeeze(1), None if scores is None else scores.squeeze(0)


def _mask(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, batch: int, heads: int, dtype: torch.dtype
) -> Tensor | None:
    """Both masks as one term of the scores: (batch or 1, heads or 1, targets or 1, sources)."""
    mask = None if attn_mask is None else _added(attn_mask, dtype)
    if mask is not None:
        mask = mask.view(batch, heads, *mask.shape[1:]) if mask.dim() == 3 else mask.view(1, 1, *mask.shape)
    if key_padding_mask is None:
        return mask
    padding = _added(key_padding_mask, dtype)[:, None, None]
    return padding if mask is None else mask + padding


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))
    return mask.to(dtype)
