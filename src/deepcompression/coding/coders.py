"""Stage 3: tensors <-> payload bytes, by the coders of docs/format.md; which of them a profile may use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import numpy as np
from pydantic import Field, field_validator

from deepcompression.coding.coder import Account, Coder, Part
from deepcompression.coding.deflate import decode_deflate, encode_deflate
from deepcompression.coding.fast import decode_fast, decode_fast_dense, encode_fast
from deepcompression.coding.gaps import GAP_BITS
from deepcompression.coding.paper import decode_huffman, decode_sparse, encode_huffman, encode_sparse
from deepcompression.coding.raw import decode_raw, encode_raw
from deepcompression.coding.small import decode_small, encode_small
from deepcompression.common.binary import Cursor
from deepcompression.common.settings import RecipePart, one_of
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, size_bytes
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor

CODERS: dict[str, Coder] = {
    "raw": Coder(1, encode_raw, decode_raw),
    "sparse": Coder(2, encode_sparse, decode_sparse, gaps=True),
    "huffman": Coder(3, encode_huffman, decode_huffman, gaps=True),
    "fast": Coder(4, encode_fast, decode_fast, decode_fast_dense),
    "small": Coder(5, encode_small, decode_small),
    "deflate": Coder(6, encode_deflate, decode_deflate),
}

# The coders that are tried, besides `raw`.
PROFILES: dict[str, tuple[str, ...]] = {
    "fast": ("fast",),
    "small": ("small", "fast"),
    "paper": ("sparse", "huffman"),
}

DEFAULT_PROFILE = "fast"

# Up to so many elements every profile may use the paper's layout: its fewer fields can win, and speed means nothing.
_SMALL_SIZE = 1 << 16


def check_profile(profile: str) -> None:
    """Raises ValueError for an unknown one."""
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; known are {', '.join(PROFILES)}")


class Stored(Protocol):
    """A payload that was kept: in memory, or in a file."""

    def __len__(self) -> int: ...


Kept = TypeVar("Kept", bound=Stored)


def encode(
    tensor: Tensor, coder: str | None = None, gap_bits: int | None = None, profile: str = DEFAULT_PROFILE
) -> tuple[str, bytes]:
    """The coder's name and the payload: of the coder demanded, or the smallest of the profile (the first on ties),
    `raw` if none is smaller than the elements.

    `gap_bits`, 2 to 16, fixes the width of the paper's gap field; without a coder it stands for the profile `paper`.
    Raises ValueError if it is another, for an unknown coder or profile, and if the coder cannot hold the tensor.
    """
    return encode_to(join, tensor, coder, gap_bits, profile)


def join(parts: Iterable[Part], below: int | None) -> bytes | None:
    """The whole payload in memory; None if it has as many bytes as `below` or more."""
    kept: list[Part] = []
    left = below
    for part in parts:
        kept.append(part)
        if left is not None and (left := left - memoryview(part).nbytes) <= 0:
            return None
    return b"".join(kept)


def encode_to(
    keep: Callable[[Iterable[Part], int | None], Kept | None],
    tensor: Tensor,
    coder: str | None = None,
    gap_bits: int | None = None,
    profile: str = DEFAULT_PROFILE,
) -> tuple[str, Kept]:
    """The choice of `encode`, with payloads kept elsewhere: `keep(parts, below)` takes the parts of each payload tried
    and returns a handle to it, or None if it has as many bytes as `below` or more.
    """
    if coder is not None and coder not in CODERS:
        raise ValueError(f"unknown coder {coder!r}; known are {', '.join(CODERS)}")
    check_profile(profile)
    if gap_bits is not None and gap_bits not in GAP_BITS:
        raise ValueError(f"gap_bits is from {GAP_BITS[0]} to {GAP_BITS[-1]}; found {gap_bits}")
    best: tuple[str, Kept] | None = None
    below = None if coder is not None else size_bytes(tensor.dtype, tensor.shape)
    for name in (coder,) if coder is not None else _names(tensor, gap_bits, profile):
        parts = _encode(name, tensor, gap_bits)
        kept = None if parts is None else keep(parts, below)
        if kept is not None:
            best, below = (name, kept), len(kept)
    if best is None and coder is not None:
        raise ValueError(f"the coder {coder} cannot hold a {tensor.dtype} tensor of shape {list(tensor.shape)}")
    if best is None:
        kept = keep(encode_raw(tensor), None)
        assert kept is not None
        best = "raw", kept
    return best


def _names(tensor: Tensor, gap_bits: int | None, profile: str) -> Iterable[str]:
    """The coders to try, in the order that decides ties."""
    if gap_bits is not None:
        profile = "paper"
    names = list(PROFILES[profile])
    if profile != "paper" and (tensor.dtype not in WEIGHT_DTYPES or (profile == "small" and _is_plain(tensor))):
        names.append("deflate")
    if math.prod(tensor.shape) <= _SMALL_SIZE:
        names += PROFILES["paper"]
    return dict.fromkeys(names)


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is dense and fewer than half of its weights are zero."""
    return isinstance(tensor, DenseTensor) and 2 * int(np.count_nonzero(tensor.elements)) > tensor.elements.size


def _encode(name: str, tensor: Tensor, gap_bits: int | None) -> Iterable[Part] | None:
    coder = CODERS[name]
    return coder.encode(tensor, gap_bits) if coder.gaps else coder.encode(tensor)


def decode(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...], threads: int = 1) -> tuple[Tensor, Account]:
    """Payload -> the tensor and where its bytes went. Raises FormatError for malformed bytes."""
    tensor, account = CODERS[coder].decode(payload, dtype, shape, threads)
    payload.end("the payload")
    return tensor, account


def decode_dense(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...], threads: int = 1) -> DenseTensor:
    """Payload -> the dense tensor, in little more memory than it takes. Raises FormatError for malformed bytes."""
    found = CODERS[coder]
    if found.decode_dense is None:
        return decode(coder, payload, dtype, shape, threads)[0].dense()
    tensor = found.decode_dense(payload, dtype, shape, threads)
    payload.end("the payload")
    return tensor


def shared_form(tensor: Tensor) -> CompressedTensor | None:
    """A tensor of a file as it can be packed; None if it is not shared.

    Small tensors are recognised by their values: `encode` may store a shared one dense.
    """
    if isinstance(tensor, CompressedTensor):
        return tensor
    return CompressedTensor.from_dense(tensor) if tensor.elements.size <= _SMALL_SIZE else None


class Encode(RecipePart):
    """How to write a tensor; by default the coder and the width of its gaps are chosen by size."""

    coder: str | None = None
    gap_bits: int | None = Field(default=None, ge=GAP_BITS[0], le=GAP_BITS[-1], strict=True)

    @field_validator("coder")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        return value if value is None else one_of("coder", value, CODERS)
