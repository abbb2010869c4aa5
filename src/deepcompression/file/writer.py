"""Named tensors -> one `.dcz` file, saved atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from deepcompression.coding.coders import DEFAULT_PROFILE, Keep, Kept, check_profile, encode_to, join
from deepcompression.coding.encode_part import Encode
from deepcompression.common.binary import MAX_DIMENSIONS, checksum
from deepcompression.common.files import atomic_path
from deepcompression.common.messages import counted
from deepcompression.file.index import Entry, write_head
from deepcompression.file.names import check_name
from deepcompression.file.work import with_work
from deepcompression.tensors.entry import Tie
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


def save_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor | Tie],
    metadata: Mapping[str, str] | None = None,
    how: Mapping[str, Encode] | None = None,
    profile: str = DEFAULT_PROFILE,
) -> None:
    """Writes named tensors, in their order, into a `.dcz` file.

    The file appears under its name only when it is complete: a crash or a full disk leaves the old file, or none.
    `profile` chooses the coders: `fast` those that decode at full speed, `small` those of the smallest file, `paper`
    those of the paper's layout, `device` those that a microcontroller decodes row by row. `how` fixes coder or gap
    width of tensors by name. Raises TypeError for an object that is no tensor; ValueError for a tensor that cannot be
    stored so, and for a path with the name of another format; OSError if writing fails.
    """
    check_name(path)
    if unknown := set(how or {}) - set(tensors):
        raise ValueError(f"no tensor is named {', '.join(sorted(unknown))}, whose encoding is given")
    check_profile(profile)
    made: dict[str, Encoded | Tie] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tie):
            made[name] = encoded(name, tensor, (how or {}).get(name), profile)
        elif isinstance(made.get(tensor.to), Encoded):
            made[name] = tensor
        else:
            raise ValueError(f"{name} is tied to {tensor.to}, which is not an earlier tensor of its own")
    write_encoded(path, made, metadata or {})


class Encoded(NamedTuple):
    """A tensor in the form of a file: its entry and its payload."""

    entry: Entry
    payload: bytes


def encoded(name: str, tensor: Tensor, how: Encode | None = None, profile: str = DEFAULT_PROFILE) -> Encoded:
    """Encodes one tensor. Raises as `save_tensors` does."""
    if not isinstance(tensor, DenseTensor | CompressedTensor):
        raise TypeError(f"{name} is of type {type(tensor).__name__}; make it a tensor by DenseTensor.from_numpy")
    coder, payload = encode_named(join, name, tensor, how, profile)
    entry = Entry(name, tensor.dtype, tensor.shape, coder=coder, length=len(payload), checksum=checksum(payload))
    return Encoded(entry, payload)


def entries_of(tensors: Mapping[str, Encoded | Tie]) -> list[Entry]:
    """The entries of a file's tensors, in their order; a tie comes after its own tensor."""
    entries: dict[str, Entry] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, Tie):
            entries[name] = replace(entries[tensor.to], name=name, tied_to=tensor.to)
        else:
            entries[name] = tensor.entry
    return list(entries.values())


def head_of(tensors: Mapping[str, Encoded | Tie], metadata: Mapping[str, str]) -> bytes:
    """Everything before the payloads of a file."""
    own = (tensor for tensor in tensors.values() if isinstance(tensor, Encoded))
    return write_head(entries_of(tensors), with_work(metadata, own))


def write_encoded(
    path: str | os.PathLike[str], tensors: Mapping[str, Encoded | Tie], metadata: Mapping[str, str]
) -> None:
    """Writes a file of encoded tensors, as `save_tensors` does."""
    check_name(path)
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(head_of(tensors, metadata))
        file.writelines(tensor.payload for tensor in tensors.values() if isinstance(tensor, Encoded))


def encode_named(keep: Keep[Kept], name: str, tensor: Tensor, how: Encode | None, profile: str) -> tuple[str, Kept]:
    """The coder and the payload of a tensor, as `encode_to` returns them. Raises ValueError, with the name, if a file
    cannot hold the tensor so.
    """
    how = how or Encode()
    try:
        if len(tensor.shape) > MAX_DIMENSIONS:
            raise ValueError(
                f"it has {counted(len(tensor.shape), 'dimension')}; at most {MAX_DIMENSIONS} can be stored"
            )
        return encode_to(keep, tensor, how.coder, how.gap_bits, profile)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
