"""The coded weights as a `.dcz` file, and the files of an export into their directory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepcompression.coding.device import work_bytes
from deepcompression.common.files import atomic_path
from deepcompression.common.messages import some
from deepcompression.embedded.c_files import METADATA, WRITTEN
from deepcompression.embedded.device_sources import device_folder
from deepcompression.embedded.hold import Held
from deepcompression.file.index import Entry
from deepcompression.file.reader import DczFile
from deepcompression.file.writer import save_tensors
from deepcompression.tensors.tensor import CompressedTensor, DenseTensor, Tensor


class Coded(NamedTuple):
    """The `.dcz` file of the coded weights; no bytes without any.

    sizes  of each tensor's payload
    work   bytes of the buffer that decodes each
    """

    data: bytes
    sizes: Mapping[str, int]
    work: Mapping[str, int]


def code(held: Mapping[str, tuple[Held, ...]], identity: str) -> Coded:
    """The file of the weights that are coded, in the order of their numbers."""
    coded = {each.tensor: each for layer in held.values() for each in layer if each.packed is None}
    if not coded:
        return Coded(b"", {}, {})
    tensors = {each.tensor: _tensor(each.matrix) for each in sorted(coded.values(), key=lambda each: each.number)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.dcz"
        save_tensors(path, tensors, {METADATA: identity}, profile="device")
        with DczFile(path) as file:
            data = path.read_bytes()
            return Coded(
                data,
                {name: entry.length for name, entry in file.entries.items()},
                {name: _work(entry, data) for name, entry in file.entries.items()},
            )


def _work(entry: Entry, data: bytes) -> int:
    """The coder `raw` takes none in memory."""
    payload = memoryview(data)[entry.offset : entry.offset + entry.length]
    return work_bytes(payload, entry.dtype, entry.shape) if entry.coder == "device" else 0


def _tensor(matrix: NDArray[Any]) -> Tensor:
    dense = DenseTensor.from_numpy(np.ascontiguousarray(matrix))
    return CompressedTensor.from_dense(dense) or dense


def write_files(directory: Path, files: Mapping[str, bytes], name: str, force: bool) -> None:
    """Writes the files of the network `name`, each whole or not at all, in the place of those of an earlier export.

    Raises ValueError for a directory with other files, unless `force` is set, and for a path that is none.
    """
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory}: is no directory; an export writes several files: name another one")
    # programs and objects of an earlier build harm none
    built = {".out", ".o", ".elf", ".d"}
    present = [path for path in directory.iterdir() if path.suffix not in built] if directory.is_dir() else []
    earlier = {path.name for path in present if _is_exported(path, name)}
    if (others := {path.name for path in present} - earlier) and not force:
        raise ValueError(
            f"{directory}: holds other files, {some(others)}, which a build of all its C files may take: name another "
            "directory, or give --force (force=True in Python)"
        )
    directory.mkdir(parents=True, exist_ok=True)
    for each in sorted(files):
        with atomic_path(directory / each) as partial:
            partial.write_bytes(files[each])
    for each in sorted(earlier - files.keys()):
        (directory / each).unlink()


def _is_exported(path: Path, name: str) -> bool:
    """Whether an earlier export of the network wrote a file. A user's own may have the name of one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(400)
    source = device_folder() / path.name
    if source.is_file():
        return head.split(b"\n")[0] == source.read_bytes().split(b"\n")[0]
    ours = path.stem in (name, f"{name}_weights", f"{name}_test")
    return ours and (path.suffix == ".dcz" or WRITTEN.encode() in b" ".join(head.split()))
