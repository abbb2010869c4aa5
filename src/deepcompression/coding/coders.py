"""The coders of docs/format.md, the profiles that choose among them, and tensors <-> payload bytes (stage 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sized
from typing import TypeVar

import numpy as np

from deepcompression.coding.coder import GAP_BITS, Account, Coder, Part
from deepcompression.coding.deflate import decode_deflate, encode_deflate
from deepcompression.coding.fast import decode_fast, decode_fast_dense, encode_fast
from deepcompression.coding.paper import decode_huffman, decode_sparse, encode_huffman, encode_sparse
from deepcompression.coding.raw import decode_raw, encode_raw
from deepcompression.coding.small import decode_small, encode_small
from deepcompression.common.binary import Cursor
from deepcompression.common.one_of import one_of
from deepcompression.tensors.dtypes import WEIGHT_DTYPES, Shape, row_of, size_bytes
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


# the modules of this coder take long to import, and few files have its payloads
def _encode_device(tensor: Tensor, gap_bits: int | None) -> Iterable[Part] | None:
    from deepcompression.coding.device import encode_device

    return encode_device(tensor, gap_bits)


def _decode_device(payload: Cursor, dtype: str, shape: Shape, threads: int) -> tuple[Tensor, Account]:
    from deepcompression.coding.device import decode_device

    return decode_device(payload, dtype, shape, threads)


def _decode_device_dense(payload: Cursor, dtype: str, shape: Shape, threads: int) -> DenseTensor:
    from deepcompression.coding.device import decode_device_dense

    return decode_device_dense(payload, dtype, shape, threads)


CODERS: dict[str, Coder] = {
    "raw": Coder(1, encode_raw, decode_raw),
    "sparse": Coder(2, encode_sparse, decode_sparse),
    "huffman": Coder(3, encode_huffman, decode_huffman),
    "fast": Coder(4, encode_fast, decode_fast, decode_fast_dense),
    "small": Coder(5, encode_small, decode_small),
    "deflate": Coder(6, encode_deflate, decode_deflate),
    "device": Coder(7, _encode_device, _decode_device, _decode_device_dense),
}

# The coders that `encode` tries, besides `raw`.
PROFILES: dict[str, tuple[str, ...]] = {
    "fast": ("fast",),
    "small": ("small", "fast"),
    "paper": ("sparse", "huffman"),
    "device": ("device",),
}

DEFAULT_PROFILE = "fast"

# Up to this size every profile may use the paper's layout: its fewer fields can win, and speed does not matter.
_SMALL_SIZE = 1 << 16


def check_profile(profile: str) -> None:
    """Raises ValueError for an unknown one."""
    one_of("profile", profile, PROFILES)


# A payload in memory, or in a file.
Kept = TypeVar("Kept", bound=Sized)

# (parts, below) -> the whole payload; None if it has `below` bytes or more
Keep = Callable[[Iterable[Part], int | None], Kept | None]


def encode(
    tensor: Tensor, coder: str | None = None, gap_bits: int | None = None, profile: str = DEFAULT_PROFILE
) -> tuple[str, bytes]:
    """The coder's name and the payload. Without `coder` the smallest payload of the profile is taken (the first on
    ties), or that of `raw` if none is smaller than the elements.

    `gap_bits`, 2 to 16, fixes the width of the paper's gap field; without a coder it means the profile `paper`. Raises
    ValueError for another width, an unknown coder or profile, and a coder that cannot hold the tensor.
    """
    return encode_to(join, tensor, coder, gap_bits, profile)


def join(parts: Iterable[Part], below: int | None) -> bytes | None:
    """The whole payload in memory; None if it has `below` bytes or more."""
    kept: list[Part] = []
    left = below
    for part in parts:
        kept.append(part)
        if left is not None and (left := left - memoryview(part).nbytes) <= 0:
            return None
    return b"".join(kept)


def encode_to(
    keep: Keep[Kept], tensor: Tensor, coder: str | None, gap_bits: int | None, profile: str
) -> tuple[str, Kept]:
    """The choice of `encode`; `keep` takes each payload tried, and the one that it keeps last is the choice."""
    if coder is not None:
        one_of("coder", coder, CODERS)
    check_profile(profile)
    if gap_bits is not None and gap_bits not in GAP_BITS:
        raise ValueError(f"gap_bits is from {GAP_BITS[0]} to {GAP_BITS[-1]}; found {gap_bits}")
    row = tensor.row() if isinstance(tensor, DenseTensor) else tensor
    best: tuple[str, Kept] | None = None
    below = None if coder is not None else size_bytes(tensor.dtype, tensor.shape)
    for name in _names(row, gap_bits, profile) if coder is None else (coder,):
        parts = CODERS[name].encode(row, gap_bits)
        kept = None if parts is None else keep(parts, below)
        if kept is not None:
            best, below = (name, kept), len(kept)
    if best is not None:
        return best
    if coder is not None:
        raise ValueError(f"the coder {coder} cannot hold a {tensor.dtype} tensor of shape {list(tensor.shape)}")
    return encode_to(keep, tensor, "raw", None, profile)


def _names(tensor: Tensor, gap_bits: int | None, profile: str) -> Iterable[str]:
    """The coders to try, in the order that decides ties."""
    if gap_bits is not None:
        profile = "paper"
    names = list(PROFILES[profile])
    if profile == "device":
        return names
    if profile != "paper" and (tensor.dtype not in WEIGHT_DTYPES or (profile == "small" and _is_plain(tensor))):
        names.append("deflate")
    if math.prod(tensor.shape) <= _SMALL_SIZE:
        names += PROFILES["paper"]
    return dict.fromkeys(names)


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is dense and fewer than half of its weights are zero."""
    return isinstance(tensor, DenseTensor) and 2 * int(np.count_nonzero(tensor.elements)) > tensor.elements.size


def decode(coder: str, payload: Cursor, dtype: str, shape: Shape, threads: int = 1) -> tuple[Tensor, Account]:
    """Payload -> the tensor and the account of its bytes. Raises FormatError for malformed bytes."""
    tensor, account = CODERS[coder].decode(payload, *row_of(dtype, shape), threads)
    payload.end("the payload")
    if tensor.dtype != dtype:
        tensor = DenseTensor(dtype, tensor.dense().elements, shape)
    return tensor, account


def decode_dense(coder: str, payload: Cursor, dtype: str, shape: Shape, threads: int = 1) -> DenseTensor:
    """Payload -> the dense tensor, in little more memory than its own. Raises FormatError for malformed bytes."""
    found = CODERS[coder]
    if found.decode_dense is None:
        return decode(coder, payload, dtype, shape, threads)[0].dense()
    tensor = found.decode_dense(payload, *row_of(dtype, shape), threads)
    payload.end("the payload")
    return DenseTensor(dtype, tensor.elements, shape)


def shared_form(tensor: Tensor) -> CompressedTensor | None:
    """A tensor of a file in the form that can be packed; None if it is not shared.

    A small tensor is recognised by its values, because `encode` may store a shared one dense.
    """
    if isinstance(tensor, CompressedTensor):
        return tensor
    return CompressedTensor.from_dense(tensor) if tensor.elements.size <= _SMALL_SIZE else None
