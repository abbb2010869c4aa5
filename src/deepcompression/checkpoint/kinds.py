"""The kind of a checkpoint's file, by its first bytes, and by its name where these do not say."""

from __future__ import annotations

from pathlib import Path

from deepcompression.checkpoint.onnx.graph import SUFFIX as ONNX_SUFFIX
from deepcompression.checkpoint.safetensors import INDEX_SUFFIX, LENGTH_BYTES, MAX_HEADER_BYTES, SUFFIX
from deepcompression.common.files import check_regular

SAFETENSORS, INDEX, ONNX, TORCH = "safetensors", "index of shards", "onnx", "torch.save"

# of a file, to see its kind
START_BYTES = 1 << 16

PICKLES = (".pt", ".pth", ".bin", ".ckpt")

# the ends of names, for files whose bytes do not say what they are
SUFFIXES = {SUFFIX: SAFETENSORS, INDEX_SUFFIX: INDEX, ONNX_SUFFIX: ONNX, **dict.fromkeys(PICKLES, TORCH)}

# the first bytes of other files -> what they are, and the remedy
_OTHERS = {
    b"\x89DCZ": "a .dcz file: dcz decompress gives its checkpoint",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: fetch that by git lfs pull",
    b"<!DOCTYPE": "a web page, not a checkpoint: fetch the file again",
    b"<html": "a web page, not a checkpoint: fetch the file again",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ\0": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"GGUF": "a GGUF file, whose weights are packed: take the model that it was made from",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes: convert it first (safetensors.numpy.save_file)",
    b"\x93NUMPY": "an array of NumPy, without names: convert it first (safetensors.numpy.save_file)",
}
_TAR_AT, _TAR = 257, b"ustar"

# tags of the fields that may follow the version of a ModelProto
_ONNX_TAGS = b"\x12\x1a\x22\x28\x32\x3a\x42"


def kind_of(path: Path) -> str | None:
    """The kind of a file; None if neither its bytes nor its name say it.

    Raises ValueError for a file that is known to be another one, and the errors of `check_regular`.
    """
    check_regular(path)
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise ValueError(f"{path}: is {what}")
    if start[_TAR_AT:].startswith(_TAR):
        raise ValueError(f"{path}: is a tar archive: unpack it first")
    named = next((kind for suffix, kind in SUFFIXES.items() if path.name.endswith(suffix)), None)
    return kind_by_bytes(start, path.stat().st_size) or named


def kind_by_bytes(start: bytes, size: int) -> str | None:
    """The kind of a file of `size` bytes that begins so, or None if its bytes do not say it."""
    if start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")):
        # an archive, or a pickle as before torch 1.6
        return TORCH
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{" and length <= min(size - LENGTH_BYTES, MAX_HEADER_BYTES):
        return SAFETENSORS
    if start.startswith(b"{") and b'"weight_map"' in start and f'{SUFFIX}"'.encode() in start:
        return INDEX
    if start[:1] == b"\x08" and start[1:2] < b"\x20" and start[2:3] in [bytes([tag]) for tag in _ONNX_TAGS]:
        return ONNX
    return None
