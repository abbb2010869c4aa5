"""Stage 3: tensors <-> payload bytes, by the coders of docs/format.md; which of them a profile may use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deepcompression.account import Account
from deepcompression.fast import decode_fast, decode_fast_bitmap, decode_fast_dense, encode_fast
from deepcompression.paper import decode_huffman, decode_huffman_bitmap, decode_sparse, encode_huffman, encode_sparse
from deepcompression.positions import GAP_BITS
from deepcompression.small import decode_small, decode_small_bitmap, decode_small_dense, encode_small
from deepcompression.tensor import (
    STORAGE,
    WEIGHT_DTYPES,
    Array,
    BitmapTensor,
    CompressedTensor,
    DenseTensor,
    Tensor,
    size_bytes,
)
from deepcompression.wire import Cursor, FormatError

__all__ = [
    "CODERS",
    "DEFAULT_PROFILE",
    "PROFILES",
    "Account",
    "Coder",
    "check_profile",
    "decode",
    "decode_bitmap",
    "decode_dense",
    "encode",
]


def _encode_raw(tensor: Tensor) -> bytes:
    return tensor.dense().elements.tobytes()


def _decode_raw(cursor: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    data = cursor.rest()
    expected = math.prod(shape) * STORAGE[dtype].itemsize
    if len(data) != expected:
        raise FormatError(f"{len(data)} bytes are stored for shape {list(shape)} of {dtype}, which takes {expected}")
    elements = np.frombuffer(data, STORAGE[dtype]).reshape(shape)
    return DenseTensor(dtype, elements), Account({"values": len(data)})


class Coder(NamedTuple):
    """A way to store a tensor. `encode` gives None where it cannot hold the tensor; `decode` raises FormatError.

    A coder with `gaps` takes the width of its gap field as a second argument of `encode`, None for the best.
    `decode_dense` gives the dense elements at less cost than `decode`, with so many threads; `decode_bitmap` a shared
    tensor without its positions, None for one that it holds by its values.
    """

    number: int
    encode: Callable[..., bytes | None]
    decode: Callable[[Cursor, str, tuple[int, ...]], tuple[Tensor, Account]]
    decode_dense: Callable[[Cursor, str, tuple[int, ...], int], Array] | None = None
    gaps: bool = False
    decode_bitmap: Callable[[Cursor, str, tuple[int, ...]], BitmapTensor | None] | None = None


CODERS: dict[str, Coder] = {
    "raw": Coder(1, _encode_raw, _decode_raw),
    "sparse": Coder(2, encode_sparse, decode_sparse, gaps=True),
    "huffman": Coder(3, encode_huffman, decode_huffman, gaps=True, decode_bitmap=decode_huffman_bitmap),
    "fast": Coder(4, encode_fast, decode_fast, decode_fast_dense, decode_bitmap=decode_fast_bitmap),
    "small": Coder(5, encode_small, decode_small, decode_small_dense, decode_bitmap=decode_small_bitmap),
}

# What a tensor may become, besides staying as it is.
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


def encode(
    tensor: Tensor, coder: str | None = None, gap_bits: int | None = None, profile: str = DEFAULT_PROFILE
) -> tuple[str, bytes]:
    """The coder's name and the payload: of the coder demanded, or the smallest of the profile (the first of equals),
    `raw` if none is smaller than the elements.

    `gap_bits`, 2 to 16, fixes the width of the paper's gap field; without a coder it stands for the profile `paper`.
    Raises ValueError if it is another, for an unknown coder or profile, and if the coder cannot hold the tensor.
    """
    if coder is not None and coder not in CODERS:
        raise ValueError(f"unknown coder {coder!r}; known are {', '.join(CODERS)}")
    check_profile(profile)
    if gap_bits is not None and gap_bits not in GAP_BITS:
        raise ValueError(f"gap_bits is from {GAP_BITS[0]} to {GAP_BITS[-1]}; found {gap_bits}")
    if coder is not None:
        payload = _encode(coder, tensor, gap_bits)
        if payload is None:
            raise ValueError(f"the coder {coder} cannot hold a {tensor.dtype} tensor of shape {list(tensor.shape)}")
        return coder, payload
    best: tuple[str, bytes] | None = None
    least = size_bytes(tensor.dtype, tensor.shape)
    names = PROFILES["paper" if gap_bits is not None else profile]
    if math.prod(tensor.shape) <= _SMALL_SIZE:
        names = tuple(dict.fromkeys((*names, *PROFILES["paper"])))
    for name in names:
        payload = _encode(name, tensor, gap_bits)
        if payload is not None and len(payload) < least:
            best, least = (name, payload), len(payload)
    return best or ("raw", _encode_raw(tensor))


def _encode(name: str, tensor: Tensor, gap_bits: int | None) -> bytes | None:
    coder = CODERS[name]
    return coder.encode(tensor, gap_bits) if coder.gaps else coder.encode(tensor)


def decode(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...]) -> tuple[Tensor, Account]:
    """Payload -> the tensor and where its bytes went. Raises FormatError for malformed bytes."""
    tensor, account = CODERS[coder].decode(payload, dtype, shape)
    payload.end("the payload")
    return tensor, account


def decode_dense(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...], threads: int = 1) -> DenseTensor:
    """Payload -> the dense tensor, in little more memory than it takes. Raises FormatError for malformed bytes."""
    found = CODERS[coder]
    if found.decode_dense is None:
        return decode(coder, payload, dtype, shape)[0].dense()
    elements = found.decode_dense(payload, dtype, shape, threads)
    payload.end("the payload")
    return DenseTensor(dtype, elements)


def decode_bitmap(coder: str, payload: Cursor, dtype: str, shape: tuple[int, ...]) -> BitmapTensor | None:
    """Payload -> a shared tensor without its positions, in little more memory than it takes; None if it is not shared.

    A small tensor is recognised as shared by its values. Raises FormatError for malformed bytes.
    """
    if dtype not in WEIGHT_DTYPES:
        return None
    found, start = CODERS[coder], payload.at
    if found.decode_bitmap is not None:
        tensor = found.decode_bitmap(payload, dtype, shape)
        if tensor is not None:
            payload.end("the payload")
            return tensor
        payload.at = start
    if math.prod(shape) > _SMALL_SIZE:
        return None
    recognised = CompressedTensor.from_dense(decode_dense(coder, payload, dtype, shape))
    return None if recognised is None else BitmapTensor.of(recognised)
